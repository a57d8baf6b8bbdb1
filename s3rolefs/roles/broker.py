"""Keep one identity's session alive: obtain it, renew it in time, replace it when it is refused.

All state belongs to the trio loop; `run()` is the only place that asks the source, so there is
never more than one fetch in flight. What must not wait (`peek`) reads one attribute, which the
broker's own task sets to None at the moment the session expires. State is not stored but read
off the facts (session, last failure, fetch in flight), so that it cannot contradict them.
"""

from __future__ import annotations

import logging
import math
import random
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import trio

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import schedule
from s3rolefs.roles.record import Record, no_answer, session_over, state_of
from s3rolefs.roles.rejections import SESSION_CODES, Rejections

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from s3rolefs.clock import Clock
    from s3rolefs.roles.need import Need
    from s3rolefs.roles.record import State
    from s3rolefs.roles.snapshot import Snapshot
    from s3rolefs.roles.source import Source

log = logging.getLogger(__name__)

# Trio's clock stands still during suspend; so no sleep is longer than this.
_TICK_SECONDS = 5.0
# Moments nearer than this have come: differences of clock readings are not exact.
_NOW_SECONDS = 0.001
# While somebody waits for a session, a transient failure is retried at least this often.
_WAITED_FOR_SECONDS = 5.0


