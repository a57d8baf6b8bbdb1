"""Log a person in at IAM Identity Center (SSO), and keep the token where botocore looks for it.

Sources: IAM Identity Center OIDC API reference (RegisterClient, StartDeviceAuthorization, CreateToken);
RFC 8628, 3.5 (how to poll); botocore's `tokens.SSOTokenProvider`, which reads the tokens, and renews
those that came with a refresh token.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import JSONFileCache, SSOTokenLoader

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles.need import Kind
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from s3rolefs.roles.profiles import Profiles

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
# What AWS's own tools ask for where an sso-session names no sso_registration_scopes.
_USUAL_SCOPES = "sso:account:access"
_USUAL_INTERVAL_SECONDS = 5.0
_SLOWER_SECONDS = 5.0
_LIMIT_SECONDS = 20.0
_ANSWER_SECONDS = 10
# What botocore keeps of a token; the last four renew it, and belong to an sso-session only.
_NEEDED_PARTS = ("accessToken", "expiresAt")
_RENEWING_PARTS = ("refreshToken", "clientId", "clientSecret", "registrationExpiresAt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Tell a person where to confirm which code, and within how many seconds."""

    url: str
    url_with_code: str
    code: str
    seconds: int


class SsoToken:
    """Stand for the token of one profile (`roles.need.Need`); its text is the JSON of `authorize_blocking`.

    Methods that read the configuration do so in a thread.
    """

    kind = Kind.SSO

    def __init__(self, profiles: Profiles, name: str) -> None:
        self._profiles = profiles
        self._name = name
        self._bench = Bench()
        self.prompt = f"SSO login of the profile {name}"
        self.is_missing = False

    async def details(self) -> Mapping[str, object]:
        """Return where to log in: what `authorize_blocking` takes. Raises `UserError`."""
        return await self._bench.run(self._portal_blocking, limit_seconds=_LIMIT_SECONDS, what=self.prompt)

    async def give(self, text: str) -> None:
        """Write the token where botocore reads it in this process, for nobody else to read.

        Raises `CredentialsError` when it is none, has expired, or cannot be written.
        """
        token = _parse(text)
        await self._bench.run(
            lambda: self._save_blocking(token), limit_seconds=_LIMIT_SECONDS, what=self.prompt
        )
        self.is_missing = False

    def _portal_blocking(self) -> dict[str, object]:
        settings = self._profiles.sso_settings(self._name)
        for name in ("sso_start_url", "sso_region"):
            if not settings.get(name):
                raise UserError(f"The profile {self._name} has no {name}, which a login needs: add it.")
        region = str(settings["sso_region"])
        scopes = settings.get("sso_registration_scopes", _USUAL_SCOPES)
        try:
            client = self._profiles.session(self._name).create_client(
                "sso-oidc", region_name=region, config=Config(signature_version=UNSIGNED)
            )
        except (BotoCoreError, ValueError) as error:
            raise UserError(f"The profile {self._name} cannot be logged in: {error}") from None
        return {
            "start_url": settings["sso_start_url"],
            "region": region,
            "endpoint_url": client.meta.endpoint_url,
            "scopes": [scope.strip() for scope in scopes.split(",")] if "sso_session" in settings else None,
        }

    def _save_blocking(self, token: Mapping[str, str]) -> None:
        settings = self._profiles.sso_settings(self._name)
        # botocore renews what belongs to an sso-session, and only that.
        kept = (*_NEEDED_PARTS, *(_RENEWING_PARTS if "sso_session" in settings else ()))
        start_url = settings.get("sso_start_url", "")
        record: Any = {"startUrl": start_url, "region": settings.get("sso_region", "")}
        record |= {part: token[part] for part in kept if part in token}
        directory = Path("~/.aws/sso/cache").expanduser()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It replaces the file as a whole, with mode 0600.
            loader = SSOTokenLoader(cache=JSONFileCache(str(directory)))
            loader.save_token(start_url, record, session_name=settings.get("sso_session"))
        except OSError as error:
            raise CredentialsError(
                Reason.SESSION_MISSING, f"The token cannot be kept in {directory} ({error.strerror})."
            ) from None


