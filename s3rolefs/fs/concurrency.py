"""Run many store requests at once, and keep the move of a directory apart from everything else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from s3rolefs.errors import FileSystemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

Item = TypeVar("Item")


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


class TreeLock:
    """Let many operations on single files run together, but none beside the move of a directory.

    Keys are derived from the tree, so while a directory moves no commit may be on its way to an
    old key. Never taken twice by one operation: a waiting mover would make that a deadlock.
    """

    def __init__(self) -> None:
        self._users = 0
        self._moving = False
        self._changed = trio.Condition()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold the tree as it is."""
        if self._moving:
            async with self._changed:
                while self._moving:
                    await self._changed.wait()
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._moving and not self._users:
                with trio.CancelScope(shield=True):
                    async with self._changed:
                        self._changed.notify_all()

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        """Wait until nobody holds the tree, and keep everybody out."""
        async with self._changed:
            while self._moving:
                await self._changed.wait()
            self._moving = True
            try:
                while self._users:
                    await self._changed.wait()
            except BaseException:
                self._moving = False
                self._changed.notify_all()
                raise
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                async with self._changed:
                    self._moving = False
                    self._changed.notify_all()
