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
IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>{arn}</Arn><UserId>AROA:x</UserId><Account>{account}</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
FAILURE = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>id</RequestId></ErrorResponse>"""


class RefusedError(Exception):
    """Refuse a request as STS does."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class StrictSts(Loopback):
    """Judge requests and hand out what `sessions` returns.

    With `tells_callers` it knows GetCallerIdentity, for the sessions that it handed out.
    """

    def __init__(self, sessions: Callable[[], tuple[Keys, float]]) -> None:
        super().__init__()
        self.sessions = sessions
        self.judges: dict[str, Callable[[dict[str, str]], str]] = {}
        self.requests: list[dict[str, str]] = []
        self.issued: dict[str, tuple[str, float]] = {}  # access key: the role's ARN, the moment
        self.tells_callers = False
        self._callers: dict[str, str] = {}  # access key: the session's ARN

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
        if action == "GetCallerIdentity" and self.tells_callers:
            return self._tell_caller(form["signer"])
        if action not in self.judges:
            raise RefusedError("InvalidAction", f"Could not find operation {action}")
        if (action == "AssumeRole") != bool(form["signer"]):
            raise RefusedError("SignatureDoesNotMatch", "signed, or not signed, against the rule", status=403)
        arn = self.judges[action](form)
        keys, expires_at = self.sessions()
        self.issued[keys.access_key] = form["RoleArn"], self.now()
        self._callers[keys.access_key] = arn
        expiration = datetime.fromtimestamp(expires_at, UTC).isoformat()
        return Said(text=SUCCESS.format(action=action, arn=escape(arn), keys=keys, expiration=expiration))

    def _tell_caller(self, access_key: str) -> Said:
        if access_key not in self._callers:
            raise RefusedError("InvalidClientTokenId", "The security token is invalid", status=403)
        arn = self._callers[access_key]
        return Said(text=IDENTITY.format(arn=escape(arn), account=arn.split(":")[4]))
