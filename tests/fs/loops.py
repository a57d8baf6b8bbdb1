"""Drive a trio loop from a synchronous test, one coroutine after the other."""

from __future__ import annotations

import math
import queue
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT_SECONDS = 20


class Loop:
    """Run a trio loop (as a guest of this thread) that stands still between two calls of `run`.

    Time jumps to the next deadline whenever nothing else happens.
    """

    def __init__(self) -> None:
        self._ready: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._outcome: Any = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._send, self._receive = trio.open_memory_channel[Any](math.inf)
        trio.lowlevel.start_guest_run(
            self._serve,
            run_sync_soon_threadsafe=self._ready.put,
            done_callback=self._end,
            clock=trio.testing.MockClock(autojump_threshold=0),
            host_uses_signal_set_wakeup_fd=True,
        )
        self._pump(lambda: self._token)

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Return what a coroutine returns, or raise what it raises."""
        done: list[tuple[Any, Exception | None]] = []
        self._token.run_sync_soon(self._send.send_nowait, (work, done))
        self._pump(lambda: done)
        value, error = done[0]
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """End the loop; what is left running in it is a failure."""
        self._token.run_sync_soon(self._send.close)
        self._pump(lambda: self._outcome)
        self._outcome.unwrap()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async for work, done in self._receive:
            try:
                done.append((await work(), None))
            except Exception as error:
                done.append((None, error))

    def _end(self, outcome: Any) -> None:
        self._outcome = outcome

    def _pump(self, until: Callable[[], object]) -> None:
        while not until():
            self._ready.get(timeout=LIMIT_SECONDS)()
