"""Take ARNs of IAM and STS apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ARN = re.compile(r"arn:(?P<partition>[\w-]+):(?:iam|sts)::(?P<account>[^:\s]*):(?P<resource>[^:\s]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Name who signs: `kind` is assumed-role, user, role, root or federated-user.

    `role` (without its path, which a session's ARN does not have) and `session` are set for an
    assumed role only. `account` is "" where a service other than AWS has none.
    """

    arn: str
    partition: str
    account: str
    kind: str
    name: str
    role: str | None = None
    session: str | None = None

    @property
    def lasting_arn(self) -> str:
        """Return the ARN to write into a policy: that of the role, not of one session."""
        if self.role is None:
            return self.arn
        return f"arn:{self.partition}:iam::{self.account}:role/{self.role}"


def parse_principal(arn: str) -> Principal:
    """Return the parts of an ARN like arn:aws:sts::111122223333:assumed-role/ROLE/SESSION.

    Raises `ValueError` when it is none of IAM or STS.
    """
    match = _ARN.fullmatch(arn)
    if match is None:
        raise ValueError(f"{arn!r} is not the ARN of a user, a role or a session")
    kind, _, rest = match["resource"].partition("/")
    role = session = None
    if kind == "assumed-role":
        role, _, session = rest.rpartition("/")
    return Principal(
        arn=arn,
        partition=match["partition"],
        account=match["account"],
        kind=kind,
        name=rest or kind,
        role=role,
        session=session,
    )
