"""Carry small exchanges out on the trio loop itself: many connections, one epoll, no thread.

Handing a request to a thread and its answer back costs more than a small request: two switches, and the
interpreter's lock each time. So what a worker has dialled serves small exchanges here afterwards. One task of
trio waits for the epoll; what is ready is read in one go.
"""

from __future__ import annotations

import math
import select
import ssl
from typing import TYPE_CHECKING

import outcome
import trio

from s3rolefs.model import KIB
from s3rolefs.s3.attempt import Answer
from s3rolefs.s3.reception import CutOffError, NotHttpError, Reception
from s3rolefs.s3.transport import NothingCameError, joined_body

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from s3rolefs.s3.attempt import Attempt
    from s3rolefs.s3.transport import Connection

Result = outcome.Value[Answer] | outcome.Error
# To receive more than this is worth a thread.
_SMALL_BYTES = 256 * KIB
_SCRATCH_BYTES = 256 * KIB
# How long the reason of a server that takes no more of a request is waited for.
_REASON_SECONDS = 1.0
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def is_small(attempt: Attempt) -> bool:
    """Say whether an attempt is one for the loop: it sends little, out of memory, and receives little."""
    return attempt.into_bytes <= _SMALL_BYTES and joined_body(attempt) is not None


class Call:
    """Follow one exchange; `ended` gets its outcome. NothingCameError: it may be repeated elsewhere."""

    __slots__ = ("attempt", "connection", "deadline", "ended", "reception", "unsent")

    def __init__(
        self, attempt: Attempt, connection: Connection, ended: Callable[[Call, Result], None]
    ) -> None:
        self.attempt = attempt
        self.connection = connection
        self.ended = ended
        self.reception = Reception(attempt)
        self.unsent = memoryview(b"")
        self.deadline = math.inf


class Multiplexer:
    """Carry out exchanges on connections that are open; belongs to the trio loop on which it is made."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # By descriptor: what is under way, and for what epoll watches which socket.
        self._calls: dict[int, Call] = {}
        self._watched: dict[int, tuple[socket.socket, int]] = {}
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._wait = trio.CancelScope()
        self._running = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._serve)

    def start(self, call: Call) -> None:
        """Send a request; how it ends is told later, never from inside this."""
        sock = call.connection.sock
        assert sock is not None
        body = joined_body(call.attempt) or b""
        call.unsent = memoryview(call.connection.head(call.attempt) + body)
        if sock.gettimeout() != 0.0:  # a thread had it before
            sock.setblocking(False)
        self._calls[sock.fileno()] = call
        try:
            self._send(call, sock)
        except BaseException:
            self.stop(call)
            raise

    def stop(self, call: Call) -> None:
        """Give an exchange up, and its connection with it; nothing is told of it any more."""
        self._forget(call)
        call.connection.close()

    def release(self, connection: Connection) -> None:
        """Leave an idle connection to somebody else."""
        sock = connection.sock
        if sock is not None and self._watched.get(sock.fileno(), (None,))[0] is sock:
            del self._watched[sock.fileno()]
            self._epoll.unregister(sock)

    def close(self) -> None:
        """Serve nobody any more; what is under way was stopped."""
        self._running.cancel()

    async def _serve(self) -> None:
        try:
            with self._running:
                while True:
                    deadline = min((call.deadline for call in self._calls.values()), default=math.inf)
                    # When it is reached the calls that have ended since are found to have had no need of it.
                    with trio.CancelScope(deadline=deadline) as self._wait:
                        while True:
                            await trio.lowlevel.wait_readable(self._epoll)
                            for descriptor, events in self._epoll.poll(0):
                                self._serve_one(descriptor, events)
                    self._end_overdue()
        finally:
            self._epoll.close()

    def _serve_one(self, descriptor: int, events: int) -> None:
        call = self._calls.get(descriptor)
        if call is None:
            # Idle: the server has given the connection up. Whoever takes it sees that, or did just now.
            idle, _ = self._watched.pop(descriptor, (None, 0))
            if idle is not None and idle.fileno() == descriptor:
                self._epoll.unregister(idle)
            return
        sock = call.connection.sock
        assert sock is not None
        try:
            if events & select.EPOLLOUT:
                self._send(call, sock)
            self._receive(call, sock)
        except _NOT_NOW:
            return
        except OSError as error:
            if call.reception.began:
                self._fail(call, error)
            else:
                self._end(call, outcome.Error(NothingCameError(error, sent=not call.unsent)))
        except (NotHttpError, CutOffError) as error:
            self._fail(call, error)
        except Exception as error:
            # From the caller's own functions.
            self._end(call, outcome.Error(error))
        else:
            self._end(call, outcome.Value(call.reception.answer(repeated=False)))

    def _send(self, call: Call, sock: socket.socket) -> None:
        try:
            while call.unsent:
                call.unsent = call.unsent[sock.send(call.unsent) :]
        except _NOT_NOW:
            self._limit_wait(call, call.attempt.io_timeout_seconds)
            self._watch(sock, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            # The server's reason may be there to read, or the end of the connection.
            self._limit_wait(call, min(_REASON_SECONDS, call.attempt.io_timeout_seconds))
        else:
            call.attempt.record_sent(len(joined_body(call.attempt) or b""))
            self._limit_wait(call, call.attempt.answer_timeout_seconds)
        self._watch(sock, select.EPOLLIN)

    def _receive(self, call: Call, sock: socket.socket) -> None:
        """Receive what there is; return when the answer is whole."""
        reception = call.reception
        while not reception.is_whole:
            reception.take_with(sock.recv_into, self._scratch)
            if not reception.is_whole:
                self._limit_wait(call, call.attempt.io_timeout_seconds)

    def _watch(self, sock: socket.socket, events: int) -> None:
        """Let epoll report these events of a socket."""
        known, watched = self._watched.get(sock.fileno(), (None, 0))
        if known is not sock:  # the descriptor of one that was closed is given out again
            self._epoll.register(sock, events)
        elif watched != events:
            self._epoll.modify(sock, events)
        else:
            return
        self._watched[sock.fileno()] = (sock, events)

    def _limit_wait(self, call: Call, seconds: float) -> None:
        call.deadline = trio.current_time() + seconds
        if call.deadline < self._wait.deadline:
            self._wait.deadline = call.deadline

    def _end_overdue(self) -> None:
        now = trio.current_time()
        for call in [call for call in self._calls.values() if now >= call.deadline]:
            self._fail(call, TimeoutError())

    def _fail(self, call: Call, error: Exception) -> None:
        failure = call.connection.explain(call.attempt, error, sent=not call.unsent)
        failure.__cause__ = error
        self._end(call, outcome.Error(failure))

    def _end(self, call: Call, result: Result) -> None:
        if call.connection.sock is None:
            return  # stopped by what the caller's own functions did
        self._forget(call)
        is_whole = isinstance(result, outcome.Value) and not call.unsent
        if not (is_whole and call.reception.is_reusable):
            call.connection.close()
        call.ended(call, result)

    def _forget(self, call: Call) -> None:
        sock = call.connection.sock
        assert sock is not None
        del self._calls[sock.fileno()]
        call.reception.close()
