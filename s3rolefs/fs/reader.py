"""Fetch ahead of a reader: in requests that double while the file is read on, and end with a seek.

What the requests cost is measured (`cache.line`): one at a time is enough where it fills the line, and the
next one is sent a round trip before the last bytes of the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.fs.access import Access, Pattern
from s3rolefs.model import KIB

if TYPE_CHECKING:
    from s3rolefs.cache.blocks import BlockCache, ObjectVersion
    from s3rolefs.cache.fetches import Fetch

_FIRST_BLOCKS = 2
_LARGEST_BLOCKS = 128
# So much of the beginning stays in memory when the rest is let go of behind the reader.
_KEPT_BLOCKS = 8
_LARGEST_BACKWARD_BLOCKS = 8
_MOST_STRIDES = 32
# So many round trips of an idle line are waited for, at most so many at once, before the rest is fetched.
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
        self._pattern = Pattern()
        self._token: object = None
        self._waits = 0
        self._waits_began = 0.0
        self._waited_seconds = 0.0
        self._fetches: list[Fetch] = []
        self._access = Access.LONE
        self._run_began = -1
        self._asked = 0
        self._next_blocks = _FIRST_BLOCKS
        self._let_go_of = 0
        self._backward_from = 0
        self._strides = 1
        self._strided = 0
        self._gathers = False

    async def read(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        """Return bytes of a version, less at its end; a view is valid until the next await."""
        end = min(offset + size, version.size_bytes)
        if offset >= end:
            return b""
        self._look_ahead(version, offset, end)
        return await self._reading(version, offset, end - offset)

    def close(self) -> None:
        """End what is fetched ahead."""
        self._stop()

    def _look_ahead(self, version: ObjectVersion, offset: int, end: int) -> None:
        """Ask for what this reader will need next, and let it know how to read."""
        if version.token is not self._token:
            self._stop()
            self._token = version.token
            self._waited_seconds = 0.0
            if self._has_footer and version.size_bytes > BLOCK_BYTES:
                tail_bytes = min(_TAIL_BYTES, version.size_bytes)
                self._blocks.ask_alone(version, version.size_bytes - tail_bytes, tail_bytes, at_once=2)
        before, self._access = self._access, self._pattern.follow(offset, end)
        if self._gathers:
            self._gather(version)
        elif self._access is Access.ONWARD:
            self._look_onward(version, offset, end)
        elif self._access is Access.BACKWARD:
            self._look_backward(version, offset, end)
        elif self._access is Access.STRIDED:
            self._look_strides(version, offset, end)
        elif before is not Access.ONWARD:
            self._stop()
        if self._access in (Access.STRIDED, Access.LONE) and not self._gathers:
            self._gather(version)

    async def _reading(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        if self._access in (Access.ONWARD, Access.BACKWARD):
            return await self._blocks.read(version, offset, size)
        if not self._waits:
            self._waits_began = trio.current_time()
        self._waits += 1
        try:
            return await self._blocks.read_alone(version, offset, size)
        finally:
            self._waits -= 1
            if not self._waits:
                self._waited_seconds += trio.current_time() - self._waits_began

    def _look_onward(self, version: ObjectVersion, offset: int, end: int) -> None:
        first, _ = version.blocks_of(offset, end)
        if self._run_began != self._pattern.run_began:
            self._stop()
            self._run_began = self._pattern.run_began
            kept = 0 if self._blocks.has_disk else _KEPT_BLOCKS
            self._let_go_of = self._run_began // BLOCK_BYTES + kept
        self._asked = max(self._asked, first)
        room = self._blocks.room_blocks(version, self)
        self._fetches = [fetch for fetch in self._fetches if not fetch.is_over]
        for fetch in self._fetches:
            fetch.reach(first)
        unread = self._asked - first - sum(fetch.left_bytes for fetch in self._fetches) // BLOCK_BYTES
        if unread <= self._next_blocks * self._blocks.line.streams // 4:
            self._ask(version, room - (self._asked - first), _LARGEST_BLOCKS)
        if self._asked == version.block_count():
            self._blocks.leave_room(self)
        if not self._keeps:
            # The kernel has it by now; but it may still ask in another order within two blocks.
            while self._let_go_of < first - 1:
                self._blocks.drop(version, self._let_go_of)
                self._let_go_of += 1

    def _ask(self, version: ObjectVersion, room: int, largest: int) -> None:
        """Send the requests that are due, each twice as large as the one before."""
        line = self._blocks.line
        streams = line.streams
        share = min(largest, room * streams // (streams + 1)) // streams
        largest = max(1, min(share, line.longest_answer_bytes // BLOCK_BYTES))
        while (left := version.block_count() - self._asked) > 0 and room > 0:
            if len(self._fetches) >= streams and self._asked_bytes() > line.round_trip_bytes:
                break
            count = min(self._next_blocks, largest, room)
            if left <= count + count // 2 and left <= room:
                count = left  # no small rest
            until = min(self._asked + count, version.block_count())
            for fetch in self._blocks.fetch_missing(version, self._asked, until, count):
                fetch.holders.add(self)
                if streams == 1 and self._access is Access.ONWARD:
                    fetch.keep_pace()
                if fetch not in self._fetches:
                    self._fetches.append(fetch)
            room -= until - self._asked
            self._asked = until
            self._next_blocks = min(2 * count, _LARGEST_BLOCKS)

    def _asked_bytes(self) -> int:
        return sum(fetch.left_bytes for fetch in self._fetches)

    def _look_backward(self, version: ObjectVersion, offset: int, end: int) -> None:
        first, last = version.blocks_of(offset, end)
        if not self._backward_from or self._backward_from > last:
            self._stop()
            self._backward_from = last
        while self._backward_from and first - self._backward_from < self._next_blocks // 2:
            begin = max(0, self._backward_from - self._next_blocks)
            for fetch in self._blocks.fetch_missing(version, begin, self._backward_from, self._next_blocks):
                fetch.holders.add(self)
                self._fetches.append(fetch)
            self._backward_from = begin
            self._next_blocks = min(2 * self._next_blocks, _LARGEST_BACKWARD_BLOCKS)

    def _look_strides(self, version: ObjectVersion, offset: int, end: int) -> None:
        step, size = self._pattern.step, end - offset
        self._strides = min(2 * self._strides, _MOST_STRIDES)
        begin = self._strided if (self._strided - offset) * step > 0 else offset + step
        for place in range(begin, offset + step * (self._strides + 1), step):
            if not 0 <= place < version.size_bytes:
                break
            self._blocks.ask_alone(
                version, place, min(size, version.size_bytes - place), at_once=self._strides
            )
            self._strided = place + step

    def _gather(self, version: ObjectVersion) -> None:
        """Fetch the whole object once its reads have waited as long as that takes.

        On a far line where hardly anything else is on its way it costs nobody time: there it begins early.
        It goes on only while there are reads.
        """
        line = self._blocks.line
        if not self._gathers:
            is_idle = line.is_far and self._waits <= _FEW_WAITS
            due_seconds = (
                _ROUND_TRIPS * line.round_trip_seconds
                if is_idle
                else version.size_bytes / line.bytes_per_second
            )
            fits = version.size_bytes <= self._blocks.capacity_bytes * 3 // 4
            if not fits or self._waited_seconds < due_seconds:
                return
            self._stop()
            self._gathers = True
            self._asked = 0
            self._next_blocks = _KEPT_BLOCKS
        self._fetches = [fetch for fetch in self._fetches if not fetch.is_over]
        self._ask(version, self._blocks.room_blocks(version, self), _LARGEST_BLOCKS)

    def _stop(self) -> None:
        """End what is fetched ahead, and begin anew."""
        for fetch in self._fetches:
            if not fetch.is_over:
                self._blocks.let_go(fetch, self)
        self._fetches = []
        self._blocks.leave_room(self)
        self._run_began = -1
        self._asked = 0
        self._next_blocks = _FIRST_BLOCKS
        self._backward_from = 0
        self._strides = 1
        self._strided = 0
        self._gathers = False
