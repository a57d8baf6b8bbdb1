"""Take credentials from a file that something else keeps up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import triples
from s3rolefs.roles.reading import read_private_text
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from s3rolefs.roles.need import Need
    from s3rolefs.roles.snapshot import Snapshot

_LIMIT_SECONDS = 10.0
# A file is rewritten in far less than that; one that stays incomplete is reported.
_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.1


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
        return await self._bench.stamp(self._path, what=self.describe())

    def describe(self) -> str:
        """Return the option with the path."""
        return f"credentials_file={self._path}"

    def needs(self) -> Sequence[Need]:
        """Return nothing: nobody has to be asked."""
        return ()

    async def _read(self) -> str:
        return await self._bench.run(
            lambda: read_private_text(self._path, option="credentials_file"),
            limit_seconds=_LIMIT_SECONDS,
            what=self.describe(),
        )


def _missing(sentence: str) -> CredentialsError:
    return CredentialsError(Reason.SESSION_MISSING, sentence)
