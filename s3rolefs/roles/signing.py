"""Sign requests to STS by the service's clock.

botocore signs by the machine's clock, and AWS refuses what is more than five minutes off (IAM User
Guide, "Elements of an AWS API request signature"): a machine whose clock is wrong would renew nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.credentials import ReadOnlyCredentials

from s3rolefs.roles.direct import issuers_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.awsrequest import AWSRequest

    from s3rolefs.clock import Clock
    from s3rolefs.roles.snapshot import Snapshot

# A refusal is put down to the clock only if that is off by more than this.
_TOLERATED_SECONDS = 30.0


class ServiceClock:
    """Tell the time of a service: the machine's, corrected once an answer showed it wrong."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_seconds = 0.0

    def seconds(self) -> float:
        """Return seconds since the epoch, as the service counts them."""
        return self._clock.wall_seconds() + self._ahead_seconds

    def learn(self, date: str | None) -> bool:
        """Follow a Date header; say whether what was signed before it was clearly off."""
        there = issuers_now(date, self._clock) or self._clock.wall_seconds()
        was_off = abs(there - self.seconds()) > _TOLERATED_SECONDS
        if was_off:
            self._ahead_seconds = there - self._clock.wall_seconds()
        return was_off


class Signer:
    """Sign what botocore is about to send with the keys that `peek` returns, if it returns any."""

    def __init__(self, peek: Callable[[], Snapshot | None], *, region: str, clock: ServiceClock) -> None:
        self._peek = peek
        self._region = region
        self._clock = clock

    def sign(self, request: AWSRequest, **_more: object) -> None:
        """Handle botocore's event request-created."""
        snapshot = self._peek()
        if snapshot is None:
            return
        keys = ReadOnlyCredentials(
            snapshot.access_key_id, str(snapshot.secret_access_key), snapshot.session_token
        )
        moment = datetime.fromtimestamp(self._clock.seconds(), UTC).strftime(SIGV4_TIMESTAMP)
        _SignatureOf(keys, self._region, moment).add_auth(request)


class _SignatureOf(SigV4Auth):
    """Sign for a moment that is given."""

    def __init__(self, keys: ReadOnlyCredentials, region: str, moment: str) -> None:
        super().__init__(keys, "sts", region)
        self._moment = moment

    # The stubs lack this step, which botocore's own kinds of signatures override in the same way.
    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._moment
        super()._modify_request_before_signing(request)  # type: ignore[misc]
