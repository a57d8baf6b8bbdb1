"""Decide which variables the serving process sees: never one that carries a secret.

The environment of a process can be read in /proc as long as it lives, so credentials that came
in variables are handed over on a descriptor instead and live in memory only.
"""

from __future__ import annotations

import os
import pwd
import re
from typing import TYPE_CHECKING

from s3rolefs.config import MFA_CODE, PROOF
from s3rolefs.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SECRET_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        MFA_CODE,
        PROOF,
    }
)
"""What is handed over on the descriptor (the expiry goes with the triple it belongs to)."""

_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|NOTIFY_SOCKET|XDG_\w+|DBUS_SESSION_BUS_ADDRESS"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|AWS_\w+"
    r"|(HTTP|HTTPS|ALL|NO)_PROXY|(http|https|all|no)_proxy"
)
_PROXY = re.compile(r"(http|https|all)_proxy", re.IGNORECASE)
_SECRET = re.compile(r".*(SECRET|PASSWORD|BEARER).*|.*_TOKEN")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_environment(environ: Mapping[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """Return what the serving process may see of `environ`, `keep` (pass_env) included.

    HOME and PATH are filled in where they are missing: mount(8) removes both.
    """
    named = set(keep)
    if secret := named & SECRET_VARIABLES:
        raise UserError(
            f"pass_env must not name {min(secret)}: its value would stand in /proc. "
            "Credentials from the environment are handed over by themselves."
        )
    kept = {
        name: value
        for name, value in environ.items()
        if name in named or (_is_harmless(name) and not _holds_password(name, value))
    }
    kept.setdefault("PATH", _PATH)
    if "HOME" not in kept:
        try:
            kept["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            kept["HOME"] = "/"
    return kept


def secrets_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are handed over on the descriptor."""
    return {
        name: value
        for name, value in environ.items()
        if name in SECRET_VARIABLES or _holds_password(name, value)
    }


def proxies_of(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the addresses of proxies among what was handed over: those with a password."""
    return {name: value for name, value in secrets.items() if _PROXY.fullmatch(name)}


def _is_harmless(name: str) -> bool:
    return bool(_KEPT.fullmatch(name)) and name not in SECRET_VARIABLES and not _SECRET.fullmatch(name)


def _holds_password(name: str, value: str) -> bool:
    return bool(_PROXY.fullmatch(name)) and "@" in value
