"""Decide which variables the serving process sees: never one that carries a secret.

The environment of a process can be read in /proc as long as it lives, so credentials that came
in variables are handed over on a descriptor instead and live in memory only.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping

from s3rolefs.errors import UserError

SECRET_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    }
)
"""What is handed over on the descriptor (the expiry goes with the triple it belongs to)."""

_KEPT = frozenset(
    "PATH HOME USER LOGNAME LANG LANGUAGE TZ TMPDIR NOTIFY_SOCKET DBUS_SESSION_BUS_ADDRESS "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE "
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy".split()
)
_KEPT_PREFIXES = ("LC_", "XDG_", "AWS_")
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
        if name not in SECRET_VARIABLES
        and not _looks_secret(name)
        and (name in _KEPT or name.startswith(_KEPT_PREFIXES))
        or name in named
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
    return {name: environ[name] for name in SECRET_VARIABLES if name in environ}


def _looks_secret(name: str) -> bool:
    words = name.upper()
    return any(word in words for word in ("SECRET", "PASSWORD", "BEARER")) or words.endswith("_TOKEN")
