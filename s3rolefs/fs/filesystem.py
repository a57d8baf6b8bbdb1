"""Serve one bucket, or one prefix of it, as a tree of files: the room's front door.

One coroutine per POSIX operation, on inode numbers and handles, in `names`, `descriptors` and
`extended`; they raise `FileSystemError` and know neither FUSE nor errno. Locks: the tree (shared by what
works on single files, alone for the move of a directory), then an inode's lock, lower numbers first.
"""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.background import Background
from s3rolefs.cache.disktier import DiskTier
from s3rolefs.cache.recollection import Recollection
from s3rolefs.cache.recordfile import RecordFile
from s3rolefs.errors import FileSystemError
from s3rolefs.fs import attributes, names
from s3rolefs.fs.core import Core
from s3rolefs.fs.descriptors import Descriptors
from s3rolefs.fs.extended import ExtendedAttributes
from s3rolefs.fs.keeping import WAITS
from s3rolefs.fs.namespace import Namespace
from s3rolefs.fs.queue import Waiting
from s3rolefs.fs.unsent import KeptRemoval, KeptVersion, Unsent, UnsentFolder
from s3rolefs.model import Key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from s3rolefs.cache.blockfiles import BlockFiles
    from s3rolefs.clock import Clock
    from s3rolefs.config import FileConfig
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.names import Step
    from s3rolefs.model import FirstPage, InodeNumber
    from s3rolefs.s3.store import ObjectStore

log = logging.getLogger(__name__)


