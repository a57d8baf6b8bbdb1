"""Define what a broker renews from: the `Source` protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from s3rolefs.roles.need import Need
    from s3rolefs.roles.snapshot import Snapshot


class Source(Protocol):
    """Obtain a session, each time anew. Asked by one task at a time."""

    @property
    def renews_on_change(self) -> bool:
        """Say whether a changed `stamp()` means a new session (else: only a reason to retry)."""
        ...

    async def fetch(self) -> Snapshot:
        """Return a session; bounded in time.

        Raises `CredentialsError`: UNREACHABLE (trying again may help), ROLE_REFUSED (refused
        until somebody changes a policy), SESSION_MISSING or SESSION_EXPIRED (somebody has to
        hand over a session).
        """
        ...

    async def stamp(self) -> Hashable:
        """Return what differs once `fetch()` would read something new; None when nobody can tell."""
        ...

    def describe(self) -> str:
        """Return in words, without secrets, where sessions come from."""
        ...

    def needs(self) -> Sequence[Need]:
        """Return what only a person can give, the innermost source's first."""
        ...
