"""Assume a role with a token of an identity provider (OpenID Connect): AssumeRoleWithWebIdentity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.need import Given, Kind

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from s3rolefs.roles.need import Need
    from s3rolefs.roles.proofs import Proof
    from s3rolefs.roles.request import RoleRequest
    from s3rolefs.roles.snapshot import Snapshot
    from s3rolefs.roles.sts import TokenService

# STS API reference, AssumeRoleWithWebIdentity.
_SHORTEST_TOKEN = 4
_LONGEST_TOKEN = 20000


class WebIdentityRole:
    """Assume a role with a token that is read anew each time; the request is not signed.

    `provider_id` is only for providers of OAuth 2.0 access tokens.
    """

    # A new token does not end the session; but after a refusal it is the reason to try again.
    renews_on_change = False

    def __init__(
        self, proof: Proof, service: TokenService, request: RoleRequest, *, provider_id: str | None = None
    ) -> None:
        self._proof = proof
        self._service = service
        self._request = request
        self._provider_id = provider_id
        self._expired: tuple[str, CredentialsError] | None = None
        self._given = Given(
            Kind.WEB_IDENTITY_TOKEN,
            f"Web identity token for {request.role_arn}",
            check=lambda text: _checked(text.strip(), "What was given"),
        )

    async def fetch(self) -> Snapshot:
        """Return a new session of the role; what somebody gave goes first, until it is refused."""
        with self._given.missed():
            given = self._given.text
            return await (self._fetch_with_proof() if given is None else self._assume(given))

    async def _fetch_with_proof(self) -> Snapshot:
        """Return a new session of the role.

        A token that STS calls expired is acquired once more: it may just have been rotated. The
        same one again is not sent a second time, whoever asks.
        """
        token = await self._token()
        try:
            return await self._assume(token)
        except CredentialsError as error:
            if error.reason is not Reason.SESSION_EXPIRED:
                raise
            self._expired = token, error
        return await self._assume(await self._token())

    async def stamp(self) -> Hashable:
        """Return the stamp of the token."""
        return await self._proof.stamp()

    def describe(self) -> str:
        """Return role and source of the token."""
        return f"{self._request.title} assumed with {self._proof.describe()}"

    def needs(self) -> Sequence[Need]:
        """Return the token, whatever else may bring one."""
        return (self._given,)

    async def _assume(self, token: str) -> Snapshot:
        if self._expired is not None and self._expired[0] == token:
            raise self._expired[1].with_traceback(None)
        return await self._service.assume_role_with_web_identity(
            token, self._request, provider_id=self._provider_id
        )

    async def _token(self) -> str:
        return _checked(await self._proof.read(), f"What comes from {self._proof.describe()}")


def _checked(token: str, which: str) -> str:
    if _SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN and token.isascii() and token.isprintable():
        return token
    raise CredentialsError(
        Reason.SESSION_MISSING,
        f"{which} is no web identity token: one line of {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} characters is "
        "expected.",
    )
