"""Turn what a person configured into a broker: which source, which role on top of it.

Sources: `credentials_file`, `profile`, `source_profile`, `credential_source`; with none of them named
what is found, in the order of the AWS SDKs: the environment's keys, the default profile (AWS_PROFILE,
else "default" if it holds a source), the container's role, the instance's. Two sources are an
error: never a silent fall-through to another identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.roles.broker import Broker
from s3rolefs.roles.place import Place
from s3rolefs.roles.validation import validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.clock import Clock
    from s3rolefs.config import RoleConfig
    from s3rolefs.roles.sts import TokenService


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

    `environment` is the launcher's as handed over; the keys in the process's own are not read.
    `region`, `endpoint_url` and `ca_bundle` are those of the mount. Raises `UserError` for what
    is configured wrongly; credentials that are missing show when the broker fetches.
    """
    validate(role)
    place = Place(
        environment=environment, clock=clock, region=region, endpoint_url=endpoint_url, ca_bundle=ca_bundle
    )
    return Broker(place.source(role), clock=clock, cred_wait_seconds=role.cred_wait_seconds, renew=role.renew)


def token_service(
    role: RoleConfig,
    *,
    environment: Mapping[str, str],
    clock: Clock,
    region: str | None = None,
    endpoint_url: str | None = None,
    ca_bundle: str | None = None,
) -> TokenService:
    """Return the STS that belongs to `role`, for `identity.whoami`; arguments as for `build`."""
    place = Place(
        environment=environment, clock=clock, region=region, endpoint_url=endpoint_url, ca_bundle=ca_bundle
    )
    return place.token_service(role, role.role_arn or "")
