"""Keep the move of a directory apart from what happens below it."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from s3rolefs.fs.inode import Inode


class TreeLock:
    """Let operations run together, but none below a directory while that is being moved.

    Keys are derived from the tree, so while a directory moves no commit below it may be on its way
    to an old key. One directory moves at a time. Never taken twice by one operation: a mover that waits would
    make that a deadlock.
    """

    def __init__(self) -> None:
        self._users: Counter[Inode] = Counter()
        self._moving: Inode | None = None
        self._waiting = trio.lowlevel.ParkingLot()

    async def moved(self, *inodes: Inode) -> bool:
        """Wait for the end of a move above some inodes; False: there was none."""
        waited = False
        while self._moving is not None and any(inode.is_within(self._moving) for inode in inodes):
            waited = True
            await self._waiting.park()
        return waited

    def shared(self, *inodes: Inode) -> Shared:
        """Hold the places of some inodes as they are."""
        return Shared(self, inodes)

    async def _take(self, inodes: tuple[Inode, ...]) -> None:
        await self.moved(*inodes)
        for inode in inodes:
            self._users[inode] += 1

    def _give_back(self, inodes: tuple[Inode, ...]) -> None:
        for inode in inodes:
            self._users[inode] -= 1
            if not self._users[inode]:
                del self._users[inode]
        self._waiting.unpark_all()

    @asynccontextmanager
    async def moving(self, directory: Inode) -> AsyncIterator[None]:
        """Wait until nobody holds anything below a directory, and keep everybody out."""
        while self._moving is not None:
            await self._waiting.park()
        self._moving = directory
        try:
            while any(inode.is_within(directory) for inode in self._users):
                await self._waiting.park()
            yield
        finally:
            self._moving = None
            self._waiting.unpark_all()


class Shared:
    """Hold places from `async with` on: a class, as each system call of a program holds some."""

    __slots__ = ("_inodes", "_lock")

    def __init__(self, lock: TreeLock, inodes: tuple[Inode, ...]) -> None:
        self._lock = lock
        self._inodes = inodes

    async def __aenter__(self) -> None:
        await self._lock._take(self._inodes)

    async def __aexit__(self, *_exception: object) -> None:
        self._lock._give_back(self._inodes)
