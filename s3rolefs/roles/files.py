"""Take credentials from a file that something else keeps up to date."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import triples
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Hashable

    from s3rolefs.roles.snapshot import Snapshot

_LARGEST_BYTES = 1024 * 1024
_LIMIT_SECONDS = 10.0
# A file is rewritten in far less than that; one that stays incomplete is reported.
_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.1


def read_private_text(path: str, *, option: str) -> str:
    """Return the text of a file that holds a secret, refusing one that others can read.

    Raises `CredentialsError` (SESSION_MISSING) with a sentence that names option, path and remedy.
    """
    try:
        # O_NONBLOCK: opening a pipe nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise _missing(f"{option}={path} does not exist; put the credentials there.") from None
    except OSError as error:
        raise _missing(
            f"{option}={path} cannot be read ({error.strerror}); it must be readable for the user who mounts."
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _missing(f"{option}={path} is not a regular file.")
        if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise _missing(f"{option}={path} can be read or changed by every user; run: chmod 600 {path}")
        if status.st_size > _LARGEST_BYTES:
            raise _missing(f"{option}={path} is larger than 1 MiB, so it is no file of credentials.")
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


class FileSource:
    """Read access key, secret and session token from a file (spellings: `triples`)."""

    renews_on_change = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._bench = Bench()

    async def fetch(self) -> Snapshot:
        """Read the file, waiting up to a second for one that is just being written.

        Whoever rewrites a file in place shows a part of it for a moment: what was read counts
        once it parses and a second look finds the same.
        """
        text = await self._read()
        deadline = trio.current_time() + _PATIENCE_SECONDS
        while True:
            await trio.sleep(_PAUSE_SECONDS)
            before, text = text, await self._read()
            if text != before and trio.current_time() < deadline:
                continue
            try:
                return triples.parse(text, source=self.describe())
            except triples.UnreadableTripleError as error:
                if trio.current_time() >= deadline:
                    raise _missing(f"{self.describe()} cannot be used: {error}.") from None

    async def stamp(self) -> Hashable:
        """Return device, inode, size, mtime and mode of the file."""
        try:
            return await self._bench.run(
                lambda: stamp_of(self._path), limit_seconds=_LIMIT_SECONDS, what=self.describe()
            )
        except CredentialsError:
            return "unreachable"

    def describe(self) -> str:
        """Return the option with the path."""
        return f"credentials_file={self._path}"

    async def _read(self) -> str:
        return await self._bench.run(
            lambda: read_private_text(self._path, option="credentials_file"),
            limit_seconds=_LIMIT_SECONDS,
            what=self.describe(),
        )


def _missing(sentence: str) -> CredentialsError:
    return CredentialsError(Reason.SESSION_MISSING, sentence)