def authorize_blocking(
    portal: Mapping[str, Any],
    show: Callable[[Invitation], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Ask for a token, `show` the person where to confirm it, wait, and return it as JSON.

    `portal` is what `SsoToken.details` returned. Raises `UserError`.
    """
    try:
        return _authorize(portal, show, sleep)
    except ClientError as error:
        said = error.response.get("error_description") or error.response.get("Error", {}).get("Message")
        code = error.response.get("Error", {}).get("Code", "no code")
        raise UserError(
            f"{portal['start_url']} refuses the login: {said or 'no reason given'} ({code})"
        ) from None
    except BotoCoreError as error:
        raise UserError(f"The login at {portal['endpoint_url']} failed: {error}") from None


def _authorize(
    portal: Mapping[str, Any], show: Callable[[Invitation], None], sleep: Callable[[float], None]
) -> str:
    client: Any = botocore.session.Session().create_client(
        "sso-oidc",
        region_name=portal["region"],
        endpoint_url=portal["endpoint_url"],
        config=Config(
            signature_version=UNSIGNED, connect_timeout=_ANSWER_SECONDS, read_timeout=_ANSWER_SECONDS
        ),
    )
    scopes = {"scopes": portal["scopes"]} if portal["scopes"] else {}
    us = client.register_client(clientName="s3rolefs", clientType="public", **scopes)
    ours = {"clientId": us["clientId"], "clientSecret": us["clientSecret"]}
    asked = client.start_device_authorization(**ours, startUrl=portal["start_url"])
    show(
        Invitation(
            url=asked["verificationUri"],
            url_with_code=asked.get("verificationUriComplete") or asked["verificationUri"],
            code=asked["userCode"],
            seconds=asked["expiresIn"],
        )
    )
    interval, left = float(asked.get("interval") or _USUAL_INTERVAL_SECONDS), float(asked["expiresIn"])
    while left > 0:
        sleep(interval)
        left -= interval
        try:
            token = client.create_token(**ours, grantType=_DEVICE_GRANT, deviceCode=asked["deviceCode"])
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code == "ExpiredTokenException":
                break
            if code == "SlowDownException":
                interval += _SLOWER_SECONDS
            elif code != "AuthorizationPendingException":
                raise
            continue
        text = {
            "accessToken": token["accessToken"],
            "expiresAt": _moment(time.time() + token["expiresIn"]),
            **ours,
            "registrationExpiresAt": _moment(us["clientSecretExpiresAt"]),
        }
        if token.get("refreshToken"):
            text["refreshToken"] = token["refreshToken"]
        return json.dumps(text)
    raise UserError(f"Nobody confirmed the code {asked['userCode']} in time: run the login again.")


def _parse(text: str) -> dict[str, str]:
    """Return the parts of a token, as AWS's tools keep it in ~/.aws/sso/cache."""
    try:
        token = json.loads(text)
    except ValueError:
        token = None
    if not isinstance(token, dict) or not all(isinstance(token.get(part), str) for part in _NEEDED_PARTS):
        raise _unusable("is no SSO token: the JSON of a file in ~/.aws/sso/cache is expected")
    try:
        expires_at = datetime.fromisoformat(token["expiresAt"].replace("UTC", "Z"))
    except ValueError:
        raise _unusable("is no SSO token: its expiresAt is no date") from None
    if expires_at.replace(tzinfo=expires_at.tzinfo or UTC).timestamp() <= time.time():
        raise _unusable(f"has expired at {token['expiresAt']}: log in once more")
    return token


def _unusable(why: str) -> CredentialsError:
    return CredentialsError(Reason.SESSION_MISSING, f"What was given {why}.")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
