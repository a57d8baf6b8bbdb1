"""Make the broker and the STS service of a mount, or of a command that has no mount yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from s3rolefs.clock import SystemClock
from s3rolefs.errors import CredentialsError, MountFailure
from s3rolefs.roles import identity, provider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from s3rolefs.clock import Clock
    from s3rolefs.config import RoleConfig, StoreConfig
    from s3rolefs.roles.broker import Broker
    from s3rolefs.roles.identity import Identity
    from s3rolefs.roles.sts import TokenService

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Hold what gives and names a session."""

    broker: Broker
    service: TokenService

    async def whoami(self) -> Identity:
        """Return who the session is. Raises `CredentialsError`."""
        return await identity.whoami(self.broker, self.service)


def build_access(
    role: RoleConfig, store: StoreConfig, environment: Mapping[str, str], clock: Clock
) -> Access:
    """Return the access that options say; the broker's `run` has to be started.

    Raises `UserError`.
    """

    def made(make: Callable[..., T]) -> T:
        return make(
            role,
            environment=environment,
            clock=clock,
            region=store.region,
            endpoint_url=store.endpoint_url,
            ca_bundle=store.ca_bundle,
        )

    return Access(broker=made(provider.build), service=made(provider.token_service))


def whoami_blocking(role: RoleConfig, store: StoreConfig, environment: Mapping[str, str]) -> Identity:
    """Obtain a session as a mount would, and return who it is.

    Raises `UserError`.
    """

    async def ask() -> Identity | CredentialsError:
        access = build_access(role, store, environment, SystemClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(access.broker.run)
            try:
                return await access.whoami()
            except CredentialsError as error:
                return error
            finally:
                nursery.cancel_scope.cancel()

    answer = trio.run(ask)
    if isinstance(answer, CredentialsError):
        raise MountFailure(answer.message)
    return answer
