"""Say which role is asked for, and how: the parameters that STS's AssumeRole calls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRequest:
    """Name the role to assume and how; `duration_seconds` None leaves the life to STS.

    `name` is what the configuration calls the role, `policy` the text of a session policy, `tags` are
    pairs of key and value; external id, tags, source identity and MFA are AssumeRole's only.
    """

    role_arn: str
    session_name: str
    external_id: str | None = None
    duration_seconds: int | None = None
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    transitive_tags: tuple[str, ...] = ()
    source_identity: str | None = None
    mfa_serial: str | None = None
    name: str | None = None

    @property
    def title(self) -> str:
        """Return how to call the role where a person reads it."""
        return self.role_arn if self.name is None else f"{self.name} ({self.role_arn})"

    def common_parameters(self) -> dict[str, Any]:
        """Return what every way of assuming a role takes, as botocore spells it."""
        parameters: dict[str, Any] = {"RoleArn": self.role_arn}
        if self.duration_seconds is not None:
            parameters["DurationSeconds"] = self.duration_seconds
        if self.policy is not None:
            parameters["Policy"] = self.policy
        if self.policy_arns:
            parameters["PolicyArns"] = [{"arn": arn} for arn in self.policy_arns]
        return parameters

    def parameters(self, mfa_code: str | None) -> dict[str, Any]:
        """Return what AssumeRole takes."""
        parameters = {**self.common_parameters(), "RoleSessionName": self.session_name}
        if self.external_id is not None:
            parameters["ExternalId"] = self.external_id
        if self.tags:
            parameters["Tags"] = [{"Key": key, "Value": value} for key, value in self.tags]
        if self.transitive_tags:
            parameters["TransitiveTagKeys"] = list(self.transitive_tags)
        if self.source_identity is not None:
            parameters["SourceIdentity"] = self.source_identity
        if self.mfa_serial is not None:
            parameters |= {"SerialNumber": self.mfa_serial, "TokenCode": mfa_code}
        return parameters
