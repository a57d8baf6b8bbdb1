"""Ask for the blocks that come next, in requests that double.

One request at a time is enough where that fills the line (`cache.line` measures it); the next one is sent a
round trip before the last bytes of the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.cache.buffers import BLOCK_BYTES

if TYPE_CHECKING:
    from s3rolefs.cache.blocks import BlockCache, ObjectVersion
    from s3rolefs.cache.fetches import Fetch

_FIRST_BLOCKS = 2
_LARGEST_BLOCKS = 128
# A disk is asked in steps, one ahead of the reader, and brings each as a whole; more would only be memory
# that is touched for the first time, and cold in the processor.
_DISK_BLOCKS = 8
# From its end to its beginning: what is needed first comes last, so the requests are small.
_LARGEST_BACKWARD_BLOCKS = 8


class Ahead:
    """Keep requests under way for one descriptor; those that are not needed any more end at once."""

    def __init__(self, blocks: BlockCache) -> None:
        self._blocks = blocks
        self._fetches: list[Fetch] = []
        self._begin = 0
        self._asked = 0
        self._next_blocks = _FIRST_BLOCKS

    def restart(self, place: int) -> None:
        """End what is under way; go on from block `place`."""
        for fetch in self._fetches:
            if not fetch.is_over:
                self._blocks.let_go(fetch, self)
        self._fetches = []
        self._blocks.leave_room(self)
        self._begin = self._asked = place
        self._next_blocks = _FIRST_BLOCKS

    def onward(self, version: ObjectVersion, place: int) -> None:
        """Ask for what comes behind block `place`, where the reader is, unless he has much to read yet."""
        self._asked = max(self._asked, place)
        self._forget_what_is_over()
        for fetch in self._fetches:
            fetch.reach(place)
        ahead = self._asked - place
        unread = ahead - self._coming_bytes() // BLOCK_BYTES
        streams = self._blocks.line.streams
        is_on_disk = self._blocks.is_on_disk(version)
        if ahead <= _DISK_BLOCKS if is_on_disk else unread <= self._next_blocks * streams // 4:
            room = min(self._blocks.room_blocks(self), 2 * _LARGEST_BLOCKS)
            self._ask(version, room - ahead, keeps_pace=streams == 1)
        if self._asked == version.block_count():
            self._blocks.leave_room(self)

    def gather(self, version: ObjectVersion) -> None:
        """Ask for all that is not there, as fast as the line brings it."""
        self._forget_what_is_over()
        self._ask(version, self._blocks.room_blocks(self), keeps_pace=False)

    def backward(self, version: ObjectVersion, place: int, end: int) -> None:
        """Ask for what comes before block `place`, where somebody reads from the end to the beginning."""
        if self._begin < place or self._begin > end:
            self.restart(end)
        self._forget_what_is_over()
        while self._begin and place - self._begin < self._next_blocks:
            begin = max(0, self._begin - self._next_blocks)
            self._hold(self._blocks.fetch_missing(version, begin, self._begin, self._next_blocks))
            self._begin = begin
            self._next_blocks = min(2 * self._next_blocks, _LARGEST_BACKWARD_BLOCKS)

    def _ask(self, version: ObjectVersion, room: int, *, keeps_pace: bool) -> None:
        """Send the requests that are due, within `room` blocks."""
        line = self._blocks.line
        streams = line.streams
        share = min(_LARGEST_BLOCKS, room * streams // (streams + 1)) // streams
        largest = max(1, min(share, line.longest_answer_bytes // BLOCK_BYTES))
        if self._blocks.is_on_disk(version):
            largest = min(largest, _DISK_BLOCKS)
        while (left := version.block_count() - self._asked) > 0 and room > 0:
            if len(self._fetches) >= streams and self._coming_bytes() > line.round_trip_bytes:
                break
            count = min(self._next_blocks, largest, room)
            if left <= min(count + count // 2, room):
                count = left  # no small rest
            until = min(self._asked + count, version.block_count())
            fetches = self._blocks.fetch_missing(version, self._asked, until, count)
            self._hold(fetches)
            if keeps_pace:
                for fetch in fetches:
                    fetch.keep_pace()
            room -= until - self._asked
            self._asked = until
            self._next_blocks = min(2 * count, _LARGEST_BLOCKS)

    def _hold(self, fetches: list[Fetch]) -> None:
        for fetch in fetches:
            fetch.holders.add(self)
            if fetch not in self._fetches:
                self._fetches.append(fetch)

    def _forget_what_is_over(self) -> None:
        self._fetches = [fetch for fetch in self._fetches if not fetch.is_over]

    def _coming_bytes(self) -> int:
        return sum(fetch.left_bytes for fetch in self._fetches)
