"""Operate on names and attributes: look up, make, remove, rename, change.

The kernel serialises changes of the names of one directory, beside which no name of it is looked up for the
first time; look-ups are parallel. What it does not serialise (a commit at close beside an unlink) is ordered
by the inode's lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from typing import TYPE_CHECKING

from s3rolefs.cache.listings import NOTHING
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import SYMLINK_TARGET_LIMIT_BYTES, Caller, Changes, changed, new_attributes
from s3rolefs.fs.names import CONTENT, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from s3rolefs.fs.core import Core
    from s3rolefs.fs.inode import Inode
    from s3rolefs.model import FileHandle, InodeNumber

log = logging.getLogger(__name__)


class Namespace:
    """Serve the operations that name files by their parent's inode number and a name."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def lookup(self, parent: InodeNumber, name: bytes) -> Inode:
        """Return the inode of a name, with one more reference."""
        directory = self._core.directory(parent)
        if name == b".":
            inode = directory
        elif name == b"..":
            inode = directory.parent or directory
        else:
            inode = await self._core.tree.lookup(directory, name)
        inode.lookups += 1
        return inode

    def forget(self, number: InodeNumber, count: int) -> None:
        """Take back references."""
        self._core.table.forget(number, count)

    def path(self, number: InodeNumber, name: bytes | None) -> str:
        """Return the path of an inode, or of a name in it, for messages; "?" for what is not known."""
        inode = self._core.table.find(number)
        if inode is None:
            return "?"
        path = self._core.table.path(inode)
        return path if name is None else f"{path.removesuffix('/')}/{os.fsdecode(name)}"

    def fresh_seconds(self, inode: Inode) -> float:
        """Return for how long what is known of an inode may still be believed."""
        return self._core.tree.fresh_seconds(inode)

    async def getattr(self, number: InodeNumber) -> Inode:
        """Return an inode with attributes as fresh as the options say."""
        return await self._core.refreshed(number)

    async def setattr(self, number: InodeNumber, changes: Changes, handle: FileHandle | None) -> Inode:
        """Change attributes or the size; they ride on an upload that is due anyway."""
        # Through an old descriptor: what others changed meanwhile must not be undone.
        inode = await self._core.refreshed(number)
        self._core.check_writable()
        async with self._core.tree_lock.shared(inode), inode.lock:
            restates = changes.only_restates(inode.attributes, through_handle=handle is not None)
            if changes.size_bytes is not None:
                await self._core.truncate(inode, changes, commit=handle is None)
            elif restates:
                inode.attributes = changed(inode.attributes, changes)
            if changes.names_attributes() and not restates:
                await self._core.change_attributes(inode, changed(inode.attributes, changes))
                inode.times_were_set |= changes.mtime_ns is not None
        return inode

    async def readlink(self, number: InodeNumber) -> bytes:
        """Return a symlink's target."""
        inode = self._core.table.get(number)
        if not stat.S_ISLNK(inode.attributes.mode):
            raise FileSystemError(Reason.INVALID)
        if inode.symlink_target is None:
            assert inode.version is not None
            content = await self._core.blocks.read(inode.version, 0, inode.version.size_bytes)
            inode.symlink_target = bytes(content)
        return inode.symlink_target

    async def symlink(self, parent: InodeNumber, name: bytes, target: bytes, caller: Caller) -> Inode:
        """Make a symlink: an object whose body is the target."""
        if len(target) > SYMLINK_TARGET_LIMIT_BYTES:
            raise FileSystemError(Reason.NAME_TOO_LONG)
        inode = await self._core.new_file(parent, name, stat.S_IFLNK | 0o777, caller)
        await self._core.store_new(inode, target)
        return inode

    async def mknod(self, parent: InodeNumber, name: bytes, mode: int, caller: Caller) -> Inode:
        """Make an empty file, a FIFO or a socket; device nodes are NOT_PERMITTED."""
        if stat.S_IFMT(mode) not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK):
            raise FileSystemError(Reason.NOT_PERMITTED, "device nodes cannot be made on S3")
        inode = await self._core.new_file(parent, name, mode, caller)
        await self._core.store_new(inode, b"")
        return inode

    async def mkdir(self, parent: InodeNumber, name: bytes, mode: int, caller: Caller) -> Inode:
        """Make a directory."""
        self._core.check_writable()
        directory = self._core.directory(parent)
        step, _ = self._core.new_step(directory, name, Kind.DIRECTORY)
        if self._core.tree.known(directory, name) is not None:
            raise FileSystemError(Reason.EXISTS)
        self._core.check_takes_names(directory)
        attributes = new_attributes(stat.S_IFDIR | stat.S_IMODE(mode), caller, directory.attributes)
        async with self._core.tree_lock.shared(directory):
            if step.kind is Kind.PART:
                inode = self._core.tree.make_part(directory, step)
                inode.attributes = attributes
            else:
                inode = await self._core.new_directory(directory, step, attributes)
        directory.children_changed()
        inode.lookups += 1
        return inode

    async def unlink(self, parent: InodeNumber, name: bytes) -> None:
        """Remove a file; who has it open keeps its bytes until the last close."""
        self._core.check_writable()
        directory = self._core.directory(parent)
        inode = await self._core.tree.lookup(directory, name)
        if inode.is_directory:
            raise FileSystemError(Reason.IS_DIRECTORY)
        async with self._core.tree_lock.shared(inode), inode.lock:
            if inode.writer is not None:
                await self._core.committer.settle_attempts(inode, inode.writer)
            await self._save_bytes_of_open(inode)
            if inode.version is not None:
                await self._remove_object(inode, directory)
            left = directory.info if inode.step == CONTENT else None
            self._core.metadata.changed(*self._core.table.place_of(inode), left or NOTHING)
            self._core.committer.keeper.forget(inode)
            self._core.table.remove(inode)
            await self._core.committer.close_writer_if_unused(inode)
        inode.took(ctime_ns=time.time_ns())
        directory.children_changed()

    async def _remove_object(self, inode: Inode, directory: Inode) -> None:
        """Remove the object of a file whose lock is held; with `writeback` S3 hears of it a little later."""
        if inode.step == CONTENT:
            await self._core.directories.make_marker(directory, self._core.table.key(inode))
            return
        if self._core.files.writeback:
            try:
                self._core.removals.add(inode)
            except FileSystemError as error:
                log.warning("%s is removed at once: %s", self._core.table.path(inode), error)
            else:
                self._core.queue.sync_soon()
                return
        await self._core.directories.stay_without(inode)
        await self._core.store.delete(self._core.table.key(inode))

    async def rmdir(self, parent: InodeNumber, name: bytes) -> None:
        """Remove an empty directory."""
        self._core.check_writable()
        directory = self._core.directory(parent)
        inode = await self._core.tree.lookup(directory, name)
        if not inode.is_directory:
            raise FileSystemError(Reason.NOT_DIRECTORY)
        if inode.permanent:
            raise FileSystemError(Reason.BUSY, "this directory is the map's")
        async with self._core.tree_lock.shared(inode), inode.lock:
            await self._core.removals.settle_below(self._core.table.directory_prefix(inode), leaving=True)
            await self._core.directories.remove(inode)
            await self._core.committer.give_up(inode)
        directory.children_changed()

    async def rename(
        self,
        parent: InodeNumber,
        name: bytes,
        new_parent: InodeNumber,
        new_name: bytes,
        *,
        overwrite: bool,
    ) -> None:
        """Give a file or directory another name; `overwrite` False is RENAME_NOREPLACE."""
        self._core.check_writable()
        directory, new_directory = self._core.directory(parent), self._core.directory(new_parent)
        inode = await self._core.tree.lookup(directory, name)
        target = await self._child_or_none(new_directory, new_name)
        if target is inode:
            if not inode.is_directory:
                _, inode.named_object = self._core.new_step(new_directory, new_name, Kind.OBJECT)
            return
        if inode.is_part or inode.step == CONTENT:
            raise FileSystemError(Reason.CROSS_DEVICE, "S3 has no object for it: what is in it can be copied")
        kind = Kind.DIRECTORY if inode.is_directory else Kind.OBJECT
        step, beside = self._core.new_step(new_directory, new_name, kind)
        if step == CONTENT or step.kind is Kind.PART:
            raise FileSystemError(Reason.CROSS_DEVICE, "S3 has no object for it: what is in it can be copied")
        if target is not None and not overwrite:
            raise FileSystemError(Reason.EXISTS)
        if inode.permanent or (target is not None and target.permanent):
            raise FileSystemError(Reason.BUSY, "this directory is the map's")
        self._core.check_takes_names(new_directory)
        if self._core.table.top(directory) is not self._core.table.top(new_directory):
            place = self._core.table.key(inode), self._core.table.key(new_directory) + step.key
            old, new = (self._core.folder.address_of(key) or "" for key in place)
            if (
                old == new
            ):  # one object under two names, as of hard links: copied onto itself it would be lost
                return
            if inode.is_directory and new.startswith(old):
                raise FileSystemError(Reason.INVALID, "a directory cannot move below itself")
            raise FileSystemError(Reason.CROSS_DEVICE, "it would lead into another bucket")
        if target is not None and inode.is_directory != target.is_directory:
            raise FileSystemError(Reason.IS_DIRECTORY if target.is_directory else Reason.NOT_DIRECTORY)
        if inode.is_directory:
            if new_directory.is_within(inode):
                raise FileSystemError(Reason.INVALID, "a directory cannot move below itself")
            if target is not None:
                await self._core.commit(target)
            async with self._core.tree_lock.moving(inode):
                if target is not None and self._core.table.unsent_below(target):
                    raise FileSystemError(Reason.NOT_EMPTY)
                await self._core.mover.move_directory(inode, new_directory, step, overwrite=overwrite)
        else:
            async with self._core.tree_lock.shared(inode, new_directory), _locks(inode, target):
                if target is not None:
                    await self._save_bytes_of_open(target)
                if step == inode.step and directory is new_directory:  # the other name of the same object
                    inode.named_object = beside
                    return
                if not beside:
                    self._core.check_free(new_directory, step)
                if overwrite and self._is_here_only(inode) and (target is None or self._is_here_only(target)):
                    self._core.mover.move_unsent(inode, new_directory, step)
                    self._core.queue.write_down_again(inode)
                else:
                    await self._core.mover.move_file(inode, new_directory, step, overwrite=overwrite)
                inode.beside = inode.named_object = beside
                if target is not None:
                    self._core.committer.keeper.forget(target)
                    await self._core.committer.close_writer_if_unused(target)
        directory.children_changed()
        new_directory.children_changed()

    def _is_here_only(self, inode: Inode) -> bool:
        """Tell whether a file has only waited so far, with `writeback`: nobody tried to store it."""
        if not self._core.files.writeback or inode.writer is None or inode in self._core.committer.keeper:
            return False
        return inode.writer.never_stored and inode.version is None and not inode.writer.attempts

    async def _save_bytes_of_open(self, inode: Inode) -> None:
        """Bring an open file's bytes here before its object goes away."""
        if inode.handles and not inode.detached and (inode.version is not None or inode.writer is not None):
            writer = inode.writer or self._core.committer.new_writer(inode, empty=inode.version is None)
            try:
                await writer.bring(0, writer.size_bytes)
            except FileSystemError as error:
                # What cannot be read now could not be read later either: the name goes all the same.
                if error.reason not in (Reason.STALE, Reason.ACCESS_DENIED, Reason.ARCHIVED):
                    raise

    async def _child_or_none(self, directory: Inode, name: bytes) -> Inode | None:
        try:
            return await self._core.tree.lookup(directory, name)
        except FileSystemError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise


@contextlib.asynccontextmanager
async def _locks(*inodes: Inode | None) -> AsyncIterator[None]:
    """Hold several inodes' locks, the lower number first."""
    async with contextlib.AsyncExitStack() as stack:
        for inode in sorted((one for one in inodes if one is not None), key=lambda one: one.number):
            await stack.enter_async_context(inode.lock)
        yield
