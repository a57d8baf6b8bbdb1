"""Name the states of a broker, say why it has no session, and count what it did."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from s3rolefs.errors import CredentialsError, Reason


class State(enum.Enum):
    """Name where a broker stands (ROLES.md, "The pieces")."""

    EMPTY = "empty"
    FETCHING = "fetching"
    FRESH = "fresh"
    REFRESHING = "refreshing"
    VALID_BUT_STALE = "valid but stale"
    EXPIRED = "expired"
    DENIED = "denied"
    NEEDS_USER = "needs user"


def state_of(
    *, is_valid: bool, is_fetching: bool, had_one: bool, failure: CredentialsError | None, needs_person: bool
) -> State:
    """Return the state that the facts come to.

    `is_valid`: there is a session; `had_one`: there was one. `failure` is that of the latest
    attempt; `needs_person`: the next one fails, too, unless somebody gives what the source lacks.
    """
    if needs_person:
        return State.NEEDS_USER
    if is_valid:
        if is_fetching:
            return State.REFRESHING
        return State.VALID_BUT_STALE if failure else State.FRESH
    if failure is not None and failure.reason is Reason.ROLE_REFUSED:
        return State.DENIED
    if failure is not None and failure.reason in (Reason.SESSION_MISSING, Reason.SESSION_EXPIRED):
        return State.NEEDS_USER
    if had_one:
        return State.EXPIRED
    return State.FETCHING if is_fetching else State.EMPTY


def no_answer(source: str, waited_seconds: float) -> CredentialsError:
    """Return the error for a source that is still being asked."""
    return CredentialsError(Reason.UNREACHABLE, f"No answer from {source} within {waited_seconds:g} s.")


def session_over(source: str, failure: CredentialsError | None) -> CredentialsError:
    """Return the error for a session that ended while `failure` kept the next one from coming."""
    detail = failure.message if failure else ""
    sentence = f"The session from {source} has expired and could not be renewed. {detail}".rstrip()
    return CredentialsError(Reason.SESSION_EXPIRED, sentence, detail=detail)


@dataclass(slots=True, kw_only=True)
class Record:
    """Count what a broker did: `waits` are the calls of `get()`, most of which take no time.

    The wait for the very first session is counted apart: there was nothing to keep alive yet.
    """

    fetches: int = 0
    failures: int = 0
    rejections: int = 0
    forced: int = 0
    waits: int = 0
    first_wait_seconds: float = 0.0
    longest_wait_seconds: float = 0.0
    last_error: str = ""

    def note_wait(self, seconds: float, *, first: bool) -> None:
        """Count one call of `get()`; `first`: there had never been a session."""
        self.waits += 1
        if first:
            self.first_wait_seconds = max(self.first_wait_seconds, seconds)
            return
        self.longest_wait_seconds = max(self.longest_wait_seconds, seconds)
