"""Turn what a person configured into a broker: which source, which role on top of it.

Sources, most explicit first: `credentials_file`, `profile` or `source_profile`,
`credential_source=Environment`; with none of them named the environment's triple, then the default
profile (AWS_PROFILE, else "default"). Two sources are an error: never a silent fall-through to
another identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.clock import Clock
    from s3rolefs.config import RoleConfig
    from s3rolefs.roles.broker import Broker


def validate(role: RoleConfig, *, endpoint_url: str | None = None) -> None:
    """Refuse with a `UserError` what cannot be right, without touching anything outside.

    `endpoint_url` is the S3 service's (a role there may have ARNs that AWS does not know).
    """
    raise NotImplementedError


def build(
    role: RoleConfig,
    *,
    environment: Mapping[str, str],
    clock: Clock,
    region: str | None = None,
    endpoint_url: str | None = None,
    ca_bundle: str | None = None,
) -> Broker:
    """Return the broker for `role`; its `run()` has to be started.

    `environment` is the launcher's environment as handed over; the process's own is not read.
    `region`, `endpoint_url` and `ca_bundle` are those of the mount.
    """
    raise NotImplementedError
