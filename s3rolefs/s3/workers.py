"""Run what has to wait in threads, started as needed; they answer through trio's `run_sync_soon`."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSE_SECONDS = 2.0


class Workers:
    """Keep the threads. Everything but the jobs runs on one trio loop, which never waits for a thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._token = trio.lowlevel.current_trio_token()
        self._all_ended = trio.Event()

    def put(self, job: Callable[[], Callable[[], None]]) -> None:
        """Run `job` in a thread, which must not raise, and call what it returns on the loop."""
        if self._busy == self._threads:
            threading.Thread(target=self._work, name=f"s3-worker-{self._threads + 1}", daemon=True).start()
            self._threads += 1
        self._busy += 1
        self._jobs.put(job)

    async def aclose(self) -> None:
        """End every thread; what runs in them was told to end. Never waits longer than CLOSE_SECONDS."""
        for _ in range(self._threads):
            self._jobs.put(None)
        if self._threads:
            with trio.move_on_after(CLOSE_SECONDS):
                await self._all_ended.wait()

    def _work(self) -> None:
        """Serve the queue until None comes or the loop is gone. Runs in a thread of its own."""
        try:
            while (job := self._jobs.get()) is not None:
                report = job()
                self._token.run_sync_soon(self._report, report)
                # Not kept while idle: jobs hold the caller's buffers.
                del job, report
            self._token.run_sync_soon(self._thread_ended)
        except trio.RunFinishedError:
            pass

    def _report(self, report: Callable[[], None]) -> None:
        self._busy -= 1
        report()

    def _thread_ended(self) -> None:
        self._threads -= 1
        if self._threads == 0:
            self._all_ended.set()
