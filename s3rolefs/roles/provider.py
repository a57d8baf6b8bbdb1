"""Turn what a person configured into a broker: which source, which role on top of it.

Sources: `credentials_file`, `profile`, `source_profile`, `credential_source`; with none of them named
what is found, in the order of the AWS SDKs: the environment's keys, the default profile (AWS_PROFILE,
else "default" if it holds a source), the container's role, the instance's. Two sources are an
error: never a silent fall-through to another identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.roles.broker import Broker
from s3rolefs.roles.validation import validate

if TYPE_CHECKING:
    from s3rolefs.config import RoleConfig
    from s3rolefs.roles.place import Place


def build(role: RoleConfig, place: Place) -> Broker:
    """Return the broker for `role` in its place; its `run()` has to be started.

    Raises `UserError` for what is configured wrongly; credentials that are missing show when the broker
    fetches.
    """
    validate(role)
    source = place.source(role)
    return Broker(source, clock=place.clock, cred_wait_seconds=role.cred_wait_seconds, renew=role.renew)
