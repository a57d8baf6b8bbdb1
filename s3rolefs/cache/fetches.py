"""Follow one request for a run of blocks: what it has brought, who relies on it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from s3rolefs.cache.blocks import ObjectVersion
    from s3rolefs.cache.buffers import Block, BufferPool


# A reader that lags behind its answer holds it up, so that few buffers go round, warm in the processor.
_MOST_AHEAD = 16
# But not for long: the room is reserved, and a connection that rests is one that others lack.
_PATIENCE_SECONDS = 1.0


class Wanted:
    """Follow one block that a fetch is bringing; its memory is lent when its turn comes."""

    __slots__ = ("arrived", "block", "failure", "fetch", "place", "size_bytes", "waiting")

    def __init__(self, fetch: Fetch, place: int, size_bytes: int) -> None:
        self.fetch = fetch
        self.place = place
        self.size_bytes = size_bytes
        self.block: Block | None = None
        self.waiting = 0
        self.arrived = trio.Event()
        # None with no block once `arrived` is set: the fetch was abandoned.
        self.failure: Exception | None = None

    @property
    def bytes_before(self) -> int:
        """Return how many bytes of the same answer come before the end of this block."""
        ahead = self.place + 1 - self.fetch.arrived_count
        return ahead * self.fetch.version.block_bytes


class Fetch:
    """Be one run of blocks that is asked for; gives out their buffers one by one (`s3.store.Buffers`).

    `holders` fetch ahead with it. `was_held_up`: its bytes came as fast as they were read, not as they can.
    """

    def __init__(self, version: ObjectVersion, first: int, count: int, pool: BufferPool) -> None:
        self.version = version
        self.first = first
        self.wanted = [Wanted(self, place, version.block_size(first + place)) for place in range(count)]
        self.size_bytes = sum(entry.size_bytes for entry in self.wanted)
        self.left_bytes = self.size_bytes
        self.arrived_count = 0
        self.scope = trio.CancelScope()
        self._pool = pool
        self.holders: set[object] = set()
        self.was_held_up = False
        self._wait_seconds = 0.0
        self._reached = 0
        self._moved = threading.Event()

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, index: int, /) -> memoryview:
        entry = self.wanted[index]
        if entry.block is None:
            lags = index >= self._reached + _MOST_AHEAD and self._wait_seconds > 0
            if lags and not trio.lowlevel.in_trio_run():  # a small rest comes on the loop, which never waits
                self._wait_for_reader(index)
            entry.block = self._pool.lend(entry.size_bytes)
        return entry.block.view

    def keep_pace(self) -> None:
        """Let its reader hold it up from now on."""
        self._wait_seconds = _PATIENCE_SECONDS

    def reach(self, index: int) -> None:
        """Take note that somebody reads block `index`."""
        place = index - self.first
        if place > self._reached:
            self._reached = place
            self._moved.set()

    def abandon(self) -> None:
        """End it."""
        self._wait_seconds = 0.0
        self._moved.set()
        self.scope.cancel()

    def _wait_for_reader(self, index: int) -> None:
        self.was_held_up = True
        began = time.monotonic()
        while index >= self._reached + _MOST_AHEAD:
            left = self._wait_seconds - (time.monotonic() - began)
            self._moved.clear()
            if left <= 0 or (index >= self._reached + _MOST_AHEAD and not self._moved.wait(left)):
                break
        self._wait_seconds = max(0.0, self._wait_seconds - (time.monotonic() - began))

    @property
    def is_over(self) -> bool:
        """Say whether nothing more comes of it."""
        return self.left_bytes == 0


class Run:
    """Be a part of a fetch that one request brings (`s3.store.Buffers`)."""

    def __init__(self, fetch: Fetch, place: int, count: int) -> None:
        self.fetch = fetch
        self.first = fetch.first + place
        self.wanted = fetch.wanted[place : place + count]
        self.size_bytes = sum(entry.size_bytes for entry in self.wanted)
        self._place = place
        # When the buffers were asked for: the loop hears of them in bunches where there is much to do.
        self._clock = trio.lowlevel.current_clock()
        self._asked_at: list[float] = []

    def filled_at(self, index: int) -> float:
        """Return when a buffer was full, which may be a while ago."""
        return self._asked_at[index + 1] if index + 1 < len(self._asked_at) else self._clock.current_time()

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, index: int, /) -> memoryview:
        if index >= len(self._asked_at):
            self._asked_at.append(self._clock.current_time())
        return self.fetch[self._place + index]
