"""Keep blocks of object versions in files that outlive the mount, one file for each block.

Blocking, for any thread. A block of a version never changes, so that nothing in here is ever out of date;
whether it may be read is decided elsewhere (disktier.py). A file is the bytes of the block and a trailer with
their checksum, seeded by the file's name: what was cut short (kill -9, a full disk), damaged or
put under another name is noticed before a byte of it is given out, removed, and counts as absent.
Nothing is ever renamed or synced: a file is whole, or it is none.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from s3rolefs.cache.diskroom import DiskRoom
from s3rolefs.cache.folders import make_private
from s3rolefs.model import address_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.cache.blocks import ObjectVersion
    from s3rolefs.config import FileConfig

log = logging.getLogger(__name__)

_TRAILER = struct.Struct("<8sQ")
_MAGIC = b"s3rfblk1"
# When a block was read last is written down this exactly (as its file's mtime).
_USED_STEP_SECONDS = 60.0


def block_files(files: FileConfig, origins: Mapping[str, str]) -> BlockFiles | None:
    """Return the blocks that a mount keeps on disk; None where the options allow none."""
    if not files.cache_size_bytes:
        return None
    return BlockFiles(Path(files.cache_dir) / "blocks", origins, limit_bytes=files.cache_size_bytes)


class BlockFiles:
    """Read and write blocks below `folder`, at most `limit_bytes` of them.

    `origins` says what stands for the beginning of a key: a service, a bucket and a prefix in it, so that
    mounts of one bucket share what is here whatever they show of it.
    """

    def __init__(self, folder: Path, origins: Mapping[str, str], *, limit_bytes: int) -> None:
        self.folder = folder
        self._origins = origins
        self._room = DiskRoom(folder, limit_bytes=limit_bytes)
        self._said_damaged = False

    def prepare(self) -> None:
        """Make the directory where it is missing, before anything in it is believed.

        PermissionError when others may write there; OSError.
        """
        make_private(self.folder)

    def path(self, version: ObjectVersion, index: int) -> Path:
        """Return where a block of a version is, if it is there."""
        name = f"{address_of(version.key, self._origins)}\0{version.etag}\0{version.size_bytes}"
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:]}.{index}"

    def expect(self, path: Path) -> None:
        """Let the kernel fetch a block that is read soon, while others are read: a disk does many at once."""
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)

    def read(self, path: Path, into: memoryview) -> bool:
        """Fill `into` with a block; False when it is not there (any more). OSError when the disk fails."""
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            trailer = bytearray(_TRAILER.size)
            got_bytes = os.preadv(file, [into, trailer], 0)
            if got_bytes == len(into) + len(trailer) and trailer == _trailer(path, into):
                if abs(time.time() - os.fstat(file).st_mtime) >= _USED_STEP_SECONDS:
                    with suppress(OSError):  # a read-only disk
                        os.utime(file)
                return True
        finally:
            os.close(file)
        if got_bytes == len(into) + len(trailer) and not self._said_damaged:
            self._said_damaged = True
            log.warning("%s was damaged: it is removed, and fetched again", path)
        with suppress(OSError):
            path.unlink()
        return False

    def write(self, path: Path, block: memoryview) -> None:
        """Keep a block unless it is there; OSError when it cannot be kept."""
        if path.exists():
            return
        size_bytes = len(block) + _TRAILER.size
        try:
            self._room.make(size_bytes)
        except FileNotFoundError:  # somebody removed the directory
            self.prepare()
            self._room.make(size_bytes)
        with suppress(FileExistsError):
            file = self._created(path)
            written_bytes = 0
            try:
                written_bytes = os.writev(file, [block, _trailer(path, block)])
            finally:
                os.close(file)
                if written_bytes != size_bytes:
                    with suppress(OSError):
                        path.unlink()
            if written_bytes != size_bytes:  # the disk has room for a part only
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _created(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self.prepare()
            with suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
            return os.open(path, flags, 0o600)


def _trailer(path: Path, block: memoryview) -> bytes:
    seed = xxh3_64_intdigest(path.name.encode())
    return _TRAILER.pack(_MAGIC, xxh3_64_intdigest(block, seed))
