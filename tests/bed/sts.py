"""Stand in for AWS's STS where radosgw's and moto's check too little; the sessions may be real ones.

For each action a judge looks at the request (its parameters, and as "signer" the access key that
signed it) and returns the ARN of the session, or raises `RefusedError`. Requests with web identities
and SAML assertions must not be signed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.bed.loopback import Asked, Loopback, Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed.radosgw import Keys

SUCCESS = """<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>{keys.access_key}</AccessKeyId><SecretAccessKey>{keys.secret_key}</SecretAccessKey>
<SessionToken>{keys.session_token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>
</{action}Result></{action}Response>"""
FAILURE = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>id</RequestId></ErrorResponse>"""


class RefusedError(Exception):
    """Refuse a request as STS does."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class StrictSts(Loopback):
    """Judge requests and hand out what `sessions` returns."""

    def __init__(self, sessions: Callable[[], tuple[Keys, float]]) -> None:
        super().__init__()
        self.sessions = sessions
        self.judges: dict[str, Callable[[dict[str, str]], str]] = {}
        self.requests: list[dict[str, str]] = []
        self.issued: dict[str, tuple[str, float]] = {}  # access key: the role's ARN, the moment

    def answer(self, asked: Asked) -> Said:
        form = {name: values[0] for name, values in parse_qs(asked.text).items()}
        authorization = asked.headers.get("authorization", "")
        form["signer"] = authorization.partition("Credential=")[2].partition("/")[0]
        self.requests.append(form)
        try:
            return self._judge(asked, form)
        except RefusedError as error:
            text = FAILURE.format(code=error.code, message=escape(str(error)))
            return Said(status=error.status, text=text)

    def _judge(self, asked: Asked, form: dict[str, str]) -> Said:
        action = form.get("Action", "")
        if action not in self.judges:
            raise RefusedError("InvalidAction", f"Could not find operation {action}")
        if (action == "AssumeRole") != bool(form["signer"]):
            raise RefusedError("SignatureDoesNotMatch", "signed, or not signed, against the rule", status=403)
        arn = self.judges[action](form)
        keys, expires_at = self.sessions()
        self.issued[keys.access_key] = form["RoleArn"], self.now()
        expiration = datetime.fromtimestamp(expires_at, UTC).isoformat()
        return Said(text=SUCCESS.format(action=action, arn=escape(arn), keys=keys, expiration=expiration))
