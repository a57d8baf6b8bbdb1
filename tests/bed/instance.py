"""Stand in for the two services that hand a role's session to the machine it runs on.

`InstanceMetadata` is as strict as EC2's with HttpTokens=required (EC2 User Guide, "Use the Instance
Metadata Service to access instance metadata"): tokens come by PUT, end, and are demanded of every
GET; a PUT with X-Forwarded-For is refused. `ContainerEndpoint` is ECS's and EKS Pod Identity's.
Both hand out what `sessions` returns, which may be real sessions of a real server.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.bed.loopback import Asked, Loopback, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed.radosgw import Keys

LIST = "/latest/meta-data/iam/security-credentials/"
TOKEN_LIFE = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"


def document(keys: Keys, expires_at: float) -> dict[str, str]:
    """Return a session as both services spell it."""
    return {
        "AccessKeyId": keys.access_key,
        "SecretAccessKey": keys.secret_key,
        "Token": keys.session_token or "",
        "Expiration": datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


class InstanceMetadata(Loopback):
    """Serve one instance's role. `is_v1` knows no tokens; `swallows_tokens` is a hop too far away."""

    def __init__(self, sessions: Callable[[], tuple[Keys, float]], *, role: str | None = "data") -> None:
        super().__init__()
        self.sessions = sessions
        self.role = role
        self.is_v1 = False
        self.swallows_tokens = False
        self.longest_token_seconds = 21600.0
        self.troubles: Iterator[Said | None] = iter(())  # what GETs are answered with instead
        self._tokens: dict[str, float] = {}

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def count(self, method: str, path: str = "") -> int:
        return sum(asked.method == method and asked.path.startswith(path) for asked in self.asked)

    def answer(self, asked: Asked) -> Said | None:
        if asked.method == "PUT":
            return self._give_token(asked)
        if not self.is_v1 and self._tokens.get(asked.headers.get(TOKEN, ""), 0.0) < self.now():
            return Said(status=401)
        for trouble in self.troubles:
            return trouble
        if self.role is None or asked.path not in (LIST, LIST + self.role):
            return Said(status=404)
        if asked.path == LIST:
            return Said(text=self.role)
        session = {"Code": "Success", "Type": "AWS-HMAC", **document(*self.sessions())}
        return Said(text=json.dumps(session, indent=2))

    def _give_token(self, asked: Asked) -> Said | None:
        if self.is_v1:
            return Said(status=404)
        if self.swallows_tokens:
            return None
        if "x-forwarded-for" in asked.headers:
            return Said(status=403)
        life = asked.headers.get(TOKEN_LIFE, "")
        if asked.path != "/latest/api/token" or not life.isdecimal() or not 1 <= int(life) <= 21600:
            return Said(status=400)
        seconds = min(float(life), self.longest_token_seconds)
        token = secrets.token_urlsafe(40)
        self._tokens[token] = self.now() + seconds
        return Said(text=token, headers={TOKEN_LIFE: f"{seconds:.0f}"})


class ContainerEndpoint(Loopback):
    """Serve one container's role at `/v2/credentials/id`, to whoever knows `token` (None: to all)."""

    path = "/v2/credentials/id"

    def __init__(self, sessions: Callable[[], tuple[Keys, float]]) -> None:
        super().__init__()
        self.sessions = sessions
        self.token: str | None = None
        self.trouble: Said | None = None

    @property
    def uri(self) -> str:
        return self.url + self.path

    def answer(self, asked: Asked) -> Said | None:
        if self.trouble is not None:
            return self.trouble
        if asked.method != "GET" or asked.path != self.path:
            return Said(status=404)
        if self.token is not None and asked.headers.get("authorization") != self.token:
            refusal = {"code": "InvalidTokenException", "message": "the token is not the pod's"}
            return Said(status=400, text=json.dumps(refusal))
        session = {"RoleArn": "arn:aws:iam::111122223333:role/task", **document(*self.sessions())}
        return Said(text=json.dumps(session))
