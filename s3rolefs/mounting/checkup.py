"""Walk the way from credentials to the bucket and say of each step whether a mount could take it.

Nothing outside the prefix is asked. What is tried leaves nothing behind: deleting is tried first, on
a key that is not there, and an object is put only where it may be deleted again.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.clock import SystemClock
from s3rolefs.errors import CredentialsError, FileSystemError, Reason, StoreError, UserError
from s3rolefs.model import Key
from s3rolefs.mounting.access import build_accesses
from s3rolefs.mounting.buckets import open_buckets
from s3rolefs.mounting.findings import STEPS, Finding, Outcome, Report
from s3rolefs.mounting.grants import ACTIONS, advice_for, lasting_principal
from s3rolefs.mounting.promises import weaker_promise
from s3rolefs.mounting.refusals import refusal_of
from s3rolefs.s3.store import ObjectAttributes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from s3rolefs.config import MountConfig
    from s3rolefs.model import ObjectInfo
    from s3rolefs.mounting.buckets import Bucket

# Below what a command waits for the answer of a running mount, whose requests have its io_timeout.
_LIMIT_SECONDS = 30.0
# One request of a check that stands alone.
_REQUEST_SECONDS = 10.0
_CANDIDATES = 20
_PROBE = b"A check of s3rolefs; it may be deleted.\n"

_DENIALS = frozenset({"AccessDenied", "Forbidden", ""})
_KEY_CODES = frozenset(
    {"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"}
    | {"SignatureDoesNotMatch", "InvalidToken", "InvalidTokenId", "ExpiredToken", "ExpiredTokenException"}
)
_CLOCK_CODES = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
# A Date tells whole seconds, and comes late.
_RIGHT_CLOCK_SECONDS = 5.0


def check_blocking(config: MountConfig, environ: Mapping[str, str]) -> Sequence[Report]:
    """Check what a mount with this configuration would need. Raises `UserError`."""

    async def check() -> Sequence[Report]:
        clock = SystemClock()
        configs = [
            replace(config, store=replace(config.store, io_timeout_seconds=_REQUEST_SECONDS))
            for config in config.buckets
        ]
        accesses = build_accesses(configs, environ, clock)
        buckets = open_buckets(configs, accesses, environ, clock)
        async with trio.open_nursery() as nursery:
            try:
                for access in accesses:
                    await access.start(nursery)
                return await check_each(buckets, read_only=config.files.read_only)
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    for bucket in buckets:
                        await bucket.client.aclose()

    return trio.run(check)


async def check_each(buckets: Sequence[Bucket], *, read_only: bool) -> Sequence[Report]:
    """Check several buckets at once and return what was found, in their order."""
    reports: dict[int, Report] = {}

    async def check(number: int, bucket: Bucket) -> None:
        reports[number] = await Checkup(bucket, read_only=read_only).run()

    async with trio.open_nursery() as nursery:
        for number, bucket in enumerate(buckets):
            nursery.start_soon(check, number, bucket)
    return [reports[number] for number in sorted(reports)]


class Checkup:
    """Check one bucket once, with the access and the client of a mount or of their own."""

    def __init__(self, bucket: Bucket, *, read_only: bool) -> None:
        self._config = bucket.config
        self._access = bucket.access
        self._client = bucket.client
        self._read_only = read_only
        self._found: dict[str, Finding] = {}
        self._advice: list[str] = []
        self._arn: str | None = None
        self._is_versioned = False
        self._key = Key(f"{bucket.config.store.prefix}.s3rolefs-check-{uuid.uuid4().hex}")

    async def run(self) -> Report:
        """Return what was found, within a minute; never raises for what the services say."""
        with trio.move_on_after(_LIMIT_SECONDS):
            if await self._ask_for_session():
                await self._ask_bucket()
        self._look_at_clock()
        for step in STEPS:
            if step not in self._found:
                self._note(step, Outcome.UNTRIED, "not tried, because of what is said above.")
        return Report(
            directory=self._config.directory,
            source=self._config.store.url,
            principal=self._arn,
            usable=self._is_usable(),
            findings=tuple(self._found[step] for step in STEPS),
            advice=(*self._advice, *self._policies()),
        )

    # The session --------------------------------------------------------------------------------

    async def _ask_for_session(self) -> bool:
        """Renew the session, as every next renewal will; return whether there is one."""
        access = self._access
        if access.broker is None:
            self._note("source", Outcome.WORKS, "requests are not signed (no_sign_request).")
            for step in ("sts", "trust"):
                self._note(step, Outcome.UNTRIED, "nothing to ask without credentials.")
            return True
        try:
            await access.refresh()
        except CredentialsError as error:
            self._blame(error)
            session = access.broker.peek()
            self._arn = session.arn if session else None
            return session is not None
        except trio.Cancelled:
            self._note("source", Outcome.FAILS, "no answer came in time.")
            raise
        except UserError as error:
            self._note("sts", Outcome.UNTRIED, error.sentence)
        self._note("source", Outcome.WORKS, f"{access.broker.source.describe()}.")
        await self._ask_who()
        return True

    async def _ask_who(self) -> None:
        access, service = self._access, self._access.service
        assert access.broker is not None
        session = access.broker.peek()
        try:
            who = await access.whoami()
        except CredentialsError as error:
            # The session may be good for S3 all the same, which shows below.
            self._note("sts", Outcome.WEAKER, error.message)
        else:
            self._arn = who.arn
            if who.arn is None:
                self._note("sts", Outcome.UNTRIED, f"{service.name} does not tell who the session is.")
            else:
                self._note("sts", Outcome.WORKS, f"{service.name} names it {who.arn}.")
        # Only a session that STS gave for a role comes with its ARN.
        role = lasting_principal(self._config.role, session.arn) if session else None
        if role is None:
            self._note("trust", Outcome.UNTRIED, "no role is assumed, so none has to trust anybody.")
        else:
            self._note("trust", Outcome.WORKS, f"{role} may be assumed.")

    def _blame(self, error: CredentialsError) -> None:
        """Note a session that could not be had with the step it failed at."""
        service, broker = self._access.service, self._access.broker
        assert broker is not None
        if error.code in _CLOCK_CODES:
            step = "clock"
        elif error.code in _KEY_CODES or service.name not in error.message:
            step = "source"
        elif error.reason is Reason.ROLE_REFUSED and error.code != "NoSts":
            step = "trust"
        else:
            step = "sts"
        self._note(step, Outcome.FAILS, error.message)
        if step != "source":
            self._note("source", Outcome.WORKS, f"there are keys for {broker.source.describe()}.")
        if step == "trust":
            self._note("sts", Outcome.WORKS, f"{service.name} answers.")
        if error.advice:
            self._advice.append(error.advice)

    # The bucket ---------------------------------------------------------------------------------

    async def _ask_bucket(self) -> None:
        found = await self._list()
        if found is None:
            return
        if self._read_only:
            for step in ("put", "delete", "conditions"):
                self._note(step, Outcome.UNTRIED, "not needed: the mount is read-only (ro).")
            await self._read_one_of(found)
        elif await self._works("delete", self._client.delete(self._key)):
            await self._put_and_delete(found)
        else:
            self._note("conditions", Outcome.UNTRIED, "not tried: what is put could not be deleted again.")
            await self._works("put", self._put_nothing())
            await self._read_one_of(found)

    async def _list(self) -> Sequence[ObjectInfo] | None:
        """Return some objects below the prefix; None when the bucket cannot be used at all."""
        objects: list[ObjectInfo] = []

        async def list_objects() -> None:
            page = await self._client.list_page(self._config.store.prefix, delimiter="", limit=_CANDIDATES)
            objects.extend(page.objects)

        await self._works("list", list_objects())
        return None if self._found["list"].outcome is Outcome.FAILS else objects

    async def _put_and_delete(self, found: Sequence[ObjectInfo]) -> None:
        try:
            if not await self._works("put", self._put()):
                await self._read_one_of(found)
                return
            await self._works("get", self._client.get(self._key, [memoryview(bytearray(1))]))
            await self._try_conditions()
        finally:
            # Also after a put whose answer was lost, and when the time is over.
            with trio.move_on_after(_REQUEST_SECONDS, shield=True):
                await self._works("delete", self._client.delete(self._key))
            deleted = self._found["delete"]
            if deleted.outcome is not Outcome.WORKS:
                self._note(
                    "delete", Outcome.FAILS, f"{self._key} had to be left in the bucket: {deleted.sentence}"
                )
            elif self._is_versioned:
                kept = f"(the bucket keeps versions, those of {self._key}, too)"
                self._note("delete", Outcome.WORKS, f"{deleted.sentence.rstrip('.')} {kept}.")

    async def _put(self) -> None:
        stored = await self._client.put(self._key, _PROBE, ObjectAttributes())
        self._is_versioned = stored.version_id is not None

    async def _put_nothing(self) -> None:
        """Ask for what writing needs without writing: S3 looks at rights before it looks for the upload."""
        try:
            await self._client.upload_part(self._key, uuid.uuid4().hex, 1, _PROBE)
        except StoreError as error:
            if error.reason is not Reason.NO_SUCH_UPLOAD:
                raise

    async def _read_one_of(self, found: Sequence[ObjectInfo]) -> None:
        """Read a byte of an object that is there, since none may be put."""
        info = next((info for info in found if info.size_bytes), None)
        if info is None:
            self._note("get", Outcome.UNTRIED, "not tried: there is no object that could be read.")
            return
        await self._works("get", self._client.get(info.key, [memoryview(bytearray(1))]))

    async def _try_conditions(self) -> None:
        try:
            weaker = await weaker_promise(self._client, self._key, _PROBE)
        except FileSystemError as error:
            self._note("conditions", Outcome.UNTRIED, f"not known: {error.message or error}")
            return
        if weaker is None:
            self._note("conditions", Outcome.WORKS, "no write replaces what somebody else wrote meanwhile.")
        else:
            self._note("conditions", Outcome.WEAKER, weaker)

    async def _works(self, step: str, request: Awaitable[object]) -> bool:
        """Make a request and note how it went."""
        action = ACTIONS[step][0]
        where = f"s3://{self._config.store.bucket}/{self._config.store.prefix}"
        try:
            await request
        except FileSystemError as error:
            if isinstance(error, StoreError) and _is_denial(error):
                self._note(step, Outcome.DENIED, f"{action} is denied below {where}{_words(error)}.")
                return False
            if error.reason is not Reason.ARCHIVED:
                refusal = refusal_of(error, self._config.store, self._client.endpoint_url)
                self._note(step, Outcome.FAILS, refusal.sentence)
                return False
        except trio.Cancelled:
            self._note(step, Outcome.FAILS, "no answer came in time.")
            raise
        except UserError as error:
            # An endpoint that is none shows with the first request.
            self._note(step, Outcome.FAILS, error.sentence)
            return False
        self._note(step, Outcome.WORKS, f"{action} is allowed below {where}.")
        return True

    def _look_at_clock(self) -> None:
        ahead = self._client.clock_error_seconds
        if ahead is None or "clock" in self._found:
            return
        if abs(ahead) <= _RIGHT_CLOCK_SECONDS:
            self._note("clock", Outcome.WORKS, "this machine and the service agree on the time.")
            return
        self._note(
            "clock",
            Outcome.WEAKER,
            f"this machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the service: set "
            "its clock (until then requests are signed by the service's).",
        )

    # The sum ------------------------------------------------------------------------------------

    def _note(self, step: str, outcome: Outcome, sentence: str) -> None:
        ended = sentence if sentence.endswith(".") else f"{sentence}."
        self._found[step] = Finding(step=step, outcome=outcome, sentence=ended)

    def _is_usable(self) -> bool:
        """Say whether a mount comes up, renews its session, and can read or write."""
        outcomes = {step: finding.outcome for step, finding in self._found.items()}
        if Outcome.FAILS in outcomes.values() or outcomes["source"] is Outcome.UNTRIED:
            return False
        reads = outcomes["list"] is Outcome.WORKS and outcomes["get"] in {Outcome.WORKS, Outcome.UNTRIED}
        return reads or outcomes["put"] is Outcome.WORKS

    def _policies(self) -> list[str]:
        denied = [
            step for step in ACTIONS if step in self._found and self._found[step].outcome is Outcome.DENIED
        ]
        if not denied:
            return []
        if self._found["get"].outcome is Outcome.UNTRIED:
            denied.append("get")
        store = self._config.store
        if self._access.broker is None:
            return [f"The bucket {store.bucket} is not public for what is denied: give a role instead."]
        advice = advice_for(denied, store, lasting_principal(self._config.role, self._arn))
        if {"list", "put", "delete"} <= set(denied):
            advice += (
                "\nSince everything is denied, look also whether the credentials belong to this service and "
                "are still valid: some services deny what an expired session asks."
            )
        return [advice]


def _is_denial(error: StoreError) -> bool:
    return error.reason is Reason.ACCESS_DENIED and error.code in _DENIALS


def _words(error: StoreError) -> str:
    """Return what the service says beyond the bare denial, if it does."""
    said = error.message.rstrip(".")
    return f" ({said})" if "not authorized" in said else ""
