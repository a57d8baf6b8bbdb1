"""Show a broker's session to botocore, so that boto3 clients sign with it.

botocore asks `get_frozen_credentials()` at every signing, each retry included; nothing of its own
refreshing is involved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import botocore.session
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, ReadOnlyCredentials

from s3rolefs.errors import CredentialsError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3rolefs.roles.snapshot import Snapshot


class SessionView(Credentials):
    """Answer botocore with whatever `peek` returns (usually a broker's `peek`)."""

    def __init__(self, peek: Callable[[], Snapshot | None]) -> None:
        super().__init__("", "", method="s3rolefs")
        self._peek = peek

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the session of this moment.

        Raises `CredentialsError` (SESSION_EXPIRED) when there is none: `await broker.get()` first.
        """
        snapshot = self._peek()
        if snapshot is None:
            raise CredentialsError(Reason.SESSION_EXPIRED, "There is no valid session to sign with.")
        return ReadOnlyCredentials(
            snapshot.access_key_id, str(snapshot.secret_access_key), snapshot.session_token
        )


class _ViewProvider(CredentialProvider):
    METHOD = "s3rolefs"

    def __init__(self, view: SessionView) -> None:
        super().__init__()
        self._view = view

    def load(self) -> Credentials:
        return self._view


def botocore_session(peek: Callable[[], Snapshot | None]) -> botocore.session.Session:
    """Return a botocore session whose clients sign with what `peek` returns at that moment."""
    session = botocore.session.Session()
    session.register_component("credential_provider", CredentialResolver([_ViewProvider(SessionView(peek))]))
    return session
