"""Operate on descriptors: open files and open directories."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.listings import NOTHING
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import Caller, Changes, without_privileges
from s3rolefs.fs.core import check_named
from s3rolefs.fs.directoryview import DirectoryEntry, DirectoryView
from s3rolefs.fs.names import Kind
from s3rolefs.fs.reader import Reader
from s3rolefs.model import FileHandle, InodeNumber

if TYPE_CHECKING:
    from s3rolefs.fs.core import Core
    from s3rolefs.fs.inode import Inode

log = logging.getLogger(__name__)

# How long a file that was created and is still empty waits for content before its object is stored.
EMPTY_COMMIT_DELAY_SECONDS = 2.0
# Whoever reads such a file reads its end first, where it says what is in it.
_WITH_FOOTER = (
    ".parquet",
    ".orc",
    ".feather",
    ".arrow",
    ".zip",
    ".jar",
    ".war",
    ".apk",
    ".whl",
    ".epub",
    ".docx",
    ".xlsx",
)


@dataclass(slots=True)
class _OpenFile:
    """Follow a descriptor; it has no reader before the first read: mostly the kernel knows what is in it."""

    inode: Inode
    writable: bool
    exclusive: bool
    direct: bool
    reader: Reader | None = None


class Descriptors:
    """Serve the operations on handles."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._open_files: dict[FileHandle, _OpenFile] = {}
        self._open_directories: dict[FileHandle, Inode] = {}
        self._views: dict[FileHandle, DirectoryView] = {}
        self._last_handle = 0
        # What was created or emptied and has no content yet, with when it is stored nevertheless.
        self._empty: deque[tuple[float, Inode]] = deque()

    async def create(
        self, parent: InodeNumber, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[FileHandle, Inode]:
        """Make a file and open it; S3 learns of it with the first commit, of a lock made with O_EXCL now."""
        known = self._core.tree.known(self._core.directory(parent), name)
        if known is not None and stat.S_ISREG(known.attributes.mode) and not flags & os.O_EXCL:
            # The kernel did not know of it: it opens what is there, as a disk would.
            handle = await self.open(known.number, flags, caller)
            known.lookups += 1
            return handle, known
        inode = await self._core.new_file(parent, name, stat.S_IFREG | stat.S_IMODE(mode), caller)
        if flags & os.O_EXCL and self._core.is_exclusive(inode.step):
            await self._core.store_new(inode, b"")
        else:
            inode.lookups += 1
            if not self._core.files.writeback:
                self._commit_if_still_empty(inode)
        return self._opened(inode, flags), inode

    async def open(self, number: InodeNumber, flags: int, caller: Caller) -> FileHandle:
        """Open a file: what its name stands for now, or STALE (the kernel then looks up again)."""
        inode = self._core.table.get(number)
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        if writable or flags & os.O_TRUNC:
            self._core.check_writable()
        if flags & os.O_DIRECT and not (inode.writer is not None and inode.writer.dirty):
            self._core.tree.doubt(inode)
        await self._core.tree.revalidate(inode)
        if flags & os.O_TRUNC:
            async with self._core.tree_lock.shared(inode), inode.lock:
                await self._core.truncate(inode, Changes(size_bytes=0), commit=False)
                if caller.uid:
                    # The kernel sees to this itself for write(2) and truncate(2), but not for O_TRUNC.
                    inode.took(mode=without_privileges(inode.attributes.mode))
            if not self._core.files.writeback:
                self._commit_if_still_empty(inode)
        if not writable and inode.writer is None and inode.parent is not None:
            self._core.foresight.opened(*self._core.table.place_of(inode))
        if not writable and inode.writer is None and inode.version is not None:
            self._core.blocks.open(inode.version)
        return self._opened(inode, flags)

    async def read(self, handle: FileHandle, offset: int, size: int) -> memoryview | bytes:
        """Return bytes, less at the end; a view is valid until the next await."""
        opened = self._file(handle)
        inode = opened.inode
        while True:
            writer, version = inode.writer, inode.version
            try:
                if writer is not None:
                    return await writer.read(offset, size)
                if version is None:
                    return b""
                reader = opened.reader = opened.reader or self._reader(opened)
                return await reader.read(version, offset, size)
            except FileSystemError as error:
                if error.reason is not Reason.STALE:
                    raise
                async with inode.lock:  # a commit, a chmod or a rename of our own may have replaced it
                    if writer is not None and inode.writer is writer and writer.attempts:
                        await self._core.committer.settle_attempts(inode, writer)
                        continue
                    if inode.version is version:
                        self._core.tree.doubt(inode)
                        raise

    async def write(self, handle: FileHandle, offset: int, content: bytes) -> int:
        """Accept bytes; all of them, or none."""
        opened = self._file(handle)
        if not opened.writable:
            raise FileSystemError(Reason.BAD_HANDLE)
        inode = opened.inode
        async with inode.lock:
            check_named(inode)
            writer = inode.writer or self._core.committer.new_writer(inode, empty=inode.version is None)
            await writer.write(offset, content, lambda: self._core.committer.begin_stream(inode))
            now_ns = time.time_ns()
            inode.took(mtime_ns=now_ns, ctime_ns=now_ns)
            inode.times_were_set = False
        return len(content)

    async def flush(self, handle: FileHandle) -> None:
        """Commit at a close; what was created or emptied and got no content yet waits a moment.

        An exclusive create does not wait: it may be a lock, and must say who has it.
        """
        opened = self._file(handle)
        inode, writer = opened.inode, opened.inode.writer
        if not opened.writable:
            return
        at_once = opened.exclusive or inode.detached or self._core.files.writeback
        if writer is not None and (writer.size_bytes or at_once):
            await self._core.close(inode)
        _say_what_was_refused(inode)

    async def fsync(self, handle: FileHandle) -> None:
        """Return when S3 has the file, or say why not."""
        inode = self._file(handle).inode
        await self._core.commit(inode)
        _say_what_was_refused(inode)

    def refuse(self, handle: FileHandle, error: FileSystemError) -> None:
        """Note that a write failed of which the program does not hear: every close and fsync says so now."""
        self._file(handle).inode.refused = error

    async def release(self, handle: FileHandle) -> None:
        """Close a descriptor for good; what a mapping wrote after close is committed here."""
        opened = self._open_files.pop(handle)
        if opened.reader is not None:
            opened.reader.close()
        inode = opened.inode
        inode.handles -= 1
        inode.writable_handles -= opened.writable
        if inode.writer is not None:
            if opened.writable:
                try:
                    await self._core.close(inode)
                except FileSystemError as error:
                    path = self._core.table.path(inode)
                    log.error("%s could not be stored after its last close: %s", path, error)
            async with inode.lock:
                await self._core.committer.close_writer_if_unused(inode)
        if inode.refused is not None and not inode.handles:
            # The kernel believes that it has what it handed over: it is shown another inode next time.
            inode.refused = None
            self._core.table.detach(inode)
        self._core.table.drop_if_unused(inode)

    def opendir(self, number: InodeNumber) -> FileHandle:
        """Open a directory; what is in it is asked when its first entry is read."""
        handle = self._next_handle()
        self._open_directories[handle] = self._core.directory(number)
        return handle

    async def entry(self, handle: FileHandle, place: int) -> tuple[DirectoryEntry, int] | None:
        """Return the entry at `place` and the place behind it, None at the end."""
        view = self._views.get(handle)
        if view is None:
            view = DirectoryView(self._core.directories, self._open_directories[handle])
            self._views[handle] = view
        while True:
            entry = await view.entry(place)
            place += 1
            if entry is None:
                return None
            if view.changed(entry) is not NOTHING:
                return entry, place

    def rewind(self, handle: FileHandle) -> None:
        """Begin anew: the directory as it is when its first entry is read again."""
        self._views.pop(handle, None)

    def is_at_hand(self, handle: FileHandle, place: int) -> bool:
        """Tell whether the entry at `place` needs no request."""
        return self._views[handle].is_at_hand(place)

    def dots(self, handle: FileHandle) -> tuple[InodeNumber, InodeNumber]:
        """Return the numbers of an open directory and of the one above it."""
        directory = self._open_directories[handle]
        return directory.number, (directory.parent or directory).number

    def path(self, handle: FileHandle) -> str:
        """Return the path of what is open, for messages; "?" for what is not known."""
        opened = self._open_files.get(handle)
        inode = opened.inode if opened is not None else self._open_directories.get(handle)
        return self._core.table.path(inode) if inode is not None else "?"

    def promise(self, number: InodeNumber) -> None:
        """Count the reference that a listed entry gave to the kernel."""
        self._core.table.promise(number)

    def listed(self, handle: FileHandle, entry: DirectoryEntry) -> Inode | InodeNumber:
        """Return an entry's inode when its attributes are known, else the number it will have."""
        view = self._views[handle]
        known = view.directory.children.get(entry.step)
        if known is not None and self._core.tree.is_fresh(known):
            return known
        info, is_known = None, False
        if view.changed(entry) is None and view.is_in_place():
            if entry.listed is not None:
                info = self._core.particulars.known(entry.listed)
                is_known = info is not None
            elif entry.step.kind is Kind.DIRECTORY and known is None:
                prefix = self._core.table.directory_prefix(view.directory) + entry.step.key
                is_known = self._core.particulars.is_marker_known(prefix)
                info = self._core.particulars.known_marker(prefix)
        if is_known:
            return self._core.tree.adopt(
                view.directory,
                entry.step,
                info,
                beside=entry.beside,
                checked_at_seconds=entry.told_at_seconds,
            )
        return self._core.table.number_for(view.directory, entry.step)

    def kind_of(self, handle: FileHandle, entry: DirectoryEntry) -> int:
        """Return the type bits of an entry whose attributes are not known; 0: nor is its type."""
        if entry.is_directory:
            return stat.S_IFDIR
        is_unchanged = self._views[handle].changed(entry) is None
        return stat.S_IFREG if is_unchanged and entry.is_regular_file else 0

    async def fsyncdir(self, handle: FileHandle) -> None:
        """Return when S3 has heard of what was closed or removed below a directory, or say why not."""
        directory = self._open_directories[handle]
        if not directory.detached:
            await self._core.queue.settle_below(directory)
            async with self._core.tree_lock.shared(directory):
                await self._core.removals.settle_below(self._core.table.directory_prefix(directory))

    def releasedir(self, handle: FileHandle) -> None:
        """Close a directory."""
        del self._open_directories[handle]
        self._views.pop(handle, None)

    def _commit_if_still_empty(self, inode: Inode) -> None:
        """Store a file in a moment, if it has no content by then."""
        self._empty.append((trio.current_time() + EMPTY_COMMIT_DELAY_SECONDS, inode))
        if len(self._empty) == 1:  # a task for each of many files would cost more than making them
            self._core.background.start_soon(self._commit_empty)

    async def _commit_empty(self) -> None:
        while self._empty:
            due_at, inode = self._empty[0]
            await trio.sleep_until(due_at)
            self._empty.popleft()
            if inode.writer is not None and not inode.writer.size_bytes:
                self._core.background.start_soon(self._close, inode)

    async def _close(self, inode: Inode) -> None:
        with contextlib.suppress(FileSystemError):  # reported by close or fsync, and logged
            await self._core.close(inode)

    def _file(self, handle: FileHandle) -> _OpenFile:
        return self._open_files[handle]

    def _opened(self, inode: Inode, flags: int) -> FileHandle:
        handle = self._next_handle()
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        inode.handles += 1
        inode.writable_handles += writable
        self._open_files[handle] = _OpenFile(
            inode, writable, exclusive=bool(flags & os.O_EXCL), direct=bool(flags & os.O_DIRECT)
        )
        return handle

    def _reader(self, opened: _OpenFile) -> Reader:
        has_footer = opened.inode.step.text.endswith(_WITH_FOOTER)
        return Reader(self._core.blocks, has_footer=has_footer, keeps=opened.direct)

    def _next_handle(self) -> FileHandle:
        self._last_handle += 1
        return FileHandle(self._last_handle)


def _say_what_was_refused(inode: Inode) -> None:
    if inode.refused is not None:
        raise FileSystemError(inode.refused.reason, inode.refused.message) from inode.refused
