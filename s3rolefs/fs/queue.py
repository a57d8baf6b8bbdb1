"""Send files a little after they were closed (`writeback`), so that who writes many waits for none of them.

A file waits until nobody has closed one for a moment, or for some seconds: what is removed, renamed or
written again by then is sent once, or never, and who writes many files has the machine for that alone. Each
version is in the journal before its close returns. What has no room there is sent at once, as without
`writeback`; what fails is kept and tried again, as there. A directory that was made waits in the same way:
its marker is an empty file.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import FileSystemError
from s3rolefs.fs.concurrency import for_each
from s3rolefs.fs.spool import MEMORY_LIMIT_BYTES
from s3rolefs.fs.unsent import sync_blocking
from s3rolefs.model import MIB

if TYPE_CHECKING:
    from s3rolefs.cache.background import Background
    from s3rolefs.fs.commit import Committer
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.treelock import TreeLock
    from s3rolefs.fs.unsent import UnsentFolder

log = logging.getLogger(__name__)

QUIET_SECONDS = 1.0
LONGEST_SECONDS = 4.0
SYNC_SECONDS = 1.0
UPLOADS_AT_ONCE = 16
# Beyond these whoever closes a file sends it: what waits lies in memory, small files with all they have.
MOST_FILES = 10_000
MOST_BYTES_IN_MEMORY = 256 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Say since when a file waits (its first close that was not sent), and how much of it."""

    since_seconds: float
    size_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Count what S3 has still to hear of; `oldest_seconds` is the age of what waits for longest.

    A directory that was made is one of the `files`.
    """

    files: int
    bytes: int
    removals: int
    oldest_seconds: float


NOTHING_WAITS = Waiting(files=0, bytes=0, removals=0, oldest_seconds=0.0)


class Queue:
    """Own the files that wait for their turn, the one that has waited longest in front."""

    def __init__(
        self,
        committer: Committer,
        table: InodeTable,
        tree_lock: TreeLock,
        background: Background,
        folder: UnsentFolder,
    ) -> None:
        self._committer = committer
        self._table = table
        self._tree_lock = tree_lock
        self._background = background
        self._folder = folder
        self._places: dict[Inode, _Place] = {}
        self._sending: dict[Inode, _Place] = {}
        self._memory_bytes = 0
        self._last_seconds = 0.0
        self._free = trio.Semaphore(UPLOADS_AT_ONCE)
        self._working = False
        self._syncing = False

    def __contains__(self, inode: Inode) -> bool:
        return inode in self._places or inode in self._sending

    def waiting(self) -> list[tuple[int, float]]:
        """Return size and beginning (trio's clock) of what waits or is being sent."""
        everything = [*self._places.items(), *self._sending.items()]
        return [(place.size_bytes, place.since_seconds) for inode, place in everything if inode.is_unsent]

    def is_written_down(self, inode: Inode) -> bool:
        """Tell whether a file waits just as it is."""
        writer = inode.writer
        if inode not in self._places or writer is None:
            return False
        return self._committer.keeper.is_current(inode, writer)

    def has_older(self, seconds: float) -> bool:
        """Tell whether something waits, or is being sent, that was closed before a time."""
        front = itertools.islice(self._places.values(), 1)
        return any(place.since_seconds <= seconds for place in (*front, *self._sending.values()))

    async def put(self, inode: Inode) -> None:
        """Take a file whose lock is held; where it has no room, send it and raise what that meets."""
        if not self.take(inode):
            await self._committer.commit(inode)

    def take(self, inode: Inode) -> bool:
        """Let a file whose lock is held, or a new directory, wait for its turn; False: it has no room."""
        writer = inode.writer
        if writer is None or not writer.dirty or inode.removed or self.is_written_down(inode):
            return True
        if inode.detached or self._is_full():
            return False
        try:
            self._committer.keeper.write_down(inode, writer)
        except (OSError, FileSystemError) as error:
            log.warning("%s is sent at once: %s", self._table.path(inode), error)
            return False
        self.sync_soon()
        if inode in self._committer.keeper:
            return True  # it is being tried again and again
        now = self._last_seconds = trio.current_time()
        before = self._places.get(inode)
        since_seconds = before.since_seconds if before is not None else now
        self._places[inode] = place = _Place(
            since_seconds=since_seconds,
            size_bytes=writer.size_bytes,
            memory_bytes=min(writer.size_bytes, MEMORY_LIMIT_BYTES) if writer.spool.in_memory else 0,
        )
        self._memory_bytes += place.memory_bytes - (before.memory_bytes if before is not None else 0)
        if not self._working:
            self._working = True
            self._background.start_soon(self._work)
        return True

    def write_down_again(self, inode: Inode) -> None:
        """Bring what is on local disk up to date after a change of an unsent file's name or attributes."""
        if inode.writer is not None and not inode.detached:
            self._committer.keeper.write_down_again(inode, inode.writer)
            self.sync_soon()

    async def settle_below(self, directory: Inode) -> None:
        """Send what waits of a directory and below it, or could not be sent; the first failure is raised."""
        inodes = [i for i in self._table.unsent_within(directory) if i in self or i in self._committer.keeper]
        await for_each(inodes, self._commit, limit=UPLOADS_AT_ONCE)

    def sync_soon(self) -> None:
        """Let the disk have what was written down, within a second."""
        if not self._syncing and not self._folder.is_synced():
            self._syncing = True
            self._background.start_soon(self._sync)

    def _is_full(self) -> bool:
        waiting = len(self._places) + len(self._sending)
        return waiting >= MOST_FILES or self._memory_bytes >= MOST_BYTES_IN_MEMORY

    async def _work(self) -> None:
        try:
            while self._places:
                inode, place = next(iter(self._places.items()))
                due_seconds = min(place.since_seconds + LONGEST_SECONDS, self._last_seconds + QUIET_SECONDS)
                if trio.current_time() < due_seconds and len(self._places) < MOST_FILES // 2:
                    await trio.sleep_until(due_seconds)
                    continue
                await self._free.acquire()
                self._sending[inode] = place = self._places.pop(inode)
                self._background.start_soon(self._send, inode, place)
        finally:
            self._working = False

    async def _send(self, inode: Inode, place: _Place) -> None:
        try:
            await self._commit(inode)
        except FileSystemError as error:
            log.debug("sending %s: %s", self._table.path(inode), error)
        finally:
            self._memory_bytes -= place.memory_bytes
            if self._sending.get(inode) is place:  # else it was closed again while its turn had come
                del self._sending[inode]
            self._free.release()

    async def _commit(self, inode: Inode) -> None:
        async with self._tree_lock.shared(inode), inode.lock:
            try:
                await self._committer.commit(inode)
            finally:
                await self._committer.close_writer_if_unused(inode)

    async def _sync(self) -> None:
        try:
            while not self._folder.is_synced():
                await trio.sleep(SYNC_SECONDS)
                await trio.to_thread.run_sync(sync_blocking, self._folder.descriptors_to_sync())
        finally:
            self._syncing = False