class FileSystem:
    """Own one mount's state; usable while `run` runs.

    `records` is the file for what HEAD said of objects, `blocks` the directory for their bytes, which both
    outlive the mount (None: nothing does). `first_pages` are listings that were asked for already.
    With `directories` the root consists of just these: each begins with its name in `store`, and with the
    prefix that is given in the bucket behind it. `origins` says what the beginnings of keys stand for, so
    that what is left unsent goes nowhere else.
    """

    names: Namespace
    descriptors: Descriptors
    extended: ExtendedAttributes

    def __init__(
        self,
        store: ObjectStore,
        *,
        prefix: str,
        source: str,
        files: FileConfig,
        clock: Clock,
        directories: Mapping[str, str] | None = None,
        records: Path | None = None,
        blocks: BlockFiles | None = None,
        origins: Mapping[str, str] | None = None,
        first_pages: Sequence[FirstPage] = (),
    ) -> None:
        self._store = store
        self._first_pages = first_pages
        self._blocks = blocks
        self._records = records
        self._directories = directories or {}
        self._prefix = prefix
        self.files = files
        self._clock = clock
        self._folder = UnsentFolder(files.spool_dir, source, origins or {"": source})

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the background tasks (fetches, uploads, retries) until cancelled."""
        async with trio.open_nursery() as nursery:
            background = Background(nursery)
            recollection = self._recollection(background)
            disk = self._disk(background)
            self._core = Core(
                self._store,
                background,
                prefix=self._prefix,
                files=self.files,
                clock=self._clock,
                folder=self._folder,
                directories=self._directories,
                recollection=recollection,
                disk=disk,
            )
            self.names = Namespace(self._core)
            self.descriptors = Descriptors(self._core)
            self.extended = ExtendedAttributes(self._core)
            for first in self._first_pages:
                await self._core.surveys.take(first)
            self._take_over_unsent()
            self._core.background.start_soon(self._finish_moves)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                if recollection is not None:
                    await recollection.aclose()
                if disk is not None:
                    await disk.aclose()

    def _recollection(self, background: Background) -> Recollection | None:
        if self._records is None or self.files.metadata_from_listing:
            return None
        return Recollection(RecordFile(self._records, self._clock), background, self._clock)

    def _disk(self, background: Background) -> DiskTier | None:
        if self._blocks is None:
            return None
        return DiskTier(
            self._blocks,
            self._store,
            background,
            self._clock,
            proof_seconds=self.files.metadata_ttl_seconds,
            waiting_limit_bytes=self.files.cache_memory_bytes // 4,
        )

    async def drain(self, timeout_seconds: float) -> list[Unsent]:
        """Send everything that is not in S3; what is not sent in time is kept, and returned."""
        waiting = self._core.table.unsent_below(self._core.table.root)
        with trio.move_on_after(timeout_seconds):
            async with trio.open_nursery() as nursery:
                for inode in waiting:
                    nursery.start_soon(self._send_last, inode)
                nursery.start_soon(self._core.removals.drain)
        for inode in waiting:
            if inode.is_unsent and inode.writer is not None:
                self._core.committer.keeper.keep(inode, inode.writer, "the mount ended before S3 had it")
        self._core.removals.give_up()
        return self.unsent()

    def open_for_writing(self) -> list[InodeNumber]:
        """Return the files that a descriptor may write to: the kernel may hold writes to them."""
        return [inode.number for inode in self._core.table.open_for_writing()]

    def unsent(self) -> list[Unsent]:
        """Return what is kept on local disk because S3 does not have it."""
        return self._core.committer.keeper.unsent() + self._core.removals.unsent()

    @property
    def kept_in(self) -> Path:
        """Return the folder for what S3 does not have; what is in it after the end was not sent."""
        return self._folder.path

    def waiting(self) -> Waiting:
        """Count what waits for its turn (`writeback`)."""
        files = self._core.queue.waiting()
        oldest = [since for _, since in files] + self._core.removals.since()
        return Waiting(
            files=len(files),
            bytes=sum(size_bytes for size_bytes, _ in files),
            removals=len(self._core.removals),
            oldest_seconds=trio.current_time() - min(oldest) if oldest else 0.0,
        )

    def close(self) -> None:
        """Free the spool's folder; call it last."""
        self._folder.close()

    async def _send_last(self, inode: Inode) -> None:
        delay_seconds = 0.5
        while inode.is_unsent:
            try:
                await self._core.commit(inode)
            except FileSystemError as error:
                log.debug("sending %s before the end: %s", self._core.table.path(inode), error)
                await trio.sleep(delay_seconds)
                delay_seconds = min(2 * delay_seconds, 5.0)

    def _take_over_unsent(self) -> None:
        keeper = self._core.committer.keeper
        waited = 0
        versions = list(self._folder.inherit())
        # First the removals: what waits under the same name has taken the place of what goes.
        removed = sum(self._take_over_removal(name, kept) for name, kept in self._folder.removals())
        for name, kept in versions:
            path = self._core.table.path_of(kept.key)
            if kept.address != self._folder.address_of(kept.key) or self.files.read_only:
                log.warning("%s: a version for %s is still kept, which is not sent now", path, kept.address)
                reason = f"it belongs to {kept.address}; a mount that has this there and may write sends it"
                keeper.note_conflict(name, replace(kept, reason=reason, conflict=True))
                continue
            inode = None if kept.conflict else self._inode_for(kept)
            if inode is None and stat.S_ISDIR(kept.attributes.mode):
                self._folder.remove(name)  # another mount has made the directory, too
                continue
            if inode is None:
                log.warning("%s: a version that lost to another one is still kept (%s)", path, name)
                keeper.note_conflict(name, kept)
                continue
            waited += kept.reason == WAITS
            if kept.reason != WAITS:
                log.warning("%s was left unsent by an earlier mount and is sent now", path)
            keeper.adopt(inode, self._core.committer.new_writer(inode, empty=not kept.uses_base), name, kept)
            self._core.committer.begin_retrying(inode)
        if waited or removed:
            log.warning(
                "an earlier mount ended while %d files and %d removals waited: S3 hears of them now",
                *(waited, removed),
            )

    def _take_over_removal(self, name: str, kept: KeptRemoval) -> bool:
        """Go on with a removal of an earlier mount, if its key still leads to the same place."""
        *directories, _ = names.steps(kept.key[len(self._prefix) :])
        able = kept.address == self._folder.address_of(kept.key) and not self.files.read_only
        directory = self._directory_for(directories) if able else None
        if directory is None:
            log.warning("%s: a removal in %s still waits for a mount that has this there", name, kept.address)
            return False
        self._core.removals.adopt(name, kept, Key(kept.key), directory)
        return True

    def _inode_for(self, kept: KeptVersion) -> Inode | None:
        """Make the inode of a kept version and those above it; None: another one has its place."""
        *directories, last = names.steps(kept.key[len(self._prefix) :])
        if stat.S_ISDIR(kept.attributes.mode):  # what waits is its marker
            directory = self._directory_for(directories)
            if directory is None or directory.writer is not None:
                return None
            directory.attributes = kept.attributes
            return directory
        parent = self._directory_for(directories)
        if parent is None or last in parent.children:
            return None
        inode = self._core.table.add(
            parent, last, kept.attributes, info=None, checked_at_seconds=float("-inf")
        )
        self._core.metadata.made_again(*self._core.table.place_of(inode))
        inode.beside = True  # nobody has asked yet whether there is a directory
        inode.version = kept.base_version()
        return inode

    def _directory_for(self, steps: Sequence[Step]) -> Inode | None:
        """Make the inodes on the way to a directory; None: it is a file."""
        parent = self._core.table.root
        for step in steps:
            parent = parent.children.get(step) or self._core.table.add(
                parent,
                step,
                attributes.of_directory(None, self.files, default_time_ns=self._core.mounted_at_ns),
                info=None,
                checked_at_seconds=float("-inf"),
            )
        return parent if parent.is_directory else None

    async def _finish_moves(self) -> None:
        """Say which moves of directories earlier mounts broke off, and finish them."""
        for record in self._folder.moves():
            old, new = (self._core.table.path_of(prefix[:-1]) for prefix in (record.old, record.new))
            copied = f"{len(record.copies)} of {record.objects} files were copied"
            begun = "and their removal was begun" if record.removing else "and none was removed"
            is_here = record.address == self._folder.address_of(record.old)
            steps = names.steps(record.old[len(self._prefix) :])
            directory = self._directory_for(steps[:-1]) if is_here else None
            able = directory is not None and not self.files.read_only
            who = f"that may write to {record.address}"
            then = "it is finished now" if able else f"a mount {who} finishes it"
            log.warning(
                "the move of %s to %s was broken off when its mount ended: %s, %s; %s",
                *(old, new, copied, begun, then),
            )
            if directory is None or not able:
                continue
            try:
                async with self._core.tree_lock.moving(directory):
                    await self._core.mover.finish(record, directory)
            except FileSystemError as error:
                log.error(
                    "the move of %s to %s could not be finished, the next mount tries again: %s",
                    *(old, new, error),
                )
