"""Assume a role with the keys of another source, which may be a role itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, Reason

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from s3rolefs.roles.mfa import MfaCodes
    from s3rolefs.roles.need import Need
    from s3rolefs.roles.request import RoleRequest
    from s3rolefs.roles.snapshot import Snapshot
    from s3rolefs.roles.source import Source
    from s3rolefs.roles.sts import TokenService

log = logging.getLogger(__name__)

# What AWS gives a role that a role assumed (IAM User Guide, "Role chaining").
_CHAINED_SECONDS = 3600


class AssumedRole:
    """Assume a role with whatever another source gives, asked anew each time.

    `is_chained`: the other source is known to give sessions of a role, so that AWS grants an hour
    at most. `codes` are those of the multi-factor device that the request names.
    """

    # The keys below may change without the session on top being affected; but after a failure
    # new keys are the reason to try again.
    renews_on_change = False

    def __init__(
        self,
        source: Source,
        service: TokenService,
        request: RoleRequest,
        *,
        is_chained: bool = False,
        codes: MfaCodes | None = None,
    ) -> None:
        self._source = source
        self._service = service
        self._request = request
        self._codes = codes
        if is_chained and self._wants_more_than_an_hour():
            self._take_an_hour()

    async def fetch(self) -> Snapshot:
        """Return a new session of the role."""
        signer = await self._source.fetch()
        try:
            return await self._assume(signer)
        except CredentialsError as error:
            # Of some keys (a file, SSO) only STS knows that they are a role's.
            if "role chaining" not in error.detail or not self._wants_more_than_an_hour():
                raise
        self._take_an_hour()
        return await self._assume(signer)

    async def stamp(self) -> Hashable:
        """Return the stamp of what the role is assumed with."""
        return await self._source.stamp()

    def describe(self) -> str:
        """Return role and source."""
        return f"{self._request.title} assumed with {self._source.describe()}"

    def needs(self) -> Sequence[Need]:
        """Return what the source below needs, then the code of the device."""
        return (*self._source.needs(), *(self._codes.needs() if self._codes else ()))

    async def _assume(self, signer: Snapshot) -> Snapshot:
        if self._codes is None:
            return await self._service.assume_role(signer, self._request)
        code = await self._codes.take()
        try:
            return await self._service.assume_role(signer, self._request, mfa_code=code)
        except CredentialsError as error:
            if error.reason is Reason.UNREACHABLE:
                self._codes.give_back(code)
            raise

    def _wants_more_than_an_hour(self) -> bool:
        return (self._request.duration_seconds or 0) > _CHAINED_SECONDS

    def _take_an_hour(self) -> None:
        log.warning(
            "duration_seconds=%s is more than a role gets that another role assumes: %s is asked for %s s",
            self._request.duration_seconds,
            self._request.role_arn,
            _CHAINED_SECONDS,
        )
        self._request = replace(self._request, duration_seconds=_CHAINED_SECONDS)
