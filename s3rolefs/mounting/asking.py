"""Take what only the one who mounts has: a code they know, a descriptor they opened."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.config import MFA_CODE, PROOF
from s3rolefs.errors import UserError
from s3rolefs.roles.reading import is_descriptor
from s3rolefs.roles.validation import has_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from s3rolefs.config import BucketConfig, RoleConfig

_LARGEST_CHARACTERS = 256 * 1024


def with_given(buckets: Iterable[BucketConfig], environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return `environ` with what the serving process could not get by itself.

    Raises `UserError`.
    """
    codes: dict[str, str] = {}
    for role in dict.fromkeys(hop for bucket in buckets for hop in bucket.role.hops):
        environ = _with_proof(role, environ)
        _ask_for_code(role, environ, codes)
    return {**environ, MFA_CODE: json.dumps(codes)}


def _with_proof(role: RoleConfig, environ: Mapping[str, str]) -> Mapping[str, str]:
    for option in ("web_identity_token_file", "saml_assertion_file"):
        path: str | None = getattr(role, option)
        if path is not None and is_descriptor(path):
            try:
                with Path(path).open(errors="replace") as file:
                    return {**environ, PROOF: file.read(_LARGEST_CHARACTERS)}
            except OSError as error:
                raise UserError(f"{option}={path} cannot be read ({error.strerror}).") from None
    return environ


def _ask_for_code(role: RoleConfig, environ: Mapping[str, str], codes: dict[str, str]) -> None:
    """Add the code of the multi-factor device that the role needs, if it needs one.

    Nobody is asked where a command gives the codes, or where there is no terminal (mount(8) at
    boot): there the source says what it lacks. Raises `UserError` when the person gives none.
    """
    if role.mfa_process is not None or not sys.stdin.isatty():
        return
    serial = role.mfa_serial or _serial_in_profiles(role, environ)
    if serial is None or serial in codes:
        return
    try:
        codes[serial] = getpass.getpass(f"Code of {serial}: ")
    except EOFError:
        raise UserError(f"Without a code of {serial} the role cannot be assumed.") from None


def _serial_in_profiles(role: RoleConfig, environ: Mapping[str, str]) -> str | None:
    named = role.profile or role.source_profile
    if named is None and (has_source(role) or environ.get("AWS_ACCESS_KEY_ID")):
        return None
    # Late: loading botocore takes a while.
    from s3rolefs.roles.profiles import Profiles

    profiles = Profiles(environ)
    return profiles.mfa_serial(named or profiles.default_name)
