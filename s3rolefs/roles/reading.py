"""Read the files that options name: small ones, regular ones, and secrets only where nobody else can."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, Reason

if TYPE_CHECKING:
    from collections.abc import Hashable

_LARGEST_BYTES = 1024 * 1024
_DESCRIPTOR = re.compile(r"/dev/stdin|/(dev|proc/self)/fd/\d+")


def read_private_text(path: str, *, option: str) -> str:
    """Return the text of a file that holds a secret, refusing one that others can read.

    Raises `CredentialsError` (SESSION_MISSING) with a sentence that names option, path and remedy.
    """
    return _read(path, option=option, is_private=True)


def read_text(path: str, *, option: str) -> str:
    """Return the text of a file that others may read; raises as `read_private_text` does."""
    return _read(path, option=option, is_private=False)


def is_open_to_all(path: str) -> bool:
    """Say whether every user can read or change a file; an absent one is not."""
    try:
        return bool(Path(path).stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
    except OSError:
        return False


def is_descriptor(path: str) -> bool:
    """Say whether a path names an open descriptor of whoever reads it (as `<(command)` does)."""
    return _DESCRIPTOR.fullmatch(path) is not None


def _read(path: str, *, option: str, is_private: bool) -> str:
    try:
        # O_NONBLOCK: opening a pipe nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise _missing(f"{option}={path} does not exist; create it, or correct the path.") from None
    except OSError as error:
        raise _missing(
            f"{option}={path} cannot be read ({error.strerror}); it must be readable for the user who mounts."
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _missing(f"{option}={path} is not a regular file.")
        if is_private and status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise _missing(f"{option}={path} can be read or changed by every user; run: chmod 600 {path}")
        if status.st_size > _LARGEST_BYTES:
            raise _missing(f"{option}={path} is larger than 1 MiB, so it is not what it should be.")
        return os.read(descriptor, _LARGEST_BYTES).decode(errors="replace")
    finally:
        os.close(descriptor)


def stamp_of(path: str) -> Hashable:
    """Return what changes when a file is rewritten or replaced; works for an absent one too."""
    try:
        status = Path(path).stat()
    except OSError as error:
        return (error.errno,)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode)


def _missing(sentence: str) -> CredentialsError:
    return CredentialsError(Reason.SESSION_MISSING, sentence)
