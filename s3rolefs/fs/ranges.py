"""Keep sets of byte ranges: which bytes of a file are here, which were changed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ranges:
    """Hold disjoint half-open ranges [start, end) in bytes, sorted, never touching each other."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add [start, end), joining what it touches."""
        if start >= end:
            return
        if self._ends and self._ends[-1] == start:  # a sequential writer: the common case
            self._ends[-1] = end
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def cut(self, size: int) -> None:
        """Remove everything from `size` on."""
        keep = bisect_left(self._starts, size)
        del self._starts[keep:]
        del self._ends[keep:]
        if self._ends and self._ends[-1] > size:
            self._ends[-1] = size

    def clear(self) -> None:
        """Remove everything."""
        self._starts.clear()
        self._ends.clear()

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are not in the set."""
        gaps: list[tuple[int, int]] = []
        position = start
        index = bisect_right(self._ends, start)
        while position < end:
            if index == len(self._starts) or self._starts[index] >= end:
                gaps.append((position, end))
                break
            if self._starts[index] > position:
                gaps.append((position, self._starts[index]))
            position = self._ends[index]
            index += 1
        return gaps

    def touches(self, start: int, end: int) -> bool:
        """Tell whether any byte of [start, end) is in the set."""
        index = bisect_right(self._ends, start)
        return index < len(self._starts) and self._starts[index] < end and start < end

    def first_gap(self) -> int:
        """Return the first byte from 0 on that is not in the set."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0
