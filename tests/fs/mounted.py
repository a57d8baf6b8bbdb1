"""Drive a `FileSystem` by paths, without FUSE and without a kernel's caches."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from s3rolefs.config import FileConfig
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import names
from s3rolefs.fs.attributes import Caller, Changes
from s3rolefs.fs.filesystem import FileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from s3rolefs.cache.blockfiles import BlockFiles
    from s3rolefs.clock import Clock
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.unsent import Unsent
    from s3rolefs.model import FileHandle, FirstPage
    from s3rolefs.s3.store import ObjectStore

CALLER = Caller(uid=1000, gid=1000, umask=0o022)
READ_BYTES = 128 * 1024


def kept_bytes(unsent: Unsent) -> bytes:
    return Path(unsent.kept_at).read_bytes()


def kept_mode(unsent: Unsent) -> int:
    return stat.S_IMODE(Path(unsent.kept_at).stat().st_mode)


def is_kept(unsent: Unsent) -> bool:
    return Path(unsent.kept_at).exists()


class TrioClock:
    """Follow trio's clock, so that a test's autojump moves every age and date with it."""

    def wall_seconds(self) -> float:
        return 1_700_000_000.0 + trio.current_time()

    def boot_seconds(self) -> float:
        return trio.current_time()


class Mounted:
    """Do what the kernel does for programs: walk paths, look up again after STALE, flush, release."""

    def __init__(self, filesystem: FileSystem) -> None:
        self.filesystem = filesystem
        self.names = filesystem.names
        self.descriptors = filesystem.descriptors

    async def find(self, path: str) -> Inode:
        inode = self.names._core.table.root
        for name in filter(None, path.split("/")):
            inode = await self.names.lookup(inode.number, names.encoded(name))
        return inode

    async def parent(self, path: str) -> tuple[Inode, bytes]:
        above, _, name = path.rpartition("/")
        return await self.find(above), names.encoded(name)

    async def parent_of_known(self, path: str) -> tuple[Inode, bytes]:
        """Look the last name up, too: a kernel holds what it removes or renames."""
        await self.find(path)
        return await self.parent(path)

    async def create(self, path: str, flags: int = os.O_RDWR, mode: int = 0o644) -> FileHandle:
        parent, name = await self.parent(path)
        handle, _ = await self.descriptors.create(parent.number, name, mode, flags | os.O_CREAT, CALLER)
        return handle

    async def open(self, path: str, flags: int = os.O_RDONLY) -> FileHandle:
        try:
            return await self.descriptors.open((await self.find(path)).number, flags, CALLER)
        except FileSystemError as error:
            if error.reason is not Reason.STALE:
                raise
            return await self.descriptors.open((await self.find(path)).number, flags, CALLER)

    async def open_or_create(self, path: str, flags: int) -> FileHandle:
        try:
            return await self.open(path, flags)
        except FileSystemError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return await self.create(path, flags)

    async def close(self, handle: FileHandle) -> None:
        try:
            await self.descriptors.flush(handle)
        finally:
            await self.descriptors.release(handle)

    async def write(self, path: str, content: bytes, flags: int = os.O_WRONLY | os.O_TRUNC) -> None:
        handle = await self.open_or_create(path, flags)
        try:
            for offset in range(0, len(content), 1 << 20):
                await self.descriptors.write(handle, offset, content[offset : offset + (1 << 20)])
        finally:
            await self.close(handle)

    async def read_open(self, handle: FileHandle) -> bytes:
        pieces: list[bytes] = []
        while piece := bytes(
            await self.descriptors.read(handle, sum(len(known) for known in pieces), READ_BYTES)
        ):
            pieces.append(piece)
        return b"".join(pieces)

    async def read(self, path: str) -> bytes:
        handle = await self.open(path)
        try:
            return await self.read_open(handle)
        finally:
            await self.close(handle)

    async def truncate(self, path: str, size: int) -> None:
        await self.names.setattr((await self.find(path)).number, Changes(size_bytes=size), None)

    async def change(self, path: str, **changes: int) -> Inode:
        return await self.names.setattr((await self.find(path)).number, Changes(**changes), None)

    async def stat(self, path: str) -> Inode:
        return await self.names.getattr((await self.find(path)).number)

    async def unlink(self, path: str) -> None:
        parent, name = await self.parent_of_known(path)
        await self.names.unlink(parent.number, name)

    async def mkdir(self, path: str, mode: int = 0o755) -> None:
        parent, name = await self.parent(path)
        await self.names.mkdir(parent.number, name, mode, CALLER)

    async def rmdir(self, path: str) -> None:
        parent, name = await self.parent_of_known(path)
        await self.names.rmdir(parent.number, name)

    async def symlink(self, path: str, target: bytes) -> None:
        parent, name = await self.parent(path)
        await self.names.symlink(parent.number, name, target, CALLER)

    async def rename(self, old: str, new: str, *, overwrite: bool = True) -> None:
        parent, name = await self.parent_of_known(old)
        new_parent, new_name = await self.parent(new)
        await self.names.rename(parent.number, name, new_parent.number, new_name, overwrite=overwrite)

    async def list(self, path: str = "") -> list[str]:
        handle = self.descriptors.opendir((await self.find(path)).number)
        entries = []
        place = 0
        while (found := await self.descriptors.entry(handle, place)) is not None:
            entry, place = found
            self.descriptors.listed(handle, entry)
            entries.append(entry.name)
        self.descriptors.releasedir(handle)
        return entries

    async def exists(self, path: str) -> bool:
        try:
            await self.find(path)
        except FileSystemError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return False
        return True

    async def is_directory(self, path: str) -> bool:
        return stat.S_ISDIR((await self.find(path)).attributes.mode)

    def check(self) -> None:
        """Assert what holds between requests."""
        core = self.names._core
        core.blocks.check()
        for inode in core.table.below(core.table.root):
            assert inode.parent is not None
            assert inode.parent.children[inode.step] is inode
            assert core.table.find(inode.number) is inode
            assert not inode.detached


@asynccontextmanager
async def mounted(
    store: ObjectStore,
    spool: Path,
    *,
    prefix: str = "",
    source: str = "s3://bucket",
    directories: Mapping[str, str] | None = None,
    records: Path | None = None,
    blocks: BlockFiles | None = None,
    origins: Mapping[str, str] | None = None,
    first_pages: Sequence[FirstPage] = (),
    clock: Clock | None = None,
    **files: object,
) -> AsyncIterator[Mounted]:
    """Serve a store until the block ends, as abruptly as a killed process; nothing is drained."""
    config = replace(FileConfig(uid=0, gid=0, spool_dir=str(spool)), **files)
    filesystem = FileSystem(
        store,
        prefix=prefix,
        source=source,
        files=config,
        clock=clock or TrioClock(),
        directories=directories,
        records=records,
        blocks=blocks,
        origins=origins,
        first_pages=first_pages,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(filesystem.run)
        made = Mounted(filesystem)
        try:
            yield made
            made.check()
        finally:
            nursery.cancel_scope.cancel()
            filesystem.close()
