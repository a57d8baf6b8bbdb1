"""Translate: a FUSE request into one call of the file system, its failure into an errno and a log line."""

from __future__ import annotations

import contextlib
import errno
import stat
from typing import TYPE_CHECKING

import pyfuse3

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import names
from s3rolefs.fs.attributes import Caller, Changes
from s3rolefs.fs.inode import Inode
from s3rolefs.fuse.failures import answered
from s3rolefs.model import FileHandle, InodeNumber

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from s3rolefs.fs.filesystem import FileSystem

BLOCK_UNIT_BYTES = 512
PREFERRED_IO_BYTES = 1024 * 1024
# Said to be free: as much as statfs can say without overflowing what old tools compute with (1 EiB).
_FREE_BLOCKS = 2**60 // PREFERRED_IO_BYTES
_NAME_LIMIT_BYTES = 255
_RENAME_NOREPLACE = 1
# Requests whose first arguments are a handle, and a directory and a name in it; of others it is an inode.
_BY_HANDLE = frozenset(("read", "write", "flush", "fsync", "release", "readdir", "releasedir", "fsyncdir"))
_BY_NAME = frozenset(("lookup", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "create"))
_USER = b"user."
_DOTS = (pyfuse3.FileNameT(b"."), pyfuse3.FileNameT(b".."))


