"""Fetch proofs of identity that somebody else issues: web identity tokens and SAML assertions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.commands import output_of
from s3rolefs.roles.reading import is_open_to_all, read_private_text, read_text
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Hashable

log = logging.getLogger(__name__)

_LIMIT_SECONDS = 10.0
# More than the longest that STS takes of either kind.
_LARGEST_BYTES = 256 * 1024


class Proof(Protocol):
    """Read a proof, each time anew."""

    async def read(self) -> str:
        """Return the proof of this moment. Raises `CredentialsError`."""
        ...

    async def stamp(self) -> Hashable:
        """Return what differs once `read` would return something new; None when nobody can tell."""
        ...

    def describe(self) -> str:
        """Return in words, without secrets, where it comes from."""
        ...


class ProofFile:
    """Read a file. `is_private`: refuse one that others can read, else warn of it, once."""

    def __init__(self, path: str, *, option: str, is_private: bool) -> None:
        self._path = path
        self._option = option
        self._is_private = is_private
        self._warned = is_private
        self._bench = Bench()

    async def read(self) -> str:
        """Return the file's text, without white space around it."""
        text = await self._bench.run(self._read_blocking, limit_seconds=_LIMIT_SECONDS, what=self.describe())
        if not text.strip():
            raise CredentialsError(Reason.SESSION_MISSING, f"{self.describe()} is empty.")
        return text.strip()

    async def stamp(self) -> Hashable:
        """Return device, inode, size, mtime and mode of the file."""
        return await self._bench.stamp(self._path, what=self.describe())

    def describe(self) -> str:
        """Return the option with the path."""
        return f"{self._option}={self._path}"

    def _read_blocking(self) -> str:
        if self._is_private:
            return read_private_text(self._path, option=self._option)
        if not self._warned and is_open_to_all(self._path):
            # Kubernetes mounts tokens so; there nobody else is in the container.
            self._warned = True
            log.warning("%s can be read by every user of this machine", self.describe())
        return read_text(self._path, option=self._option)


class ProofCommand:
    """Run a command that prints a proof."""

    def __init__(self, command: str, *, option: str) -> None:
        self._command = command
        self._option = option

    async def read(self) -> str:
        """Return what the command prints."""
        return await output_of(self._command, option=self._option, largest_bytes=_LARGEST_BYTES)

    async def stamp(self) -> Hashable:
        """Return None: a command tells of no change."""
        return None

    def describe(self) -> str:
        """Return the option; the command line may be long."""
        return f"the command of {self._option}"


class GivenProof:
    """Hold what was read from a descriptor when mounting; it never changes."""

    def __init__(self, text: str, *, option: str) -> None:
        self._text = text
        self._option = option

    async def read(self) -> str:
        """Return the text, without white space around it."""
        if not self._text.strip():
            raise CredentialsError(
                Reason.SESSION_MISSING, f"Nothing came from the descriptor of {self._option}."
            )
        return self._text.strip()

    async def stamp(self) -> Hashable:
        """Return None: it does not change."""
        return None

    def describe(self) -> str:
        """Return the option."""
        return f"the descriptor of {self._option}"
