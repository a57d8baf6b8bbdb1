"""Hand out real sessions of a role, for stand-ins of services that radosgw is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bed.radosgw import Keys

if TYPE_CHECKING:
    from tests.bed.radosgw import RadosGateway


class RoleSessions:
    """Assume a role of radosgw each time, so that S3 enforces what the session may and its end.

    `kept` hands out the last session again; `made` counts the others.
    """

    def __init__(self, radosgw: RadosGateway, keys: Keys, role_arn: str, *, seconds: int) -> None:
        self._sts = radosgw.client("sts", keys)
        self._role_arn = role_arn
        self._seconds = seconds
        self._last: tuple[Keys, float] | None = None
        self.kept = False
        self.made = 0

    def __call__(self) -> tuple[Keys, float]:
        if self._last is None or not self.kept:
            answer = self._sts.assume_role(
                RoleArn=self._role_arn, RoleSessionName="stand-in", DurationSeconds=self._seconds
            )["Credentials"]
            keys = Keys(
                access_key=answer["AccessKeyId"],
                secret_key=answer["SecretAccessKey"],
                session_token=answer["SessionToken"],
            )
            self._last = keys, answer["Expiration"].timestamp()
            self.made += 1
        return self._last
