"""Hold the one FUSE session of this process: mount, serve, close."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pyfuse3

from s3rolefs.fuse.handshake import Handshake
from s3rolefs.fuse.kernel import NotMountedError
from s3rolefs.fuse.patience import wait_with_patience

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from s3rolefs.model import InodeNumber

SUBTYPE = "s3rolefs"

# More requests than this wait in the kernel; each one served is a small task.
_MAX_TASKS = 512


def open_session(
    operations: pyfuse3.Operations, mountpoint: str, *, source: str, flags: tuple[str, ...]
) -> None:
    """Mount; requests are answered once `serve` runs.

    Raises `NotMountedError` with what libfuse or fusermount3 said.
    """
    options = {
        f"fsname={_escape(source)}",
        f"subtype={SUBTYPE}",
        "default_permissions",
        *flags,
    }
    said: list[str] = []
    try:
        with _captured_stderr(said):
            pyfuse3.init(operations, mountpoint, options)
    except RuntimeError as error:
        raise NotMountedError("; ".join(said) or str(error)) from None


async def serve() -> None:
    """Answer requests until the directory is unmounted or `end` is called."""
    wait_with_patience(Handshake())
    await pyfuse3.main(max_tasks=_MAX_TASKS)


def collect_writes_blocking(numbers: Iterable[InodeNumber]) -> None:
    """Make the kernel hand over the writes that it has gathered for these files; `serve` must be running.

    Not on the loop: the kernel waits until its writes are answered.
    """
    for number in numbers:
        # Closed and forgotten meanwhile: then it was handed over.
        with suppress(OSError):
            pyfuse3.invalidate_inode(pyfuse3.InodeT(number))


def end() -> None:
    """Make `serve` return once the requests in its hands are answered."""
    pyfuse3.terminate()


def close_session() -> None:
    """Unmount (lazily, where it is still mounted) and give the session up."""
    pyfuse3.close(unmount=True)


def _escape(text: str) -> str:
    # libfuse reads \ooo in option values; pyfuse3 passes ASCII only.
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte not in b",\\" else f"\\{byte:03o}"
        for byte in os.fsencode(text)
    )


@contextmanager
def _captured_stderr(lines: list[str]) -> Iterator[None]:
    """Collect what C code and child processes write to descriptor 2 meanwhile."""
    kept = os.dup(2)
    capture = os.memfd_create("s3rolefs-stderr", os.MFD_CLOEXEC)
    try:
        os.dup2(capture, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.lseek(capture, 0, os.SEEK_SET)
            text = os.read(capture, 1 << 16).decode(errors="replace")
            lines.extend(line.strip() for line in text.splitlines() if line.strip())
    finally:
        os.close(kept)
        os.close(capture)
