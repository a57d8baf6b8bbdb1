"""Give every room the same two clocks, so that tests can drive time.

`wall_seconds` is what expiry dates and request signatures are compared with; `boot_seconds`
(CLOCK_BOOTTIME) goes on during suspend and never jumps, so the difference of the two shows
a changed clock. Waiting is trio's business: it never depends on the wall clock.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tell the time. Implementations must be callable from any thread."""

    def wall_seconds(self) -> float:
        """Return seconds since the epoch."""
        ...

    def boot_seconds(self) -> float:
        """Return seconds since boot, time spent suspended included."""
        ...


class SystemClock:
    """Read the machine's own clocks."""

    def wall_seconds(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def boot_seconds(self) -> float:
        """Return seconds since boot, time spent suspended included (CLOCK_BOOTTIME)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
