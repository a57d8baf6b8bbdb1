"""Share connections among attempts: each has one for itself, up to a limit, and it is kept open for the next.

A worker thread dials, and carries out what takes long or much; small exchanges on open connections
stay on the loop. Everything here runs on the loop, `_carry_out_blocking` excepted.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import outcome
import trio

from s3rolefs.s3.attempt import Answer, Attempt, AttemptCancelled, FailureKind, TransportFailure
from s3rolefs.s3.multiplexer import Call, Multiplexer, Result, is_small
from s3rolefs.s3.proxies import choose_proxy
from s3rolefs.s3.transport import Connection, NothingCameError
from s3rolefs.s3.workers import Workers

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from s3rolefs.s3.attempt import Origin


class _Waiter:
    """Stand for the task that waits for one attempt.

    `call` while the loop carries it out; `result` of what ended before the task could wait.
    """

    __slots__ = ("attempt", "call", "is_parked", "raise_cancel", "result", "task")

    def __init__(self, attempt: Attempt, task: trio.lowlevel.Task) -> None:
        self.attempt = attempt
        self.task: trio.lowlevel.Task | None = task
        self.call: Call | None = None
        self.is_parked = False
        self.result: Result | None = None
        self.raise_cancel: Callable[[], object] | None = None


class ConnectionPool:
    """Carry out attempts, up to `limit` at once; make it anywhere, use it on one trio loop."""

    def __init__(self, *, limit: int, tls: Callable[[], ssl.SSLContext], environ: Mapping[str, str]) -> None:
        """Start nothing yet; proxies come from `environ`, `tls` is asked for at the first https."""
        self._limit = limit
        self._tls = tls
        self._environ = environ
        self._queue: deque[_Waiter] = deque()
        # Cancelled ones included as long as a thread has them.
        self._under_way: set[_Waiter] = set()
        self._idle: list[Connection] = []
        self._workers: Workers | None = None
        self._multiplexer: Multiplexer | None = None
        self._closed = False
        self._is_starting = False

    async def run(self, attempt: Attempt) -> Answer:
        """Carry the attempt out; raise TransportFailure, or UserError for an unusable proxy.

        Cancelling closes the connection; it returns at once unless a thread is writing into the caller's
        buffers, and then as soon as that has noticed.
        """
        if self._closed:
            raise trio.ClosedResourceError("the store is closed")
        await trio.lowlevel.checkpoint_if_cancelled()  # before anything is sent
        waiter = _Waiter(attempt, trio.lowlevel.current_task())
        self._queue.append(waiter)
        self._start_waiting()
        if waiter.result is None:
            waiter.is_parked = True
            answer = await trio.lowlevel.wait_task_rescheduled(lambda cancel: self._abort(waiter, cancel))
        else:
            answer = waiter.result.unwrap()
        assert isinstance(answer, Answer)
        return answer

    async def aclose(self) -> None:
        """End every exchange and every thread; never waits longer than `workers.CLOSE_SECONDS`."""
        self._closed = True
        while self._queue:
            self._deliver(self._queue.popleft(), outcome.Error(AttemptCancelled()))
        for waiter in list(self._under_way):
            if waiter.call is None:
                waiter.attempt.cancel()
            else:
                self._stop(waiter.call)
                self._end(waiter, outcome.Error(AttemptCancelled()), None)
        if self._multiplexer is not None:
            self._multiplexer.close()
        for connection in self._idle:
            connection.close()
        if self._workers is not None:
            await self._workers.aclose()

    def _abort(self, waiter: _Waiter, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        waiter.raise_cancel = raise_cancel
        if waiter not in self._under_way:
            self._queue.remove(waiter)
        elif waiter.call is not None:
            self._stop(waiter.call)
            waiter.task = None
            self._end(waiter, outcome.Error(AttemptCancelled()), None)
        elif waiter.attempt.cancel():
            waiter.task = None
        else:
            # Waited for only because the buffers are in use.
            return trio.lowlevel.Abort.FAILED
        return trio.lowlevel.Abort.SUCCEEDED

    def _start_waiting(self) -> None:
        """Start what waits, as far as the limit allows."""
        if self._is_starting:
            return  # what ends at once makes room for the loop below
        self._is_starting = True
        try:
            while self._queue and len(self._under_way) < self._limit and not self._closed:
                waiter = self._queue.popleft()
                self._under_way.add(waiter)
                self._start(waiter)
        finally:
            self._is_starting = False

    def _start(self, waiter: _Waiter) -> None:
        connection = self._take_idle(waiter.attempt.origin)
        if connection is None or not is_small(waiter.attempt):
            self._put_to_work(waiter, connection, repeated=False)
            return
        try:
            if self._multiplexer is None:
                self._multiplexer = Multiplexer()
            waiter.call = Call(waiter.attempt, connection, partial(self._called, waiter))
            self._multiplexer.start(waiter.call)
        except Exception as error:
            # The request could not be made; the connection has not been touched.
            self._end(waiter, outcome.Error(error), connection)

    def _take_idle(self, origin: Origin) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.origin == origin and connection.is_usable():
                return connection
            connection.close()
        return None

    def _stop(self, call: Call) -> None:
        assert self._multiplexer is not None
        self._multiplexer.stop(call)

    def _called(self, waiter: _Waiter, call: Call, result: Result) -> None:
        """Take what the loop's exchange came to."""
        waiter.call = None
        if isinstance(result, outcome.Error) and isinstance(result.error, NothingCameError):
            # A kept connection that the server has closed meanwhile: repeated at once, on a new one.
            self._put_to_work(waiter, call.connection, repeated=result.error.sent)
        else:
            self._end(waiter, result, call.connection)

    def _put_to_work(self, waiter: _Waiter, connection: Connection | None, *, repeated: bool) -> None:
        """Let a thread carry it out."""
        if self._workers is None:
            self._workers = Workers()
        if connection is not None and self._multiplexer is not None:
            self._multiplexer.release(connection)
        try:
            self._workers.put(partial(self._carry_out_blocking, waiter, connection, repeated))
        except RuntimeError as error:
            failure = TransportFailure(FailureKind.BROKEN, f"no thread for a request: {error}", sent=repeated)
            self._end(waiter, outcome.Error(failure), connection)

    def _carry_out_blocking(
        self, waiter: _Waiter, connection: Connection | None, repeated: bool
    ) -> Callable[[], None]:
        try:
            if connection is None:
                origin = waiter.attempt.origin
                proxy = choose_proxy(origin.scheme, origin.host, origin.port, self._environ)
                connection = Connection(origin, proxy=proxy, tls=self._tls)
            answer = connection.perform_blocking(waiter.attempt, repeated=repeated)
        except BaseException as error:
            # In no variable: its traceback refers to this frame, which has the caller's buffers.
            return partial(self._end, waiter, outcome.Error(error), connection)
        return partial(self._end, waiter, outcome.Value(answer), connection)

    def _end(self, waiter: _Waiter, result: Result, connection: Connection | None) -> None:
        """Let go of what an attempt had, and of the task that waits for it."""
        self._under_way.discard(waiter)
        waiter.call = None
        if connection is not None and connection.sock is not None:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)
        self._deliver(waiter, result)
        self._start_waiting()

    def _deliver(self, waiter: _Waiter, result: Result) -> None:
        if waiter.task is None:
            return
        if waiter.raise_cancel is not None:
            # Waited for only because the buffers were in use: the request is over either way.
            result = _cancelled(waiter.raise_cancel)
        elif isinstance(result, outcome.Error) and isinstance(result.error, AttemptCancelled):
            result = outcome.Error(trio.ClosedResourceError("the store was closed"))
        if waiter.is_parked:
            trio.lowlevel.reschedule(waiter.task, result)
            waiter.task = None
        else:
            waiter.result = result


def _cancelled(raise_cancel: Callable[[], object]) -> outcome.Error:
    try:
        raise_cancel()
    except BaseException as error:
        return outcome.Error(error)
    raise AssertionError("trio's raise_cancel returned")
