"""Tell from the places of a descriptor's reads where it will read next."""

from __future__ import annotations

import enum

from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.model import KIB

# The kernel's own read-ahead may ask for the second piece before the first: that is no seek.
_REORDER_BYTES = 2 * BLOCK_BYTES
# But where no run is known yet, what is not that close is chance.
_CLOSE_BYTES = 128 * KIB
# So many steps alike are no chance.
_ALIKE = 3


class Access(enum.Enum):
    """Name what a read is one of."""

    ONWARD = enum.auto()
    BACKWARD = enum.auto()
    STRIDED = enum.auto()
    LONE = enum.auto()


class Pattern:
    """Follow reads; one that strays from a run onward does not end it.

    `run` counts the runs, and `run_began` is where the last one began; `step` is how far the last read is
    from the one before.
    """

    def __init__(self) -> None:
        self.run = 1
        self.run_began = 0
        self.step = 0
        self._run_end = 0
        self._last = (0, 0)
        self._alike = 0

    def follow(self, offset: int, end: int) -> Access:
        """Take note of a read, and say what it is."""
        last_offset, last_end = self._last
        step = offset - last_offset
        is_back = 0 < -step <= end - offset + _REORDER_BYTES and end <= last_offset + (end - offset) // 2
        self._alike = self._alike + 1 if step == self.step or (is_back and self.step < 0) else 1
        self.step = step
        self._last = (offset, end)
        if is_back and self._alike >= _ALIKE:
            return Access.BACKWARD
        tolerance = min(_REORDER_BYTES, max(_CLOSE_BYTES, self._run_end - self.run_began))
        if abs(offset - self._run_end) <= tolerance:
            self._run_end = max(end, self._run_end)
            return Access.ONWARD
        if step > 0 and abs(offset - last_end) <= _CLOSE_BYTES:
            self.run += 1
            self.run_began, self._run_end = last_offset, end
            return Access.ONWARD
        return Access.STRIDED if self._alike >= _ALIKE else Access.LONE
