"""Read for one descriptor: ahead of what is read in order, little of what is not, all when it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.fs.access import Access, Pattern
from s3rolefs.fs.ahead import Ahead
from s3rolefs.model import KIB

if TYPE_CHECKING:
    from s3rolefs.cache.blocks import BlockCache, ObjectVersion

# So much of the beginning stays in memory when the rest is let go of behind the reader.
_KEPT_BLOCKS = 8
_MOST_STRIDES = 32
# So many round trips of an idle line are waited for, by so few on average, before the rest is fetched.
_ROUND_TRIPS = 8
_FEW_WAITS = 2
# What stands at the end of Parquet files and archives, with most of them.
_TAIL_BYTES = 256 * KIB


class Reader:
    """Follow one open descriptor's reads.

    `has_footer`: whoever reads this file begins with its end. `keeps`: the kernel does not keep what is read.
    """

    def __init__(self, blocks: BlockCache, *, has_footer: bool = False, keeps: bool = False) -> None:
        self._blocks = blocks
        self._has_footer = has_footer
        self._keeps = keeps
        self._ahead = Ahead(blocks)
        self._access = Access.LONE
        self._gathers = False
        self._begin_with(None)

    async def read(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        """Return bytes of a version, less at its end; a view is valid until the next await."""
        end = min(offset + size, version.size_bytes)
        if offset >= end:
            return b""
        if version.token != self._token:
            self._begin_with(version)
        before, access = self._access, self._pattern.follow(offset, end)
        self._access = access
        if self._gathers:
            self._ahead.gather(version)
        elif access is Access.ONWARD:
            self._look_onward(version, offset, end)
        elif access is Access.BACKWARD:
            self._ahead.backward(version, *version.blocks_of(offset, end))
        else:
            if access is Access.STRIDED:
                self._look_strides(version, offset, end)
            elif before is not Access.ONWARD:  # the second in turn that strays
                self._ahead.restart(0)
                self._strides = 1
            if self._gather_is_due(version):
                self._gathers = True
                self._ahead.restart(0)
                self._ahead.gather(version)
        if access in (Access.ONWARD, Access.BACKWARD) and not self._gathers:
            return await self._blocks.read(version, offset, end - offset)
        return await self._read_alone(version, offset, end - offset)

    def close(self) -> None:
        """End what is fetched ahead."""
        self._ahead.restart(0)

    def _begin_with(self, version: ObjectVersion | None) -> None:
        self._ahead.restart(0)
        self._token = version.token if version is not None else None
        self._pattern = Pattern()
        self._access = Access.LONE
        self._run = 0
        self._behind = 0
        self._strides = 1
        self._strided = 0
        self._gathers = False
        # How many reads in no order there were, how many waited together, and for how long.
        self._lone_reads = 0
        self._lone_waits = 0
        self._waits = 0
        self._waits_began = 0.0
        self._waited_seconds = 0.0
        if version is not None and self._has_footer and version.size_bytes > BLOCK_BYTES:
            self._blocks.ask_alone(version, version.size_bytes - _TAIL_BYTES, _TAIL_BYTES, at_once=2)

    def _look_onward(self, version: ObjectVersion, offset: int, end: int) -> None:
        place, _ = version.blocks_of(offset, end)
        if self._run != self._pattern.run:
            self._run = self._pattern.run
            self._ahead.restart(place)
            kept = 0 if self._blocks.has_disk else _KEPT_BLOCKS
            self._behind = self._pattern.run_began // BLOCK_BYTES + kept
        self._ahead.onward(version, place)
        if not self._keeps:
            # The kernel has it by now; but it may still ask in another order within two blocks.
            for index in range(self._behind, place - 1):
                self._blocks.drop(version, index)
            self._behind = max(self._behind, place - 1)

    def _look_strides(self, version: ObjectVersion, offset: int, end: int) -> None:
        """Ask for the next places, twice as many each time."""
        step = self._pattern.step
        self._strides = min(2 * self._strides, _MOST_STRIDES)
        begin = self._strided if (self._strided - offset) * step > 0 else offset + step
        for place in range(begin, offset + step * (self._strides + 1), step):
            if not 0 <= place < version.size_bytes:
                break
            size = min(end - offset, version.size_bytes - place)
            self._blocks.ask_alone(version, place, size, at_once=self._strides)
            self._strided = place + step

    def _gather_is_due(self, version: ObjectVersion) -> bool:
        """Tell whether the reads have waited as long as the whole object takes, and there is room for it.

        On a far line where hardly anything else is on its way it costs nobody time: there it begins early.
        It goes on only while there are reads.
        """
        line = self._blocks.line
        if line.is_far and self._lone_waits <= _FEW_WAITS * self._lone_reads:
            due_seconds = _ROUND_TRIPS * line.round_trip_seconds
        else:
            due_seconds = version.size_bytes / line.bytes_per_second
        fits = version.size_bytes <= self._blocks.capacity_bytes * 3 // 4
        return fits and self._waited_seconds >= max(due_seconds, 2 * line.round_trip_seconds) > 0

    async def _read_alone(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        if not self._waits:
            self._waits_began = trio.current_time()
        self._waits += 1
        self._lone_reads += 1
        self._lone_waits += self._waits
        try:
            return await self._blocks.read_alone(version, offset, size)
        finally:
            self._waits -= 1
            if not self._waits:
                self._waited_seconds += trio.current_time() - self._waits_began
