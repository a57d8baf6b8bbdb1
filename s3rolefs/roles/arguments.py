"""Check what a person wrote about a role: one clear sentence for each mistake.

Limits: IAM and STS API references (AssumeRole). Other services allow more (shorter sessions, role
ARNs without an account), so what only AWS demands is asked for its own endpoints only.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, UserError
from s3rolefs.roles.reading import read_private_text, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROLE_ARN = re.compile(r"arn:[\w-]+:iam::[^:\s]*:role/[\x21-\x7e]+")
_AWS_ROLE_ARN = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/([\x21-\x7e]+/)?[\w+=,.@-]{1,64}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_POLICY_ARN = re.compile(r"arn:[\w-]+:iam::[\w-]*:policy/[\x21-\x7e]+", re.ASCII)
_PROVIDER_ARN = re.compile(r"arn:[\w-]+:iam::[\w-]*:saml-provider/[\w._-]{1,128}", re.ASCII)
_TAG_TEXT = re.compile(r"[\w .:/=+@-]*")
_SERIAL = re.compile(r"[\w+=/:,.@-]{9,256}", re.ASCII)
_LONGEST_POLICY = 2048
_MOST_POLICIES = 10
_MOST_TAGS = 50
_SHORTEST_SECONDS = 900
_LONGEST_SECONDS = 43200


def check_role_arn(value: str, *, is_aws: bool) -> None:
    """Refuse what is not the ARN of a role."""
    if not (_AWS_ROLE_ARN if is_aws else _ROLE_ARN).fullmatch(value):
        raise UserError(
            f"role_arn={value} is not the ARN of a role; it must look like "
            "arn:aws:iam::111122223333:role/NAME."
        )


def check_session_name(value: str) -> None:
    """Refuse a session name that STS does not take."""
    if not _SESSION_NAME.fullmatch(value):
        raise UserError(
            f"role_session_name={value} must be 2 to 64 letters, digits or characters of _+=,.@-."
        )


def check_external_id(value: str, *, option: str) -> None:
    """Refuse an external id that STS does not take; the value of a file is not shown."""
    if not _EXTERNAL_ID.fullmatch(value):
        shown = f"external_id={value}" if option == "external_id" else f"The text in {option}"
        raise UserError(f"{shown} must be 2 to 1224 letters, digits or characters of _+=,.@:/-.")


def check_duration(value: int, *, is_aws: bool) -> None:
    """Refuse a session's life that STS does not give."""
    shortest = _SHORTEST_SECONDS if is_aws else 1
    if not shortest <= value <= _LONGEST_SECONDS:
        raise UserError(
            f"duration_seconds={value} must be {shortest} to {_LONGEST_SECONDS} seconds, "
            "and not longer than the role's maximum session duration."
        )


def read_external_id(path: str) -> str:
    """Return the external id in a private file, checked."""
    try:
        text = read_private_text(path, option="external_id_file")
    except CredentialsError as error:
        raise UserError(error.message) from None
    external_id = text.strip()
    check_external_id(external_id, option="external_id_file")
    return external_id


def read_policy(path: str) -> str:
    """Return the session policy in a file, without white space that JSON does not need."""
    try:
        text = read_text(path, option="policy_file")
    except CredentialsError as error:
        raise UserError(error.message) from None
    try:
        policy = json.loads(text)
    except ValueError as error:
        raise UserError(f"policy_file={path} is no JSON ({error}): correct it, or name another.") from None
    if not isinstance(policy, dict) or "Statement" not in policy:
        raise UserError(f"policy_file={path} is no policy: it must be a JSON object with a Statement.")
    compact = json.dumps(policy, separators=(",", ":"), ensure_ascii=False)
    if len(compact) > _LONGEST_POLICY:
        raise UserError(
            f"policy_file={path} has {len(compact)} characters without white space; "
            f"STS takes {_LONGEST_POLICY}: shorten it, or use policy_arns."
        )
    return compact


def check_policy_arns(arns: Sequence[str]) -> None:
    """Refuse what are not ARNs of managed policies, or too many."""
    if len(arns) > _MOST_POLICIES:
        raise UserError(
            f"policy_arns names {len(arns)} policies; STS takes {_MOST_POLICIES} at most: leave some out."
        )
    for arn in arns:
        if not _POLICY_ARN.fullmatch(arn):
            raise UserError(
                f"policy_arns={arn} is not the ARN of a policy; it must look like "
                "arn:aws:iam::111122223333:policy/NAME, several joined with +."
            )


def parse_tag(tag: str) -> tuple[str, str]:
    """Return key and value of `KEY=VALUE`."""
    key, equals, value = tag.partition("=")
    if not (
        equals and 1 <= len(key) <= 128 and len(value) <= 256 and _TAG_TEXT.fullmatch(key + value)
    ) or key.lower().startswith("aws:"):
        raise UserError(
            f"session_tags={tag} must be KEY=VALUE, several joined with +: letters, digits, spaces and "
            "_.:/=+-@, keys of up to 128 characters not beginning with aws:, values of up to 256."
        )
    return key, value


def check_tags(tags: Sequence[str], transitive: Sequence[str]) -> None:
    """Refuse session tags that STS does not take."""
    keys = [parse_tag(tag)[0] for tag in tags]
    if len(keys) > _MOST_TAGS:
        raise UserError(f"session_tags names {len(keys)} tags; STS takes {_MOST_TAGS} at most.")
    if len({key.lower() for key in keys}) < len(keys):
        raise UserError("session_tags names a key twice: leave one of them out.")
    for key in transitive:
        if key not in keys:
            raise UserError(f"transitive_tags={key} is no key of session_tags: name it there, too.")


def check_source_identity(value: str) -> None:
    """Refuse a source identity that STS does not take."""
    if not _SESSION_NAME.fullmatch(value) or value.lower().startswith("aws:"):
        raise UserError(f"source_identity={value} must be 2 to 64 letters, digits or characters of _+=,.@-.")


def check_mfa_serial(value: str) -> None:
    """Refuse what is no serial number or ARN of a multi-factor device."""
    if not _SERIAL.fullmatch(value):
        raise UserError(
            f"mfa_serial={value} must be the ARN of a device (arn:aws:iam::111122223333:mfa/NAME) or the "
            "serial number of one, 9 to 256 characters."
        )


def check_provider_arn(value: str) -> None:
    """Refuse what is not the ARN of a SAML provider."""
    if not _PROVIDER_ARN.fullmatch(value):
        raise UserError(
            f"saml_provider_arn={value} is not the ARN of a provider; it must look like "
            "arn:aws:iam::111122223333:saml-provider/NAME."
        )
