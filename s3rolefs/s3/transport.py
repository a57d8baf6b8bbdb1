"""Keep one HTTP connection: write requests, and carry an exchange out while a worker thread waits for it.

What the loop does itself with a connection is in `multiplexer.py`. Bodies go straight into the caller's
buffers; there is a limit on each wait instead of one on the whole, and one `TransportFailure` per failure.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from typing import TYPE_CHECKING

from s3rolefs.model import KIB
from s3rolefs.s3.attempt import Answer, Attempt, AttemptCancelled, FailureKind, Origin, TransportFailure
from s3rolefs.s3.dialing import dial_blocking
from s3rolefs.s3.reception import CutOffError, NotHttpError, Reception
from s3rolefs.s3.store import FileSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from s3rolefs.s3.proxies import Proxy

SLICE_BYTES = 256 * KIB
_JOINED_BYTES = 64 * KIB
_SCRATCH_BYTES = 64 * KIB
# Of a longer rest, over plain TCP, the kernel is asked for a whole buffer at once.
_LONG_BYTES = 256 * KIB
# How long the kernel waits then (struct timeval) before we look whether the limit is reached.
_LOOK = struct.pack("ll", 1, 0)


class NothingCameError(Exception):
    """Report that a connection ended before any byte of the answer; `sent`: the request was sent whole."""

    def __init__(self, cause: OSError, *, sent: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.sent = sent


class Connection:
    """Keep one connection to one origin, directly or through a proxy; one exchange at a time."""

    def __init__(self, origin: Origin, *, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext]) -> None:
        self.origin = origin
        self.sock: socket.socket | None = None
        self._proxy = proxy
        self._proxied_plain = proxy is not None and origin.scheme == "http"
        self._tls = tls
        self._poll = select.poll()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def is_usable(self) -> bool:
        """Say whether a request may be sent; a connection that the server has given up is closed."""
        # A byte, or the end, before we asked anything: the server has given this connection up.
        sock = self.sock
        if sock is not None and (self._poll.poll(0) or (isinstance(sock, ssl.SSLSocket) and sock.pending())):
            self.close()
        return self.sock is not None

    def head(self, attempt: Attempt) -> bytes:
        """Return the request line and the headers, signed now."""
        target = attempt.target
        headers = attempt.make_headers()
        if self._proxied_plain:
            target = f"http://{self.origin.authority}{target}"
            if self._proxy is not None and self._proxy.authorization:
                headers = {**headers, "proxy-authorization": self._proxy.authorization}
        lines = [f"{attempt.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("a header with a line break cannot be sent")
        return text.encode("latin-1") + b"\r\n\r\n"

    def perform_blocking(self, attempt: Attempt, *, repeated: bool) -> Answer:
        """Send the request and read the answer; raise TransportFailure or AttemptCancelled.

        A kept connection that the server has closed meanwhile is replaced and the request repeated
        at once, as long as nothing of an answer came. `repeated`: that happened before.
        """
        try:
            if self.sock is not None:  # looked at by whoever handed it over
                try:
                    return self._talk(attempt, repeated=repeated)
                except NothingCameError as nothing:
                    if isinstance(nothing.cause, TimeoutError):
                        raise
                    repeated = repeated or nothing.sent
                    self.close()
            attempt.attach(None)
            self.sock = dial_blocking(attempt, proxy=self._proxy, tls=self._tls)
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)
            return self._talk(attempt, repeated=repeated)
        except NothingCameError as nothing:
            self.close()
            raise self.explain(attempt, nothing.cause, sent=nothing.sent or repeated) from nothing
        except TransportFailure as failure:
            self.close()
            failure.sent = failure.sent or repeated
            raise
        except BaseException:
            self.close()
            raise
        finally:
            attempt.detach()

    def explain(self, attempt: Attempt, error: Exception, *, sent: bool) -> TransportFailure:
        """Return what an error of the socket or of the answer means; raise AttemptCancelled if it was us."""
        if attempt.cancelled:
            raise AttemptCancelled from error
        where = self.origin.authority
        if isinstance(error, NotHttpError):
            return TransportFailure(FailureKind.BROKEN, f"{where} does not answer in HTTP", sent=sent)
        if isinstance(error, TimeoutError):
            waited = attempt.answer_timeout_seconds if sent else attempt.io_timeout_seconds
            return TransportFailure(
                FailureKind.TIMEOUT, f"{where} did not answer or read for {waited:g} s", sent=sent
            )
        return TransportFailure(FailureKind.BROKEN, f"{where} broke the connection off", sent=sent)

    def _talk(self, attempt: Attempt, *, repeated: bool) -> Answer:
        sock = self.sock
        assert sock is not None
        attempt.attach(sock)
        reception = Reception(attempt)
        failure = self._send(sock, attempt)
        sent = failure is None
        # Even after a broken body the server's reason may be there to read.
        wait = attempt.answer_timeout_seconds if sent else min(1.0, attempt.io_timeout_seconds)
        try:
            _Receiver(sock, attempt, reception, wait).receive_blocking()
        except OSError as error:
            if not reception.began:
                raise NothingCameError(failure or error, sent=sent) from error
            raise self.explain(attempt, error, sent=sent) from error
        except (NotHttpError, CutOffError) as error:
            raise self.explain(attempt, error, sent=sent) from error
        finally:
            reception.close()
        # An answer that came before the whole body went out leaves a connection that cannot be used again.
        if not (sent and reception.is_reusable):
            self.close()
        return reception.answer(repeated=repeated)

    def _send(self, sock: socket.socket, attempt: Attempt) -> OSError | None:
        """Send head and body; return why the body broke off."""
        head, joined = self.head(attempt), joined_body(attempt)
        sock.settimeout(attempt.io_timeout_seconds)
        try:
            sock.sendall(head + (joined or b""))
            attempt.record_sent(len(joined or b""))
            for piece in body_pieces(b"" if joined is not None else attempt.body):
                rest = memoryview(piece)
                while rest:
                    count = sock.send(rest)
                    attempt.record_sent(count)
                    rest = rest[count:]
        except OSError as error:
            return error
        return None


class _Receiver:
    """Receive one answer in a thread that waits for it: `wait_seconds` for its start."""

    def __init__(
        self, sock: socket.socket, attempt: Attempt, reception: Reception, wait_seconds: float
    ) -> None:
        self._sock = sock
        self._attempt = attempt
        self._reception = reception
        self._kernel_waits = False
        sock.settimeout(wait_seconds)

    def receive_blocking(self) -> None:
        """Return when the answer is whole; OSError, NotHttpError, CutOffError, or AttemptCancelled."""
        scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._reception.take_with(self._receive, scratch)
        self._sock.settimeout(self._attempt.io_timeout_seconds)
        while not self._reception.is_whole:
            self._reception.take_with(self._receive, scratch)
        self._wait_ourselves()

    def _receive(self, into: memoryview) -> int:
        if len(into) < _LONG_BYTES or isinstance(self._sock, ssl.SSLSocket):
            self._wait_ourselves()
            return self._sock.recv_into(into)
        if not self._kernel_waits:
            self._kernel_waits = True
            self._sock.settimeout(None)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LOOK)
        while True:
            try:
                # The whole buffer, or less at the end of the connection and where the line is slow.
                return self._sock.recv_into(into, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                if self._attempt.idle_seconds() >= self._attempt.io_timeout_seconds:
                    raise TimeoutError from None

    def _wait_ourselves(self) -> None:
        if self._kernel_waits:
            self._kernel_waits = False
            self._sock.settimeout(self._attempt.io_timeout_seconds)


def joined_body(attempt: Attempt) -> bytes | memoryview | None:
    """Return a body that is small enough to go out in one packet with its head; None: it is not."""
    body = attempt.body
    return body if not isinstance(body, FileSpan) and len(body) <= _JOINED_BYTES else None


def body_pieces(body: bytes | memoryview | FileSpan) -> Iterator[bytes | memoryview]:
    """Yield a body in pieces; a file's bytes are read into one buffer used again each time.

    Raise TransportFailure when the file cannot be read or is shorter than its span.
    """
    if not isinstance(body, FileSpan):
        if len(body):
            yield body
        return
    buffer = memoryview(bytearray(min(SLICE_BYTES, body.length)))
    position = body.offset
    end = body.offset + body.length
    while position < end:
        try:
            count = os.preadv(body.fd, [buffer[: min(SLICE_BYTES, end - position)]], position)
        except OSError as error:
            message = f"the local file cannot be read: {error.strerror}"
            raise TransportFailure(FailureKind.BODY, message) from error
        if count == 0:
            message = "the local file is shorter than the part that was to be sent"
            raise TransportFailure(FailureKind.BODY, message)
        yield buffer[:count]
        position += count
