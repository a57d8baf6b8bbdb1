"""Run attempts on a pool of threads, each with its own keep-alive connection.

The loop puts attempts into one queue; a worker answers through trio's `run_sync_soon`. Threads start
only as they are needed, up to `limit`. Invariants, all kept on the loop: `_unanswered` counts what
was queued and not yet reported by a worker, cancelled attempts included, because those still hold
a thread; the loop never waits for a thread.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import outcome
import trio

from s3rolefs.s3.attempt import Answer, Attempt, AttemptCancelled
from s3rolefs.s3.proxies import choose_proxy
from s3rolefs.s3.transport import Connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from s3rolefs.s3.attempt import Origin

CLOSE_SECONDS = 2.0

_Result = outcome.Value[Answer] | outcome.Error


def _cancelled(raise_cancel: Callable[[], object]) -> outcome.Error:
    try:
        raise_cancel()
    except BaseException as error:
        return outcome.Error(error)
    raise AssertionError("trio's raise_cancel returned")


class _Waiter:
    """Stand for the task that waits for one attempt."""

    __slots__ = ("attempt", "raise_cancel", "task", "waiting")

    def __init__(self, attempt: Attempt, task: trio.lowlevel.Task) -> None:
        self.attempt = attempt
        self.task = task
        self.waiting = True
        self.raise_cancel: Callable[[], object] | None = None


class WorkerPool:
    """Carry out attempts in up to `limit` threads; make one on the trio loop that will use it."""

    def __init__(self, *, limit: int, tls: Callable[[], ssl.SSLContext], environ: Mapping[str, str]) -> None:
        """Start nothing yet; proxies come from `environ`, `tls` is asked for at the first https."""
        self._limit = limit
        self._tls = tls
        self._environ = environ
        self._queue: queue.SimpleQueue[_Waiter | None] = queue.SimpleQueue()
        self._threads = 0
        self._unanswered: set[_Waiter] = set()
        self._token: trio.lowlevel.TrioToken | None = None
        self._all_ended = trio.Event()
        self._closed = False

    async def run(self, attempt: Attempt) -> Answer:
        """Carry the attempt out; raise TransportFailure, or UserError for an unusable proxy.

        Cancelling shuts the connection down; it returns at once unless the caller's buffers are
        being written, and then as soon as the worker has noticed.
        """
        if self._closed:
            raise trio.ClosedResourceError("the store is closed")
        if self._token is None:
            self._token = trio.lowlevel.current_trio_token()
        waiter = _Waiter(attempt, trio.lowlevel.current_task())
        self._unanswered.add(waiter)
        if len(self._unanswered) > self._threads and self._threads < self._limit:
            self._threads += 1
            name = f"s3-worker-{self._threads}"
            threading.Thread(target=self._work, args=(self._token,), name=name, daemon=True).start()
        self._queue.put(waiter)

        def abort(raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
            if attempt.cancel():
                waiter.waiting = False
                return trio.lowlevel.Abort.SUCCEEDED
            waiter.raise_cancel = raise_cancel
            return trio.lowlevel.Abort.FAILED

        answer = await trio.lowlevel.wait_task_rescheduled(abort)
        assert isinstance(answer, Answer)
        return answer

    async def aclose(self) -> None:
        """End every exchange and every thread; never waits longer than CLOSE_SECONDS."""
        self._closed = True
        for waiter in self._unanswered:
            waiter.attempt.cancel()
        for _ in range(self._threads):
            self._queue.put(None)
        if self._threads:
            with trio.move_on_after(CLOSE_SECONDS):
                await self._all_ended.wait()

    def _deliver(self, waiter: _Waiter, result: _Result) -> None:
        self._unanswered.discard(waiter)
        if not waiter.waiting:
            return
        if waiter.raise_cancel is not None:
            # Waited for only because the buffers were in use: the request is over either way.
            result = _cancelled(waiter.raise_cancel)
        elif isinstance(result, outcome.Error) and isinstance(result.error, AttemptCancelled):
            result = outcome.Error(trio.ClosedResourceError("the store was closed"))
        trio.lowlevel.reschedule(waiter.task, result)

    def _thread_ended(self) -> None:
        self._threads -= 1
        if self._threads == 0:
            self._all_ended.set()

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        """Serve the queue until None comes or the loop is gone. Runs in a thread of its own."""
        connection: Connection | None = None
        try:
            while (waiter := self._queue.get()) is not None:
                result: _Result
                try:
                    connection = self._connection_for(waiter.attempt.origin, connection)
                    result = outcome.Value(connection.perform(waiter.attempt))
                except BaseException as error:
                    result = outcome.Error(error)
                token.run_sync_soon(self._deliver, waiter, result)
                # Not kept while idle: attempts hold the caller's buffers.
                del waiter, result
            if connection is not None:
                connection.close()
            token.run_sync_soon(self._thread_ended)
        except trio.RunFinishedError:
            if connection is not None:
                connection.close()

    def _connection_for(self, origin: Origin, kept: Connection | None) -> Connection:
        if kept is not None and kept.origin == origin:
            return kept
        if kept is not None:
            kept.close()
        proxy = choose_proxy(origin.scheme, origin.host, origin.port, self._environ)
        return Connection(origin, proxy=proxy, tls=self._tls)
