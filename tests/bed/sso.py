"""Stand in for IAM Identity Center: the device authorization of its OIDC service, and its portal.

Sources: IAM Identity Center OIDC API reference and Portal API reference; RFC 8628 for what the server
demands of a device. Tokens live for `token_seconds`; what the portal hands out, `sessions` returns.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.bed.loopback import Asked, Loopback, Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bed.radosgw import Keys

START_URL = "https://corp.awsapps.com/start"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
ACCOUNT = "111122223333"
ROLE_NAME = "dev"


class SsoPortal(Loopback):
    """Answer logins and, for a valid token, sessions. `confirm` is what the person does in a browser."""

    def __init__(self, sessions: Callable[[], tuple[Keys, float]], *, token_seconds: float = 3600.0) -> None:
        super().__init__()
        self.sessions = sessions
        self.token_seconds = token_seconds
        self.code_seconds = 600
        self.slow_downs = 0  # as many polls are told to come more slowly
        self.denies = False
        self.confirmed = False
        self.polls = 0
        self.refreshes = 0
        self._clients: dict[str, str] = {}
        self._device_codes: set[str] = set()
        self._refresh_tokens: set[str] = set()
        self.tokens: dict[str, float] = {}  # access token: its end

    def confirm(self) -> None:
        self.confirmed = True

    def profile(self, *, name: str = "work", session: str | None = "corp") -> str:
        """Return the text of ~/.aws/config that reaches this server; without a session, the old form."""
        where = f"sso_start_url = {START_URL}\nsso_region = us-east-1\n"
        role = f"sso_account_id = {ACCOUNT}\nsso_role_name = {ROLE_NAME}\nservices = here\n"
        here = (
            f"[services here]\nsso =\n  endpoint_url = {self.url}\nsso_oidc =\n  endpoint_url = {self.url}\n"
        )
        if session is None:
            return f"[profile {name}]\n{where}{role}{here}"
        return f"[profile {name}]\nsso_session = {session}\n{role}[sso-session {session}]\n{where}{here}"

    def token(self, *, seconds: float) -> dict[str, Any]:
        """Return a new access token as CreateToken does."""
        access, refresh = secrets.token_urlsafe(), secrets.token_urlsafe()
        self.tokens[access] = self.now() + seconds
        self._refresh_tokens.add(refresh)
        return {
            "accessToken": access,
            "expiresIn": int(seconds),
            "refreshToken": refresh,
            "tokenType": "Bearer",
        }

    def register(self) -> dict[str, Any]:
        """Return a new client as RegisterClient does."""
        client, secret = secrets.token_urlsafe(), secrets.token_urlsafe()
        self._clients[client] = secret
        return {
            "clientId": client,
            "clientSecret": secret,
            "clientSecretExpiresAt": int(self.now()) + 90 * 86400,
        }

    def answer(self, asked: Asked) -> Said:
        assert "authorization" not in asked.headers
        path = urlsplit(asked.path).path
        if path == "/federation/credentials":
            return self._credentials(asked)
        body = json.loads(asked.text)
        if path == "/client/register":
            assert body["clientType"] == "public"
            return _said(self.register())
        if self._clients.get(body["clientId"]) != body["clientSecret"]:
            return _refused("InvalidClientException", "invalid_client", status=401)
        if path == "/device_authorization":
            return self._authorization(body)
        return self._create_token(body)

    def _authorization(self, body: dict[str, Any]) -> Said:
        if body["startUrl"] != START_URL:
            return _refused("InvalidRequestException", "no such start URL")
        device = secrets.token_urlsafe()
        self._device_codes.add(device)
        return _said(
            {
                "deviceCode": device,
                "userCode": "ABCD-EFGH",
                "verificationUri": f"{self.url}/device",
                "verificationUriComplete": f"{self.url}/device?user_code=ABCD-EFGH",
                "expiresIn": self.code_seconds,
                "interval": 1,
            }
        )

    def _create_token(self, body: dict[str, Any]) -> Said:
        if body["grantType"] == "refresh_token":
            if body["refreshToken"] not in self._refresh_tokens:
                return _refused("InvalidGrantException", "invalid_grant")
            self._refresh_tokens.remove(body["refreshToken"])
            self.refreshes += 1
            return _said(self.token(seconds=self.token_seconds))
        assert body["grantType"] == DEVICE_GRANT
        self.polls += 1
        if body["deviceCode"] not in self._device_codes:
            return _refused("InvalidGrantException", "invalid_grant")
        if self.denies:
            return _refused("AccessDeniedException", "the person said no")
        if self.slow_downs:
            self.slow_downs -= 1
            return _refused("SlowDownException", "slow_down")
        if not self.confirmed:
            return _refused("AuthorizationPendingException", "authorization_pending")
        self._device_codes.remove(body["deviceCode"])
        return _said(self.token(seconds=self.token_seconds))

    def _credentials(self, asked: Asked) -> Said:
        query = parse_qs(urlsplit(asked.path).query)
        if (query["account_id"], query["role_name"]) != ([ACCOUNT], [ROLE_NAME]):
            return _refused("ForbiddenException", "No access", status=403)
        if self.tokens.get(asked.headers["x-amz-sso_bearer_token"], 0.0) <= self.now():
            return _refused("UnauthorizedException", "Session token not found or invalid", status=401)
        keys, expires_at = self.sessions()
        session = {
            "accessKeyId": keys.access_key,
            "secretAccessKey": keys.secret_key,
            "sessionToken": keys.session_token,
            "expiration": int(expires_at * 1000),
        }
        return _said({"roleCredentials": session})

    def cached(self, token: dict[str, Any], client: dict[str, Any] | None = None) -> str:
        """Return a token as AWS's tools keep it; with the client's registration it can be renewed."""
        record = {
            "startUrl": START_URL,
            "region": "us-east-1",
            "accessToken": token["accessToken"],
            "expiresAt": _moment(self.tokens[token["accessToken"]]),
        }
        if client is not None:
            record |= {
                "clientId": client["clientId"],
                "clientSecret": client["clientSecret"],
                "registrationExpiresAt": _moment(client["clientSecretExpiresAt"]),
                "refreshToken": token["refreshToken"],
            }
        return json.dumps(record)


def _said(record: dict[str, Any]) -> Said:
    return Said(text=json.dumps(record), headers={"Content-Type": "application/json"})


def _refused(code: str, description: str, *, status: int = 400) -> Said:
    text = json.dumps({"error": description, "error_description": description, "message": description})
    return Said(status=status, text=text, headers={"x-amzn-ErrorType": code})


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
