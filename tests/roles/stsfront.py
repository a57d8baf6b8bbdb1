"""Answer STS requests as a script says: the refusals and silences that a real server rarely gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.bed.loopback import Asked, Loopback, Said

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId>
<Arn>arn:aws:sts::111122223333:assumed-role/data/x</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAFRONT{number}</AccessKeyId><SecretAccessKey>front-secret</SecretAccessKey>
<SessionToken>front-token</SessionToken><Expiration>{expiration}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""
ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>id</RequestId></ErrorResponse>"""


class StsFront(Loopback):
    """Serve one script: `error` is (status, code, message), `body` is sent as it stands.

    `judge` returns an error of that kind, or None, for each request. `ahead_seconds` is how far the
    server's own clock, hence its Date, is off.
    """

    def __init__(
        self,
        *,
        error: tuple[int, str, str] | None = None,
        judge: Callable[[dict[str, str]], tuple[int, str, str] | None] | None = None,
        body: str | None = None,
        ahead_seconds: float = 0.0,
        life_seconds: float = 900.0,
        silent: bool = False,
    ) -> None:
        super().__init__()
        self.error = error
        self.judge = judge
        self.body = body
        self.ahead_seconds = ahead_seconds
        self.life_seconds = life_seconds
        self.silent = silent
        self.requests: list[dict[str, str]] = []

    def answer(self, asked: Asked) -> Said | None:
        request = {name: values[0] for name, values in parse_qs(asked.text).items()}
        request["authorization"] = asked.headers.get("authorization", "")
        self.requests.append(request)
        if self.silent:
            return None
        error = self.error or (self.judge(request) if self.judge else None)
        if error is not None:
            status, code, message = error
            return Said(status=status, text=ERROR.format(code=code, message=message))
        if self.body is not None:
            return Said(text=self.body)
        expires = datetime.fromtimestamp(self.now() + self.life_seconds, UTC)
        return Said(text=SESSION.format(expiration=expires.isoformat(), number=len(self.requests)))
