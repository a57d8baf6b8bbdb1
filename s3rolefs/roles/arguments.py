"""Check what a person wrote about a role: one clear sentence for each mistake.

Limits: IAM and STS API references (AssumeRole). Other services allow more (shorter sessions, role
ARNs without an account), so what only AWS demands is asked for its own endpoints only.
"""

from __future__ import annotations

import re

from s3rolefs.errors import UserError

_ROLE_ARN = re.compile(r"arn:[\w-]+:iam::[^:\s]*:role/[\x21-\x7e]+")
_AWS_ROLE_ARN = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/([\x21-\x7e]+/)?[\w+=,.@-]{1,64}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
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
