"""Write the policy that would allow what S3 denied, and no more than that."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from s3rolefs.roles.arns import parse_principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from s3rolefs.config import RoleConfig, StoreConfig

ACTIONS = {
    "list": ("s3:ListBucket",),
    "get": ("s3:GetObject",),
    "put": ("s3:PutObject", "s3:AbortMultipartUpload"),
    "delete": ("s3:DeleteObject",),
}
"""What each step of a check, hence a mount, needs (S3 User Guide, "Required permissions")."""

# In policies these stand for others; written as ${*} they stand for themselves (IAM User Guide).
_SPECIAL = re.compile(r"[*?$]")


def lasting_principal(role: RoleConfig, arn: str | None) -> str | None:
    """Return the ARN that policies know the principal of a session by; None where it is unknown.

    A session's ARN lacks the role's path; the ARN in the options has it.
    """
    try:
        principal = parse_principal(arn or "")
    except ValueError:
        return arn
    if role.role_arn and principal.role == role.role_arn.rpartition("/")[2]:
        return role.role_arn
    return principal.lasting_arn


def policy_for(steps: Iterable[str], store: StoreConfig, principal: str | None) -> dict[str, Any]:
    """Return the identity policy that allows `steps` below the prefix of `store`."""
    partition = principal.split(":")[1] if principal else "aws"
    bucket = f"arn:{partition}:s3:::{store.bucket}"
    below = _SPECIAL.sub(lambda special: f"${{{special[0]}}}", store.prefix) + "*"
    wanted = set(steps)
    actions = [action for step in ACTIONS if step in wanted for action in ACTIONS[step]]
    statements: list[dict[str, Any]] = []
    if "s3:ListBucket" in actions:
        statement: dict[str, Any] = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket}
        if store.prefix:
            statement["Condition"] = {"StringLike": {"s3:prefix": below}}
        statements.append(statement)
        actions.remove("s3:ListBucket")
    if actions:
        statements.append({"Effect": "Allow", "Action": actions, "Resource": f"{bucket}/{below}"})
    return {"Version": "2012-10-17", "Statement": statements}


def advice_for(steps: Iterable[str], store: StoreConfig, principal: str | None) -> str:
    """Return the policy with the words that say where it belongs."""
    policy = json.dumps(policy_for(steps, store, principal), indent=2)
    whose = principal or "the user or role that these credentials belong to"
    named = f'"Principal": {{"AWS": "{principal}"}}' if principal else "that principal"
    return (
        f"What is denied or could not be tried, this policy of {whose} would allow:\n{policy}\n"
        f"A bucket of another account has to allow the same in its own policy, with {named}."
    )
