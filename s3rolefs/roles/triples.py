"""Read credentials in the spellings people have them in.

Three are understood: the JSON that `aws sts assume-role` prints (or only its "Credentials", or what
a `credential_process` prints), an AWS credentials file (`[default]` or its only section), and lines
like `export AWS_ACCESS_KEY_ID=…`.
"""

from __future__ import annotations

import configparser
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from s3rolefs.roles.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINE = re.compile(
    r"""^\s*(?:export\s+|set\s+(?:-\w+\s+)*|\$env:)?(AWS_\w+)\s*[=\s]\s*(["']?)(.*?)\2\s*;?\s*$""",
    re.IGNORECASE,
)
# Every spelling of each part, lower-case and without a leading "aws_".
_ACCESS_KEY_ID = ("access_key_id", "accesskeyid")
_SECRET = ("secret_access_key", "secretaccesskey", "secretkey")
_TOKEN = ("session_token", "sessiontoken", "security_token", "token")
_EXPIRATION = ("credential_expiration", "session_expiration", "expiration", "x_security_token_expires")


class UnreadableTripleError(ValueError):
    """Say what a text lacks to be credentials; the message never quotes the text."""


def parse(text: str, *, source: str) -> Snapshot:
    """Return the credentials in `text`, their expiry where it stands there too.

    Raises `UnreadableTripleError` when a part is missing: the text may be half written.
    """
    if text.lstrip().startswith("{"):
        named, arn = _from_json(text)
    else:
        named, arn = (_from_sections(text) if re.search(r"^\s*\[", text, re.M) else _from_lines(text)), None
    parts = {name.lower().removeprefix("aws_"): value for name, value in named.items()}
    access_key_id, secret, token = (_first(parts, names) for names in (_ACCESS_KEY_ID, _SECRET, _TOKEN))
    if not access_key_id or not secret:
        raise UnreadableTripleError("it holds no access key id or no secret access key")
    # Ids of temporary keys begin so at AWS: without its token such a key is of no use to anybody.
    if access_key_id.startswith("ASIA") and not token:
        raise UnreadableTripleError("it holds a temporary access key without its session token")
    return Snapshot(
        access_key_id=access_key_id,
        secret_access_key=secret,
        session_token=token or None,
        expires_at=_seconds(_first(parts, _EXPIRATION)),
        arn=arn,
        source=source,
    )


def from_environment(environment: Mapping[str, str]) -> Snapshot | None:
    """Return the credentials that the AWS_… variables hold, None without an access key id."""
    named = {name: value for name, value in environment.items() if name.startswith("AWS_")}
    if not named.get("AWS_ACCESS_KEY_ID"):
        return None
    return parse(json.dumps(named), source="the environment")


def _first(parts: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(parts[name]).strip() for name in names if parts.get(name)), "")


def _from_json(text: str) -> tuple[dict[str, Any], str | None]:
    try:
        whole = json.loads(text)
    except ValueError:
        # The decoder's own message is harmless, its exception holds the text.
        raise UnreadableTripleError("it is no complete JSON") from None
    inner = whole.get("Credentials", whole)
    if not isinstance(inner, dict):
        raise UnreadableTripleError('its "Credentials" are no JSON object')
    user = whole.get("AssumedRoleUser")
    arn = user.get("Arn") if isinstance(user, dict) else None
    return inner, arn if isinstance(arn, str) else None


def _from_sections(text: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        raise UnreadableTripleError("it is no well-formed credentials file") from None
    sections = parser.sections()
    if "default" in sections:
        return dict(parser["default"])
    if len(sections) != 1:
        raise UnreadableTripleError("it has several sections and none is named [default]")
    return dict(parser[sections[0]])


def _from_lines(text: str) -> dict[str, str]:
    matches = (_LINE.match(line) for line in text.splitlines())
    return {match[1]: match[3] for match in matches if match}


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UnreadableTripleError(f"its expiration is no date ({text[:40]!r})") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
