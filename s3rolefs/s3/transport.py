"""Carry out one HTTP exchange on one keep-alive connection. Everything here runs in a worker thread.

http.client speaks the protocol; what is added: bodies straight into the caller's buffers, a limit
on each wait instead of one on the whole, proxies, cancelling, heads that break off noticed, and one
`TransportFailure` per failure.
"""

from __future__ import annotations

import http.client
import os
import select
from typing import TYPE_CHECKING

from s3rolefs.model import KIB, MIB
from s3rolefs.s3.attempt import Answer, Attempt, AttemptCancelled, FailureKind, Origin, TransportFailure
from s3rolefs.s3.bodies import fill_blocking
from s3rolefs.s3.dialing import dial_blocking
from s3rolefs.s3.store import FileSpan

if TYPE_CHECKING:
    import io
    import ssl
    from collections.abc import Callable, Iterator

    from s3rolefs.s3.proxies import Proxy

SLICE_BYTES = 256 * KIB
LARGEST_DOCUMENT_BYTES = 64 * MIB


class _NothingCame(Exception):
    """Report that a connection ended before any byte of the answer."""

    def __init__(self, cause: Exception, *, sent: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.sent = sent


class _HeadLines:
    """Pass on the lines of an answer's head, and raise IncompleteRead when it breaks off."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._begun = False

    def readline(self, limit: int) -> bytes:
        """Return a line; nothing at all before the first is for http.client to judge."""
        line = self._source.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit and (line or self._begun):
            raise http.client.IncompleteRead(line)
        self._begun = True
        return line

    def close(self) -> None:
        """Close what the lines come from."""
        self._source.close()


class _Response(http.client.HTTPResponse):
    """Read a head to its end: http.client takes one that breaks off for a whole one with fewer headers."""

    def begin(self) -> None:
        """Read status and headers."""
        source = self.fp
        self.fp = _HeadLines(source)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            # An answer without a body has closed it already.
            if self.fp is not None:
                self.fp = source


class Connection:
    """Keep one connection to one origin, directly or through a proxy."""

    def __init__(self, origin: Origin, *, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext]) -> None:
        self.origin = origin
        self._proxy = proxy
        self._proxied_plain = proxy is not None and origin.scheme == "http"
        self._tls = tls
        self._http: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def perform(self, attempt: Attempt) -> Answer:
        """Send the request and read the answer; raise TransportFailure or AttemptCancelled.

        A kept connection that the server has closed meanwhile is replaced and the request repeated
        at once, as long as nothing of an answer came.
        """
        repeated = False
        reused = self._still_open()
        try:
            if reused:
                try:
                    return self._talk(attempt, repeated=False)
                except _NothingCame as nothing:
                    if isinstance(nothing.cause, TimeoutError):
                        raise
                    repeated = nothing.sent
                    self.close()
            attempt.attach(None)
            self._http = dial_blocking(attempt, proxy=self._proxy, tls=self._tls)
            self._http.response_class = _Response
            return self._talk(attempt, repeated=repeated)
        except _NothingCame as nothing:
            self.close()
            raise self._explain(attempt, nothing.cause, sent=nothing.sent or repeated) from nothing
        except BaseException:
            self.close()
            raise
        finally:
            attempt.detach()

    def _still_open(self) -> bool:
        if self._http is None or self._http.sock is None:
            self.close()
            return False
        # A byte, or the end, before we asked anything: the server has given this connection up.
        poll = select.poll()
        poll.register(self._http.sock, select.POLLIN)
        if poll.poll(0):
            self.close()
            return False
        return True

    def _talk(self, attempt: Attempt, *, repeated: bool) -> Answer:
        connection = self._http
        assert connection is not None
        attempt.attach(connection.sock)
        sent = False
        try:
            self._send_head(connection, attempt)
            failure = self._send_body(connection, attempt)
            sent = failure is None
            # Even after a broken body the server's reason may be there to read.
            wait = attempt.answer_timeout_seconds if sent else min(1.0, attempt.io_timeout_seconds)
            connection.sock.settimeout(wait)
            try:
                response = connection.getresponse()
            except OSError as error:
                raise (failure or error) from error
        except (OSError, http.client.RemoteDisconnected) as error:
            # RemoteDisconnected is an OSError as well: the connection ended instead of a status line.
            raise _NothingCame(error, sent=sent) from error
        except http.client.IncompleteRead as error:
            raise self._explain(attempt, error, sent=sent) from error
        except http.client.HTTPException as error:
            message = f"{self.origin.authority} does not answer in HTTP"
            raise TransportFailure(FailureKind.BROKEN, message, sent=sent) from error
        try:
            return self._read_answer(connection, response, attempt, repeated=repeated, sent=sent)
        except (OSError, http.client.HTTPException) as error:
            raise self._explain(attempt, error, sent=sent) from error

    def _send_head(self, connection: http.client.HTTPConnection, attempt: Attempt) -> None:
        target = attempt.target
        if self._proxied_plain:
            target = f"http://{self.origin.authority}{target}"
        connection.sock.settimeout(attempt.io_timeout_seconds)
        connection.putrequest(attempt.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in attempt.make_headers().items():
            connection.putheader(name, value)
        if self._proxied_plain and self._proxy is not None and self._proxy.authorization:
            connection.putheader("proxy-authorization", self._proxy.authorization)
        connection.endheaders()

    def _send_body(self, connection: http.client.HTTPConnection, attempt: Attempt) -> OSError | None:
        try:
            for piece in body_pieces(attempt.body):
                rest = memoryview(piece)
                while rest:
                    count = connection.sock.send(rest)
                    attempt.record_sent(count)
                    rest = rest[count:]
        except OSError as error:
            return error
        return None

    def _read_answer(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        attempt: Attempt,
        *,
        repeated: bool,
        sent: bool,
    ) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        attempt.answer_headers = headers
        status = response.status
        if connection.sock is not None:
            connection.sock.settimeout(attempt.io_timeout_seconds)
        body = b""
        if attempt.into and 200 <= status < 300:
            is_enough = response.length is None or response.length >= attempt.into_bytes
            if attempt.accepts(status, headers) and is_enough:
                fill_blocking(response, connection.sock, attempt)
        else:
            # With a length, read() without limit is the one that notices a cut.
            known = response.length is not None and response.length <= LARGEST_DOCUMENT_BYTES
            body = response.read() if known else response.read(LARGEST_DOCUMENT_BYTES)
        # An answer that was not read to its end, or came before the whole body went out, leaves
        # a connection that cannot be used again.
        if not (response.isclosed() and sent):
            response.close()
            self.close()
        return Answer(
            status=status, headers=headers, body=body, filled_bytes=attempt.filled_bytes, repeated=repeated
        )

    def _explain(self, attempt: Attempt, error: Exception, *, sent: bool) -> TransportFailure:
        if attempt.cancelled:
            raise AttemptCancelled from error
        where = self.origin.authority
        if isinstance(error, TimeoutError):
            waited = attempt.answer_timeout_seconds if sent else attempt.io_timeout_seconds
            return TransportFailure(
                FailureKind.TIMEOUT, f"{where} did not answer or read for {waited:g} s", sent=sent
            )
        return TransportFailure(FailureKind.BROKEN, f"{where} broke the connection off", sent=sent)


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
