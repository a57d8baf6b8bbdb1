"""Drive time by hand."""

from __future__ import annotations

import threading


class ManualClock:
    """Stand still until told to move; implements `s3rolefs.clock.Clock`, from any thread.

    `advance` moves both clocks as time does (suspend too); `step_wall` is somebody setting the date.
    """

    def __init__(self, *, wall_seconds: float = 1_700_000_000.0, boot_seconds: float = 1_000.0) -> None:
        self._lock = threading.Lock()
        self._wall_seconds = wall_seconds
        self._boot_seconds = boot_seconds

    def wall_seconds(self) -> float:
        """Return seconds since the epoch."""
        with self._lock:
            return self._wall_seconds

    def boot_seconds(self) -> float:
        """Return seconds since boot."""
        with self._lock:
            return self._boot_seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._wall_seconds += seconds
            self._boot_seconds += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the date, by so much forward (or back)."""
        with self._lock:
            self._wall_seconds += seconds
