"""Make the brokers and STS services of a mount, or of a command that has no mount yet."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from s3rolefs.clock import SystemClock
from s3rolefs.errors import CredentialsError, MountFailure, UserError
from s3rolefs.roles import identity, provider
from s3rolefs.roles.place import Place
from s3rolefs.roles.record import Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence

    from s3rolefs.clock import Clock
    from s3rolefs.config import BucketConfig, RoleConfig
    from s3rolefs.roles.broker import Broker
    from s3rolefs.roles.identity import Identity
    from s3rolefs.roles.sts import TokenService

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Hold what gives and names a session; without a broker, requests are not signed.

    `directories` are those in the mount's root that it is for ("": all there is).
    """

    role: RoleConfig
    directories: tuple[str, ...]
    broker: Broker | None
    service: TokenService

    async def start(self, nursery: trio.Nursery) -> None:
        """Obtain a first session in `nursery`, and keep it alive there; `wait` waits for it."""
        if self.broker is not None:
            await nursery.start(self.broker.run)

    async def wait(self) -> None:
        """Return when there is a session. Raises `CredentialsError`."""
        if self.broker is not None:
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
        whose = {"name": self.role.name, "directories": list(self.directories)}
        if self.broker is None:
            nothing = dict.fromkeys(("arn", "needs", "obtained_at", "expires_at", "next_refresh_at"))
            whence = {"state": "unsigned", "source": identity.NOBODY.source, "generation": 0}
            return {**whose, **whence, **nothing, **asdict(Record())}
        return {**whose, **self.broker.describe()}


def build_accesses(
    buckets: Iterable[BucketConfig], environment: Mapping[str, str], clock: Clock
) -> tuple[Access, ...]:
    """Return the access to each bucket, one for all that have the same role at the same STS.

    They have to be started. Raises `UserError`.
    """
    alike: dict[Hashable, list[BucketConfig]] = {}
    for bucket in buckets:
        store = bucket.store
        key = (bucket.role, store.region, store.endpoint_url, store.ca_bundle)
        alike.setdefault(key, []).append(bucket)
    return tuple(_build(same, environment, clock) for same in alike.values())


def _build(same: Sequence[BucketConfig], environment: Mapping[str, str], clock: Clock) -> Access:
    role, store = same[0].role, same[0].store
    place = Place(
        environment=environment,
        clock=clock,
        region=store.region,
        endpoint_url=store.endpoint_url,
        ca_bundle=store.ca_bundle,
    )
    return Access(
        role=role,
        directories=tuple(bucket.directory for bucket in same),
        broker=None if role.no_sign_request else provider.build(role, place),
        service=place.token_service(role),
    )


async def _wait_for(accesses: Sequence[Access]) -> None:
    if len(accesses) == 1:
        await accesses[0].wait()
        return

    async def wait(access: Access) -> None:
        with suppress(CredentialsError):
            await access.wait()

    async with trio.open_nursery() as nursery:
        for access in accesses:
            nursery.start_soon(wait, access)


def ask_blocking(
    buckets: Iterable[BucketConfig],
    environment: Mapping[str, str],
    question: Callable[[Sequence[Access]], Awaitable[T]],
    *,
    wait: bool = True,
) -> T:
    """Obtain sessions as a mount would, and return what `question` learns from them.

    It is asked when the attempts to get one are over; not to `wait` for them is for who asks why. Of
    several that fail, `question` has to tell.

    Raises `UserError`.
    """

    async def ask() -> T | CredentialsError | UserError:
        accesses = build_accesses(buckets, environment, SystemClock())
        async with trio.open_nursery() as nursery:
            try:
                for access in accesses:
                    await access.start(nursery)
                if wait:
                    await _wait_for(accesses)
                return await question(accesses)
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
