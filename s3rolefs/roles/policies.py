"""Write the two policies that are missing when a role may not be assumed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from s3rolefs.roles.arns import parse_principal

if TYPE_CHECKING:
    from collections.abc import Mapping

# "User: arn:aws:iam::111122223333:user/x is not authorized to perform: sts:AssumeRole on resource: …"
_CALLER = re.compile(r"User: (arn:\S+) is not authorized")
_UNKNOWN_CALLER = "arn:aws:iam::ACCOUNT:user/NAME"


def caller_named_in(sentence: str) -> str | None:
    """Return the ARN of the caller as STS's sentence names it."""
    match = _CALLER.search(sentence)
    return match[1] if match else None


def assume_role_advice(*, role_arn: str, caller_arn: str | None, external_id: str | None) -> str:
    """Return the identity policy for the caller and the trust policy for the role, ready to paste.

    A caller that is itself a session is named by its role, so that the policies outlive it.
    """
    principal = caller_arn or _UNKNOWN_CALLER
    if caller_arn is not None:
        try:
            principal = parse_principal(caller_arn).lasting_arn
        except ValueError:
            principal = caller_arn
    trust: dict[str, object] = {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": "sts:AssumeRole",
    }
    if external_id is not None:
        trust["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    identity = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}
    who = caller_arn or "unknown (the service does not tell)"
    return (
        f"The caller is {who}.\n"
        f"The policies of {principal} have to allow it:\n{_document(identity)}\n"
        f"The trust policy of {role_arn} has to trust it:\n{_document(trust)}"
    )


def _document(statement: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)
