"""Hand a running mount what only a person can give: a code, an assertion, a token, an SSO login."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from s3rolefs.errors import CredentialsError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from s3rolefs.mounting.access import Access
    from s3rolefs.mounting.control import Answer
    from s3rolefs.roles.broker import Broker
    from s3rolefs.roles.need import Need


async def login(accesses: Sequence[Access], request: Mapping[str, Any]) -> Answer:
    """Tell what is needed, or take what is given, and return how each role stands then.

    `request` has "force" to be told what could be given although nothing is needed; to give, it has
    "role" (the place in the answer's "roles"), the need's "kind" and "prompt", and the text as
    "given". Each of "roles" has "role" (as `status` tells it) and "need": kind, prompt and details, or
    None. Raises `CredentialsError` and `UserError`; the session that runs stays in use then.
    """
    force = bool(request.get("force"))
    if "given" not in request:
        return {"roles": [await _standing(access, force=force) for access in accesses]}
    access = accesses[int(request["role"])]
    broker = access.broker
    await _first_attempt(broker)
    need = _needed(broker, force=True, named=(request["kind"], request["prompt"])) if broker else None
    if broker is None or need is None:
        raise UserError(f"{request['prompt']} is not needed any more.")
    try:
        await broker.give(need, str(request["given"]))
    except CredentialsError:
        # A role above the one that was helped may need something of its own.
        if broker.need in (None, need):
            raise
    return {"roles": [await _standing(access, force=False)]}


async def _standing(access: Access, *, force: bool) -> Answer:
    broker = access.broker
    await _first_attempt(broker)
    need = _needed(broker, force=force) if broker else None
    told = None
    if need is not None:
        told = {"kind": need.kind.value, "prompt": need.prompt, "details": dict(await need.details())}
    return {"role": access.describe(), "need": told}


async def _first_attempt(broker: Broker | None) -> None:
    """Let a broker that has just begun find out what it lacks."""
    if broker is not None and not broker.generation:
        with suppress(CredentialsError):
            await broker.get()


def _needed(broker: Broker, *, force: bool, named: tuple[str, str] | None = None) -> Need | None:
    """Return what is needed, `force`: else what the next session takes, else what could be given."""
    if not force:
        return broker.need
    needs = [need for need in broker.source.needs() if named in (None, (need.kind.value, need.prompt))]
    return next((need for need in needs if need.is_missing), needs[0] if needs else None)