class Broker:
    """Serve the current session of one identity and renew it for as long as `run()` runs.

    `cred_wait_seconds` bounds every wait. `renew=False` is the control experiment: one session is
    obtained and never renewed. `chance` draws from [0, 1).
    """

    def __init__(
        self,
        source: Source,
        *,
        clock: Clock,
        cred_wait_seconds: float = 30.0,
        renew: bool = True,
        watch_seconds: float = 1.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.source = source
        self.record = Record()
        self._clock = clock
        self._cred_wait_seconds = cred_wait_seconds
        self._renew = renew
        self._watch_seconds = watch_seconds
        self._chance = chance

        self._session: Snapshot | None = None  # what peek() answers: valid now
        self._latest: Snapshot | None = None  # the newest obtained, expired or not
        self._failure: CredentialsError | None = None  # of the latest attempt
        self._failures_in_row = 0
        self._same_again = False  # the latest attempt brought the session we had
        self._stamp: Hashable = None
        self._fetching = False
        self._attempts = 0  # completed ones

        # Moments of the boot clock.
        self._obtained_at = -math.inf
        self._expires_at = math.inf
        self._due_at = -math.inf
        self._offset = clock.wall_seconds() - clock.boot_seconds()

        self._rejections = Rejections()
        self._forced_attempt = 0  # the attempt, by number, that those who forced one wait for

        self._news = trio.lowlevel.ParkingLot()  # after each attempt, and on expiry
        self._calls = trio.lowlevel.ParkingLot()  # wakes the renewing task

    # What callers ask -------------------------------------------------------------------------

    def peek(self) -> Snapshot | None:
        """Return the session while it is valid. Never waits; callable from any thread."""
        return self._session

    async def get(self) -> Snapshot:
        """Return the session, waiting for one at most `cred_wait_seconds`.

        Raises `CredentialsError`: SESSION_EXPIRED, SESSION_MISSING, ROLE_REFUSED or UNREACHABLE;
        at once where waiting cannot help.
        """
        started, first = trio.current_time(), self._latest is None
        try:
            with trio.move_on_after(self._cred_wait_seconds):
                while self._session is None and not self._is_settled():
                    self._hasten(self._clock.boot_seconds() + _WAITED_FOR_SECONDS)
                    await self._news.park()
        finally:
            self.record.note_wait(trio.current_time() - started, first=first)
        if self._session is None:
            failure = self._failure
            if failure is not None and (self._latest is None or failure.reason is not Reason.UNREACHABLE):
                raise failure.with_traceback(None)
            if self._latest is None:
                raise no_answer(self.source.describe(), self._cred_wait_seconds)
            raise session_over(self.source.describe(), failure)
        return self._session

    async def reject(self, generation: int, *, code: str, worked: bool = False) -> bool:
        """Tell that a server refused that generation; True: a newer one is there, repeat.

        `code` is S3's, or the HTTP status as text where there was no body. `worked` says whether
        some server accepted this generation before. A code that is about the session forces a
        renewal and waits for a newer one; any other refusal (AccessDenied, 403) may be a session
        revoked early: it forces at most one renewal per session, and only if the session worked
        or is older than 30 s. Refused again after that, it is genuine and remembered. Forced
        renewals keep 5 s distance; concurrent callers share one. Waits at most
        `cred_wait_seconds`.
        """
        self.record.rejections += 1
        if generation != self.generation or not self._renew:
            return generation < self.generation
        is_over = code in SESSION_CODES or self._session is None
        now = self._clock.boot_seconds()
        if not is_over and not self._rejections.may_be_revoked(
            generation, code, age_seconds=now - self._obtained_at, worked=worked
        ):
            return False
        start_at = self._rejections.claim(generation, now=now, by_denial=not is_over)
        if start_at is not None:
            self.record.forced += 1
            self._forced_attempt = self._attempts + 1
            self._hasten(start_at)
        with trio.move_on_after(self._cred_wait_seconds):
            while self.generation == generation:
                if self._attempts >= self._forced_attempt and (not is_over or self._is_settled()):
                    return False
                await self._news.park()
        return self.generation > generation

    async def refresh(self) -> Snapshot:
        """Renew now, whatever the schedule says, and return what the source answered.

        Raises `CredentialsError` when it failed (the running session stays in use), `UserError`
        when renewal is switched off.
        """
        if not self._renew and self._latest is not None:
            raise UserError("Renewal is switched off for this mount; mount it without that option.")
        wanted = self._attempts + 1
        self._hasten(self._clock.boot_seconds())
        with trio.move_on_after(self._cred_wait_seconds):
            while self._attempts < wanted:
                await self._news.park()
        if self._failure is not None and self._attempts >= wanted:
            raise self._failure.with_traceback(None)
        if self._latest is None or self._attempts < wanted:
            raise no_answer(self.source.describe(), self._cred_wait_seconds)
        return self._latest

    @property
    def generation(self) -> int:
        """Return the number of the newest session, 0 before the first."""
        return self._latest.generation if self._latest is not None else 0

    @property
    def state(self) -> State:
        """Return where the broker stands."""
        return state_of(
            is_valid=self._session is not None,
            is_fetching=self._fetching,
            had_one=self._latest is not None,
            failure=self._failure,
            needs_person=self.need is not None,
        )

    @property
    def need(self) -> Need | None:
        """Return what somebody has to give before the next session can come, if anything."""
        if self._failure is None or self._failure.reason is Reason.UNREACHABLE:
            return None
        return next((need for need in self.source.needs() if need.is_missing), None)

    async def give(self, need: Need, text: str) -> Snapshot:
        """Hand over what is needed (one of the source's) and renew the session with it.

        Raises `CredentialsError` for what cannot be it, and else as `refresh` does.
        """
        # The source may hold the old one in its hands.
        with trio.move_on_after(self._cred_wait_seconds):
            while self._fetching:
                await self._news.park()
        await need.give(text)
        return await self.refresh()

    def describe(self) -> dict[str, Any]:
        """Return what `status` shows, ready for JSON: moments in wall seconds, no secrets."""
        latest = self._latest
        due_in = self._due_at - self._clock.boot_seconds()
        return {
            "state": self.state.value,
            "source": self.source.describe(),
            "arn": latest.arn if latest else None,
            "needs": need.prompt if (need := self.need) else None,
            "generation": self.generation,
            "obtained_at": latest.obtained_at if latest else None,
            "expires_at": latest.expires_at if latest else None,
            "next_refresh_at": self._clock.wall_seconds() + max(0.0, due_in) if due_in < math.inf else None,
            **asdict(self.record),
        }

    # The tasks ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Obtain the first session at once and renew until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew_in_time)
            nursery.start_soon(self._expire_in_time)
            nursery.start_soon(self._notice_changes)
            task_status.started()

    async def _renew_in_time(self) -> None:
        while True:
            while (delay := self._due_at - self._clock.boot_seconds()) > _NOW_SECONDS:
                with trio.move_on_after(min(delay, _TICK_SECONDS)):
                    await self._calls.park()
            await self._attempt()

    async def _expire_in_time(self) -> None:
        while True:
            self._follow_clock()
            left = self._expires_at - self._clock.boot_seconds()
            if left <= _NOW_SECONDS and self._session is not None:
                log.warning("The session from %s has expired", self.source.describe())
                self._session = None
                self._news.unpark_all()
            with trio.move_on_after(min(left, _TICK_SECONDS) if left > _NOW_SECONDS else _TICK_SECONDS):
                await self._news.park()

    async def _notice_changes(self) -> None:
        while True:
            await trio.sleep(self._watch_seconds)
            stamp = await self.source.stamp()
            if self._fetching or stamp == self._stamp or self._attempts == 0:
                continue
            if self._renew and (self.source.renews_on_change or self._failure is not None):
                self._hasten(self._clock.boot_seconds())

    async def _attempt(self) -> None:
        boot, wall = self._clock.boot_seconds(), self._clock.wall_seconds()
        self.record.fetches += 1
        self._fetching = True
        try:
            # First the stamp: what changes during the fetch must count as changed after it.
            self._stamp = await self.source.stamp()
            obtained = await self.source.fetch()
        except CredentialsError as error:
            self._fail(error)
        else:
            self._accept(obtained, boot=boot, wall=wall)
        finally:
            self._fetching = False
        self._attempts += 1
        self._news.unpark_all()

    def _accept(self, obtained: Snapshot, *, boot: float, wall: float) -> None:
        """Take a session over; `boot` and `wall` are the moment of asking."""
        asked_at = obtained.obtained_at or wall
        life = None if obtained.expires_at is None else obtained.expires_at - asked_at
        if life is not None and life <= 0:
            sentence = f"The session from {self.source.describe()} has expired; put a new one there."
            self._fail(CredentialsError(Reason.SESSION_EXPIRED, sentence))
            return
        latest = self._latest
        self._same_again = latest is not None and obtained.has_keys_of(latest)
        if latest is not None and self._same_again:
            obtained = replace(latest, expires_at=obtained.expires_at)
        else:
            obtained = replace(obtained, obtained_at=asked_at, generation=self.generation + 1)
            self._obtained_at = boot
            self._rejections.note_renewed(obtained.generation)
        if self._failure is not None:
            log.info("Credentials from %s are available again", self.source.describe())
        self._failure, self._failures_in_row = None, 0
        self._latest = self._session = obtained
        self._expires_at = math.inf if life is None else boot + life
        self._due_at = (
            schedule.due_at(boot, self._expires_at, is_repeat=self._same_again, chance=self._chance())
            if self._renew
            else math.inf
        )

    def _fail(self, error: CredentialsError) -> None:
        if error.message != self.record.last_error or self._failure is None:
            log.warning("No new session from %s: %s", self.source.describe(), error.message)
        needed_before = self.need
        self.record.failures += 1
        self.record.last_error = error.message
        self._failure = error
        if self.need not in (None, needed_before):
            log.warning("%s is needed: run `s3rolefs login` on the mounted directory", self.need.prompt)
        self._failures_in_row += 1
        now = self._clock.boot_seconds()
        left = max(0.0, self._expires_at - now) if self._session is not None else 0.0
        self._due_at = now + schedule.retry_delay(error.reason, self._failures_in_row, left, self._chance())

    def _follow_clock(self) -> None:
        """Renew after somebody set the machine's clock.

        The session's end is kept by the boot clock and stays; but what a wrong clock made of its
        life is not to be trusted.
        """
        wall, boot = self._clock.wall_seconds(), self._clock.boot_seconds()
        step = schedule.clock_step(self._offset, wall_seconds=wall, boot_seconds=boot)
        if step and self._renew and self._latest is not None:
            log.info("The clock was set by %+.0f s; renewing the session", step)
            self._hasten(boot)
        self._offset = wall - boot

    # Helpers -----------------------------------------------------------------------------------

    def _hasten(self, moment: float) -> None:
        self._due_at = min(self._due_at, moment)
        self._calls.unpark_all()

    def _is_settled(self) -> bool:
        """Say whether waiting for another attempt is in vain."""
        if self._fetching:
            return False
        if self._latest is not None and not self._renew:
            return True
        if self._failure is None:
            return self._same_again and self._stamp is None
        if self._failure.reason is Reason.ROLE_REFUSED:
            return True
        return self._failure.reason is not Reason.UNREACHABLE and self._latest is None
