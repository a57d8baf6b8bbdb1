"""Keep the files of blocks within their share of a disk: what nobody has read for longest goes first.

Blocking. Several processes may share the directory: each counts what is there once in a while (when it has
added a sixteenth of the limit), so that together they may exceed the limit by that much each, for that long.
"""

from __future__ import annotations

import errno
import heapq
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.model import GIB, KIB

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a disk keeps free for everybody else: this part of it, at most so many bytes.
FLOOR_PART = 20
FLOOR_BYTES = 8 * GIB
_COUNTS_PER_LIMIT = 16
_VICTIMS_PART = 8
_OURS = re.compile(r"[0-9a-f]{30}\.\d+")
_GRAIN_BYTES = 4 * KIB

_File = tuple[int, Path, int]  # modified (ns), path, bytes


def disk_bytes(size_bytes: int) -> int:
    """Return what a file takes on a disk."""
    return -(-size_bytes // _GRAIN_BYTES) * _GRAIN_BYTES


def spare_bytes(folder: Path) -> int:
    """Return how many bytes may be written below a folder before its disk is as full as it may get."""
    disk = os.statvfs(folder)
    floor_bytes = min(disk.f_blocks * disk.f_frsize // FLOOR_PART, FLOOR_BYTES)
    return disk.f_bavail * disk.f_frsize - floor_bytes


class DiskRoom:
    """Account for the files `folder`/xx/name, and remove the oldest (by mtime) when there is no room."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._added_bytes = limit_bytes  # since the last count: the first one is due
        # The oldest files found by the last count, the very oldest at the end.
        self._victims: list[_File] = []

    def make(self, size_bytes: int) -> None:
        """Make room for a file and count it as there; OSError ENOSPC when there is none."""
        size_bytes = disk_bytes(size_bytes)
        if self._added_bytes * _COUNTS_PER_LIMIT >= self._limit_bytes:
            self._count()
        excess_bytes = max(
            self._used_bytes + size_bytes - self._limit_bytes, size_bytes - spare_bytes(self._folder)
        )
        if excess_bytes > 0:
            self._free(excess_bytes)
        self._used_bytes += size_bytes
        self._added_bytes += size_bytes

    def _free(self, excess_bytes: int) -> None:
        while excess_bytes > 0:
            if not self._victims:
                self._count()
            if not self._victims:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            modified_ns, path, size_bytes = self._victims.pop()
            with suppress(OSError):
                if path.lstat().st_mtime_ns != modified_ns:
                    continue  # it was read since
                path.unlink()
            self._used_bytes -= size_bytes
            excess_bytes -= size_bytes

    def _count(self) -> None:
        files = list(self._files())
        self._used_bytes = sum(size_bytes for _, _, size_bytes in files)
        self._added_bytes = 0
        # A part of them only: the rest will have been read by then, or is counted again.
        self._victims = heapq.nsmallest(len(files) // _VICTIMS_PART + 1, files)[::-1]

    def _files(self) -> Iterator[_File]:
        for number in range(256):
            folder = self._folder / f"{number:02x}"
            with suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    if _OURS.fullmatch(entry.name):
                        with suppress(FileNotFoundError):
                            found = entry.stat(follow_symlinks=False)
                            yield found.st_mtime_ns, folder / entry.name, disk_bytes(found.st_size)
