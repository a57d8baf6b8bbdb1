"""Decide how long a request is tried again: full-jitter back-off until nothing moves any more.

Time is trio's, so that tests can drive it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class Patience:
    """Track one request over its attempts: `limit_seconds` without progress is the end.

    Progress is a byte further than any earlier attempt came, so that a body which breaks off at
    the same place each time does not go on for ever.
    """

    def __init__(self, limit_seconds: float, *, random_unit: Callable[[], float] = random.random) -> None:
        self._limit_seconds = limit_seconds
        self._random_unit = random_unit
        self._progress_at = trio.current_time()
        self._farthest_bytes = 0
        self._failures = 0

    def record_progress(self, moved_bytes: int, *, idle_seconds: float) -> None:
        """Note that an attempt came as far as `moved_bytes`, the last of them `idle_seconds` ago."""
        if moved_bytes > self._farthest_bytes:
            self._farthest_bytes = moved_bytes
            self._progress_at = max(self._progress_at, trio.current_time() - idle_seconds)
            self._failures = 0

    def left_seconds(self) -> float:
        """Return the time left without progress (never negative)."""
        return max(0.0, self._progress_at + self._limit_seconds - trio.current_time())

    async def pause(self) -> bool:
        """Wait before the next attempt; return False, at once, when there is no time for one."""
        ceiling = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures)
        self._failures += 1
        delay_seconds = ceiling * self._random_unit()
        if delay_seconds >= self.left_seconds():
            return False
        await trio.sleep(delay_seconds)
        return True
