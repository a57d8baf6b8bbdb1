"""Run many store requests at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from s3rolefs.errors import FileSystemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Item = TypeVar("Item")


async def at_once(*works: Callable[[], Awaitable[None]]) -> None:
    """Await several things; the first failure ends the others and is raised."""
    await for_each(works, lambda work: work(), limit=len(works))


async def for_each(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], *, limit: int) -> None:
    """Await `work` on every item, at most `limit` at once; the first failure ends the rest and is raised."""
    failures: list[FileSystemError] = []
    places = trio.Semaphore(limit)

    async def one(item: Item) -> None:
        try:
            await work(item)
        except FileSystemError as error:
            failures.append(error)
            nursery.cancel_scope.cancel()
        finally:
            places.release()

    async with trio.open_nursery() as nursery:
        for item in items:
            await places.acquire()
            nursery.start_soon(one, item)
    if failures:
        raise failures[0]
