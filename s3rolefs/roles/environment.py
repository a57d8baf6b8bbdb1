"""Take credentials from the environment that the launcher was started with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import triples

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from s3rolefs.roles.need import Need
    from s3rolefs.roles.snapshot import Snapshot


class EnvironmentSource:
    """Hold the triple of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.

    `environment` is a mapping handed over at start; `os.environ` of the serving process has lost
    these variables by then. It never changes.
    """

    renews_on_change = False

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._reason: str | None = None
        self._triple: Snapshot | None = None
        try:
            self._triple = triples.from_environment(environment)
        except triples.UnreadableTripleError as error:
            self._reason = str(error)

    async def fetch(self) -> Snapshot:
        """Return the triple; SESSION_MISSING when it is not there or not complete."""
        if self._triple is None:
            why = self._reason or "AWS_ACCESS_KEY_ID is not set"
            raise CredentialsError(Reason.SESSION_MISSING, f"The environment has no credentials: {why}.")
        return self._triple

    async def stamp(self) -> Hashable:
        """Return None: it does not change."""
        return None

    def describe(self) -> str:
        """Return its name."""
        return "the environment"

    def needs(self) -> Sequence[Need]:
        """Return nothing: nobody has to be asked."""
        return ()
