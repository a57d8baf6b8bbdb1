"""Name the states of a broker and count what it did."""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
