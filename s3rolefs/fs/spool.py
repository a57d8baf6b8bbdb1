"""Keep the bytes of a file that is being written: in memory while small, then in a nameless file.

The file has no name (O_TMPFILE where the file system knows it), so nothing is left behind by a
crash; `keep` gives it one when S3 could not take the data.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.ranges import Ranges
from s3rolefs.model import MIB
from s3rolefs.s3.store import FileSpan

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY_LIMIT_BYTES = MIB
_COPY_BYTES = 64 * MIB


class Spool:
    """Hold local bytes of one file. `present` says which bytes are here, `changed` which differ from S3."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._memory: bytearray | None = bytearray()
        self._fd = -1
        self.present = Ranges()
        self.changed = Ranges()

    def write(self, offset: int, content: bytes | memoryview, *, changed: bool = True) -> None:
        """Put bytes in place; NO_SPACE when the spool's disk is full (nothing is accepted then)."""
        end = offset + len(content)
        if self._memory is not None and end > MEMORY_LIMIT_BYTES:
            self._move_to_file()
        if self._memory is not None:
            if end > len(self._memory):
                self._memory.extend(bytes(end - len(self._memory)))
            self._memory[offset:end] = content
        else:
            self._write_file(offset, content)
        self.present.add(offset, end)
        if changed:
            self.changed.add(offset, end)

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes that are all present (a hole made by `extend` reads as zeros)."""
        if self._memory is not None:
            return bytes(self._memory[offset : offset + size]).ljust(size, b"\0")
        return os.pread(self._fd, size, offset).ljust(size, b"\0")

    def memory(self) -> bytes:
        """Return all there is in memory; what it lacks of the file is a hole, or in S3."""
        assert self._memory is not None
        return bytes(self._memory)

    def extend(self, old_size: int, new_size: int) -> None:
        """Make [old_size, new_size) a hole of zeros."""
        if self._memory is not None and new_size > MEMORY_LIMIT_BYTES:
            self._move_to_file()
        if self._fd >= 0 and os.fstat(self._fd).st_size < new_size:
            with _disk_full():
                os.ftruncate(self._fd, new_size)
        self.present.add(old_size, new_size)
        self.changed.add(old_size, new_size)

    def cut(self, size: int) -> None:
        """Drop everything from `size` on."""
        self.present.cut(size)
        self.changed.cut(size)
        if self._memory is not None:
            del self._memory[size:]
        elif os.fstat(self._fd).st_size > size:
            os.ftruncate(self._fd, size)

    def span(self, offset: int, length: int) -> bytes | FileSpan:
        """Return a range for the object store; it must not change until it is sent."""
        if self._memory is not None:
            return self.read(offset, length)
        if os.fstat(self._fd).st_size < offset + length:
            os.ftruncate(self._fd, offset + length)
        return FileSpan(fd=self._fd, offset=offset, length=length)

    @property
    def in_memory(self) -> bool:
        """Tell whether the bytes have not been moved to a file."""
        return self._memory is not None

    def keep(self, path: Path, size: int) -> None:
        """Save the first `size` bytes as a file (0600) that outlives the mount, or bring that up to date."""
        if self._memory is not None:
            self._move_to_file()
        with _disk_full():
            os.ftruncate(self._fd, size)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(self._fd)):
            return
        try:
            # man 2 open, O_TMPFILE: the way to give a nameless file a name. Python calls linkat(2), which
            # follows the link in /proc, only when it is given a directory (which an absolute path ignores).
            os.link(f"/proc/self/fd/{self._fd}", path, src_dir_fd=self._fd, follow_symlinks=True)
        except OSError:
            draft = path.with_suffix(".draft")
            with _disk_full(), open(draft, "wb", opener=private) as target:
                position = 0
                while sent := os.sendfile(target.fileno(), self._fd, position, _COPY_BYTES):
                    position += sent
            draft.rename(path)

    def adopt(self, path: Path, present: list[tuple[int, int]], changed: list[tuple[int, int]]) -> int:
        """Go on with a file that an earlier mount kept; return how long it is.

        That mount may have been killed when it had cut the file and not yet kept it again.
        """
        self._memory = None
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        for start, end in present:
            self.present.add(start, end)
        for start, end in changed:
            self.changed.add(start, end)
        size = os.fstat(self._fd).st_size
        self.present.cut(size)
        self.changed.cut(size)
        return size

    def close(self) -> None:
        """Give memory and disk back."""
        self._memory = bytearray()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _move_to_file(self) -> None:
        assert self._memory is not None
        with _disk_full():
            fd = _nameless_file(self._directory)
        memory, self._memory, self._fd = self._memory, None, fd
        try:
            self._write_file(0, memory)
        except FileSystemError:
            self._memory, self._fd = memory, -1
            os.close(fd)
            raise

    def _write_file(self, offset: int, content: bytes | bytearray | memoryview) -> None:
        view = memoryview(content)
        with _disk_full():
            while view:
                written = os.pwrite(self._fd, view, offset)
                view = view[written:]
                offset += written


def private(path: str, flags: int) -> int:
    """Open a file that nobody else may read: an opener for `open`."""
    return os.open(path, flags, 0o600)


def _nameless_file(directory: str) -> int:
    with contextlib.suppress(OSError):
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fd, path = tempfile.mkstemp(dir=directory)
    Path(path).unlink()
    return fd


@contextlib.contextmanager
def _disk_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileSystemError(Reason.NO_SPACE, f"the spool cannot take more: {error.strerror}") from error