class Operations(pyfuse3.Operations):
    """Answer the kernel. Every request is answered within the object store's limits on time."""

    supports_dot_lookup = True
    enable_acl = False

    def __init__(self, filesystem: FileSystem) -> None:
        super().__init__()
        self._names = filesystem.names
        self._descriptors = filesystem.descriptors
        self._extended = filesystem.extended
        self._xattr = filesystem.files.xattr
        self._negative_seconds = filesystem.files.negative_ttl_seconds
        self.enable_writeback_cache = filesystem.files.kernel_gathers_writes

    @answered
    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        try:
            return self._entry(await self._names.lookup(InodeNumber(parent_inode), name))
        except FileSystemError as error:
            if error.reason is not Reason.NOT_FOUND or self._negative_seconds <= 0:
                raise
            absent = pyfuse3.EntryAttributes()
            absent.st_ino = pyfuse3.InodeT(0)
            absent.entry_timeout = self._negative_seconds
            return absent

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        for number, count in inode_list:
            self._names.forget(InodeNumber(number), count)

    @answered
    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._entry(await self._names.getattr(InodeNumber(inode)))

    @answered
    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        changes = Changes(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size_bytes=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            ctime_ns=attr.st_ctime_ns if fields.update_ctime else None,
        )
        handle = None if fh is None else FileHandle(fh)
        return self._entry(await self._names.setattr(InodeNumber(inode), changes, handle))

    @answered
    async def readlink(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileNameT:
        return pyfuse3.FileNameT(await self._names.readlink(InodeNumber(inode)))

    @answered
    async def mknod(
        self,
        parent_inode: pyfuse3.InodeT,
        name: bytes,
        mode: pyfuse3.ModeT,
        rdev: int,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        return self._entry(await self._names.mknod(InodeNumber(parent_inode), name, mode, _caller(ctx)))

    @answered
    async def mkdir(
        self, parent_inode: pyfuse3.InodeT, name: bytes, mode: pyfuse3.ModeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        with _presence_told(parent_inode, name):
            return self._entry(await self._names.mkdir(InodeNumber(parent_inode), name, mode, _caller(ctx)))

    @answered
    async def unlink(self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        await self._names.unlink(InodeNumber(parent_inode), name)

    @answered
    async def rmdir(self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        await self._names.rmdir(InodeNumber(parent_inode), name)

    @answered
    async def symlink(
        self, parent_inode: pyfuse3.InodeT, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        with _presence_told(parent_inode, name):
            return self._entry(
                await self._names.symlink(InodeNumber(parent_inode), name, target, _caller(ctx))
            )

    @answered
    async def rename(
        self,
        parent_inode_old: pyfuse3.InodeT,
        name_old: bytes,
        parent_inode_new: pyfuse3.InodeT,
        name_new: bytes,
        flags: pyfuse3.FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        if flags & ~_RENAME_NOREPLACE:
            raise FileSystemError(Reason.INVALID, "names cannot be exchanged in one step on S3")
        with _presence_told(parent_inode_new, name_new):
            await self._names.rename(
                InodeNumber(parent_inode_old),
                name_old,
                InodeNumber(parent_inode_new),
                name_new,
                overwrite=not flags & _RENAME_NOREPLACE,
            )

    @answered
    async def link(
        self,
        inode: pyfuse3.InodeT,
        new_parent_inode: pyfuse3.InodeT,
        new_name: bytes,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        raise FileSystemError(Reason.NOT_PERMITTED, "an S3 object has one key: hard links cannot be made")

    @answered
    async def create(
        self,
        parent_inode: pyfuse3.InodeT,
        name: bytes,
        mode: pyfuse3.ModeT,
        flags: pyfuse3.FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        with _presence_told(parent_inode, name):
            handle, inode = await self._descriptors.create(
                InodeNumber(parent_inode), name, mode, flags, _caller(ctx)
            )
        return _opened(handle), self._entry(inode)

    @answered
    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return _opened(await self._descriptors.open(InodeNumber(inode), flags, _caller(ctx)))

    @answered
    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        # pyfuse3 takes any buffer, and hands it to the kernel before anything else runs.
        return await self._descriptors.read(FileHandle(fh), off, size)  # type: ignore[return-value]

    @answered
    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        try:
            return await self._descriptors.write(FileHandle(fh), off, buf)
        except FileSystemError as error:
            if not self.enable_writeback_cache:
                raise
            # The program was told long ago that it was written, and the kernel makes EIO of most errors.
            self._descriptors.refuse(FileHandle(fh), error)
            return len(buf)

    @answered
    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        await self._descriptors.flush(FileHandle(fh))

    @answered
    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        await self._descriptors.fsync(FileHandle(fh))

    @answered
    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        await self._descriptors.release(FileHandle(fh))

    @answered
    async def opendir(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        return pyfuse3.FileHandleT(self._descriptors.opendir(InodeNumber(inode)))

    @answered
    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        handle = FileHandle(fh)
        if start_id == 0:  # also after rewinddir(3)
            self._descriptors.rewind(handle)
        # The kernel keeps nothing of these two, and takes no reference.
        for place, number in enumerate(self._descriptors.dots(handle)):
            if start_id <= place and not pyfuse3.readdir_reply(
                token, _DOTS[place], _unlinked(number, stat.S_IFDIR), place + 1
            ):
                return
        place = max(0, start_id - len(_DOTS))
        while (found := await self._descriptors.entry(handle, place)) is not None:
            entry, place = found
            known = self._descriptors.listed(handle, entry)
            if isinstance(known, Inode):
                number, attributes = known.number, self._entry(known)
            else:
                # The kernel takes the type (mode 0: DT_UNKNOWN), and looks the name up when somebody asks.
                number, attributes = known, _unlinked(known, self._descriptors.kind_of(handle, entry))
            name = pyfuse3.FileNameT(names.encoded(entry.name))
            if not pyfuse3.readdir_reply(token, name, attributes, place + len(_DOTS)):
                return
            self._descriptors.promise(number)
            if not self._descriptors.is_at_hand(handle, place):
                return  # what there is first: the kernel may ask for as much as many pages hold

    @answered
    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        self._descriptors.releasedir(FileHandle(fh))

    @answered
    async def fsyncdir(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        await self._descriptors.fsyncdir(FileHandle(fh))

    @answered
    async def getxattr(self, inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        self._check_xattr(name)
        return await self._extended.get(InodeNumber(inode), name)

    @answered
    async def listxattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> Sequence[pyfuse3.XAttrNameT]:
        self._check_xattr(_USER)
        return [pyfuse3.XAttrNameT(name) for name in await self._extended.names(InodeNumber(inode))]

    @answered
    async def setxattr(
        self, inode: pyfuse3.InodeT, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        # pyfuse3 minds XATTR_CREATE and XATTR_REPLACE by asking getxattr first.
        self._check_xattr(name)
        await self._extended.set(InodeNumber(inode), name, value)

    @answered
    async def removexattr(self, inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._check_xattr(name)
        await self._extended.remove(InodeNumber(inode), name)

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = PREFERRED_IO_BYTES
        data.f_blocks = data.f_bfree = data.f_bavail = _FREE_BLOCKS
        data.f_files = data.f_ffree = data.f_favail = 2**40
        data.f_namemax = _NAME_LIMIT_BYTES
        return data

    def _check_xattr(self, name: bytes) -> None:
        if not self._xattr:
            # The kernel does not ask again, which it would else do before each write.
            raise pyfuse3.FUSEError(errno.ENOSYS)
        if not name.startswith(_USER):
            raise pyfuse3.FUSEError(errno.ENOTSUP)

    def where(self, request: str, arguments: Sequence[object]) -> str:
        """Return the path that a request is about, for the log."""
        first, second, *_ = *arguments, None
        assert isinstance(first, int)
        if request in _BY_HANDLE:
            return self._descriptors.path(FileHandle(first))
        name = second if request in _BY_NAME and isinstance(second, bytes) else None
        return self._names.path(InodeNumber(first), name)

    def _entry(self, inode: Inode) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        attributes = inode.attributes
        size_bytes = inode.size_bytes
        entry.st_ino = pyfuse3.InodeT(inode.number)
        entry.generation = 0
        entry.entry_timeout = entry.attr_timeout = self._names.fresh_seconds(inode)
        entry.st_mode = pyfuse3.ModeT(attributes.mode)
        entry.st_nlink = 0 if inode.detached and not inode.is_directory else 1
        entry.st_uid = attributes.uid
        entry.st_gid = attributes.gid
        entry.st_size = size_bytes
        entry.st_blksize = PREFERRED_IO_BYTES
        entry.st_blocks = -(-size_bytes // BLOCK_UNIT_BYTES)
        entry.st_mtime_ns = attributes.mtime_ns
        entry.st_ctime_ns = attributes.ctime_ns
        entry.st_atime_ns = attributes.atime_ns
        return entry


def _unlinked(number: InodeNumber, mode: int) -> pyfuse3.EntryAttributes:
    """Return what a listing says of an entry that the kernel is not to keep."""
    attributes = pyfuse3.EntryAttributes()
    attributes.st_ino = pyfuse3.InodeT(number)
    attributes.st_mode = pyfuse3.ModeT(mode)
    attributes.st_size = -1  # no file's: the kernel (fs/fuse/readdir.c) then keeps nothing but the type
    return attributes


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(uid=ctx.uid, gid=ctx.gid, umask=ctx.umask)


def _opened(handle: FileHandle) -> pyfuse3.FileInfo:
    # The page cache may always be kept: a version that somebody else wrote is another inode. O_DIRECT goes
    # past it without `direct_io`, too, which would overlook writes that are still gathered, and times.
    return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(handle), keep_cache=True)


@contextlib.contextmanager
def _presence_told(parent: pyfuse3.InodeT, name: bytes) -> Iterator[None]:
    """Let the kernel look a name up again that it believes absent when making it was EXISTS."""
    try:
        yield
    except FileSystemError as error:
        if error.reason is Reason.EXISTS:
            pyfuse3.invalidate_entry_async(parent, pyfuse3.FileNameT(name), ignore_enoent=True)
        raise
