"""Run many store requests at once, and keep apart what must not run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from s3rolefs.errors import FileSystemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Item = TypeVar("Item")


class Lock:
    """Let one task at a time in, in the order in which they came.

    trio's Lock lets others run even when it is free: a round of the scheduler for each write.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


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
