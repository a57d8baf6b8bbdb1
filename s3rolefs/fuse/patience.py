"""Wait for the kernel's next request with a little patience before falling asleep.

A program that goes through files asks again as soon as it is answered: falling asleep in epoll and
being woken takes longer than that. So the descriptor is polled for a moment when requests come quickly,
and never while they do not. pyfuse3 3.5 finds what it waits with under the name `trio` in its own
module (`_wait_fuse_readable` in its internal.pxi; its asyncio.py takes that name's place, too).
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

import pyfuse3
import trio

if TYPE_CHECKING:
    from s3rolefs.fuse.handshake import Handshake

# What a program needs from one small file to the next; a longer wait is better slept through.
POLL_SECONDS = 60e-6
# Requests come quickly while none was waited for longer than this.
QUICK_SECONDS = 4 * POLL_SECONDS
# So many requests are answered before all other tasks get their turn.
REQUESTS_IN_A_ROW = 16


class Turn:
    """Let one task at a time wait for a request: trio's Lock, but that who has it may have it again at once.

    A task that answers a request without waiting for anything goes on with the next one; as soon as it waits,
    another takes its place. Handing the lock over for each request would cost a round of the scheduler.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._taken:
            await self._waiting.park()
        self._taken = True

    async def __aexit__(self, *_: object) -> None:
        self._taken = False
        if self._waiting:  # mostly the one that was called the last time has not had its turn yet
            self._waiting.unpark()


class Lowlevel:
    """Stand for `trio.lowlevel`, and poll a descriptor before waiting for it as that does."""

    def __init__(self, handshake: Handshake | None = None) -> None:
        self._handshake = handshake
        self._poll = select.poll()
        self._polled = -1
        self._in_a_row = 0
        self._quick = False

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)

    async def wait_readable(self, descriptor: int) -> None:
        """Return when there is something to read; other tasks run meanwhile, or after some requests."""
        if self._handshake is not None:
            if not self._handshake.has_begun:
                await trio.lowlevel.wait_readable(descriptor)
                self._handshake.begin(descriptor)
                return
            if self._handshake.finish():
                self._handshake = None
        if descriptor != self._polled:
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
            self._polled = descriptor
        if self._in_a_row >= REQUESTS_IN_A_ROW:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
        began = now = time.perf_counter()
        while self._quick and now - began < POLL_SECONDS:
            if self._poll.poll(0):
                self._in_a_row += 1
                return
            now = time.perf_counter()
        self._in_a_row = 0
        await trio.lowlevel.wait_readable(descriptor)
        self._quick = time.perf_counter() - began < QUICK_SECONDS


class Trio:
    """Stand for the module `trio`."""

    Lock = Turn

    def __init__(self, handshake: Handshake) -> None:
        self.lowlevel = Lowlevel(handshake)

    def __getattr__(self, name: str) -> Any:
        return getattr(trio, name)


def wait_with_patience(handshake: Handshake) -> None:
    """Let pyfuse3 wait in this way, after the handshake."""
    pyfuse3.trio = Trio(handshake)  # type: ignore[attr-defined]
