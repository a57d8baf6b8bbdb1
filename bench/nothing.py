"""Show `thousand/` of the benchmark from memory, and do nothing else: no file system in pyfuse3 takes less.

`python -m bench.nothing DIRECTORY` serves until it is unmounted. It waits for the kernel as s3rolefs does.
"""

from __future__ import annotations

import errno
import stat
import sys
from typing import TYPE_CHECKING

import pyfuse3
import trio

from bench.datasets import SMALL_BYTES
from s3rolefs.fuse import session

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT = 1000
_FOLDER = b"thousand"
_FOLDER_INODE = pyfuse3.InodeT(2)
_FIRST_INODE = 3
_CONTENT = bytes(SMALL_BYTES)
_KEPT_SECONDS = 60.0


class Nothing(pyfuse3.Operations):
    """Answer at once, and let the kernel keep everything."""

    enable_writeback_cache = True

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Know the folder and the files in it."""
        if parent_inode == pyfuse3.ROOT_INODE and name == _FOLDER:
            return _entry(_FOLDER_INODE)
        if parent_inode == _FOLDER_INODE and name[:1] == b"f" and name[1:].isdigit():
            return _entry(pyfuse3.InodeT(_FIRST_INODE + int(name[1:])))
        raise pyfuse3.FUSEError(errno.ENOENT)

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Know all numbers."""
        return _entry(inode)

    async def opendir(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        """Use the number as the handle."""
        return pyfuse3.FileHandleT(inode)

    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """List the files of the folder."""
        for number in range(start_id, COUNT if fh == _FOLDER_INODE else 0):
            entry = _entry(pyfuse3.InodeT(_FIRST_INODE + number))
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(b"f%04d" % number), entry, number + 1):
                break

    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        """Use the number as the handle."""
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """Return zeros."""
        return _CONTENT[off : off + size]

    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        """Do nothing."""

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        """Do nothing."""

    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        """Do nothing."""

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        """Do nothing."""


def _entry(inode: pyfuse3.InodeT) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode
    entry.entry_timeout = entry.attr_timeout = _KEPT_SECONDS
    if inode in (pyfuse3.ROOT_INODE, _FOLDER_INODE):
        entry.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o755)
    else:
        entry.st_mode = pyfuse3.ModeT(stat.S_IFREG | 0o644)
        entry.st_size = SMALL_BYTES
    return entry


if __name__ == "__main__":
    session.open_session(Nothing(), sys.argv[1], source="nothing", flags=())
    try:
        trio.run(session.serve)
    finally:
        session.close_session()
