"""Make the broker and the STS service of a mount, or of a command that has no mount yet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from s3rolefs.clock import SystemClock
from s3rolefs.errors import CredentialsError, MountFailure, UserError
from s3rolefs.roles import identity, provider
from s3rolefs.roles.record import Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from s3rolefs.clock import Clock
    from s3rolefs.config import RoleConfig, StoreConfig
    from s3rolefs.roles.broker import Broker
    from s3rolefs.roles.identity import Identity
    from s3rolefs.roles.sts import TokenService

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Hold what gives and names a session; without a broker, requests are not signed."""

    broker: Broker | None
    service: TokenService

    async def start(self, nursery: trio.Nursery) -> None:
        """Obtain a first session and keep it alive in `nursery`. Raises `CredentialsError`."""
        if self.broker is not None:
            await nursery.start(self.broker.run)
            await self.broker.get()

    async def whoami(self) -> Identity:
        """Return who the session is. Raises `CredentialsError`."""
        if self.broker is None:
            return identity.NOBODY
        return await identity.whoami(self.broker, self.service)

    async def refresh(self) -> None:
        """Renew the session now. Raises `CredentialsError` and `UserError`."""
        if self.broker is None:
            raise UserError("Nothing is to be renewed: requests are not signed (no_sign_request).")
        await self.broker.refresh()

    def describe(self) -> dict[str, Any]:
        """Return how the session stands, for `status`; `state` is "unsigned" where there is none."""
        if self.broker is None:
            nothing = dict.fromkeys(("arn", "obtained_at", "expires_at", "next_refresh_at"))
            whence = {"state": "unsigned", "source": identity.NOBODY.source, "generation": 0}
            return {**whence, **nothing, **asdict(Record())}
        return self.broker.describe()


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

    broker = None if role.no_sign_request else made(provider.build)
    return Access(broker=broker, service=made(provider.token_service))


def ask_blocking(
    role: RoleConfig,
    store: StoreConfig,
    environment: Mapping[str, str],
    question: Callable[[Access], Awaitable[T]],
) -> T:
    """Obtain a session as a mount would, and return what `question` learns from it.

    Raises `UserError`.
    """

    async def ask() -> T | CredentialsError | UserError:
        access = build_access(role, store, environment, SystemClock())
        async with trio.open_nursery() as nursery:
            try:
                await access.start(nursery)
                return await question(access)
            except (CredentialsError, UserError) as error:
                # Out of the nursery it would come in an ExceptionGroup.
                return error
            finally:
                nursery.cancel_scope.cancel()

    answer = trio.run(ask)
    if isinstance(answer, CredentialsError):
        raise MountFailure(answer.text)
    if isinstance(answer, UserError):
        raise answer
    return answer
