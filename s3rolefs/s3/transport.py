"""Carry out one HTTP exchange on one keep-alive connection. Everything here runs in a worker thread.

http.client reads bodies (chunks, lengths); heads are ours, both ways. What else is added: bodies
straight into the caller's buffers, a limit on each wait instead of one on the whole, proxies,
cancelling, and one `TransportFailure` per failure.
"""

from __future__ import annotations

import http.client
import os
import select
from typing import TYPE_CHECKING, cast

from s3rolefs.model import KIB, MIB
from s3rolefs.s3.attempt import Answer, Attempt, AttemptCancelled, FailureKind, Origin, TransportFailure
from s3rolefs.s3.bodies import fill_blocking
from s3rolefs.s3.dialing import dial_blocking
from s3rolefs.s3.store import FileSpan

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator

    from s3rolefs.s3.proxies import Proxy

SLICE_BYTES = 256 * KIB
_JOINED_BYTES = 64 * KIB
# As http.client has them.
_LONGEST_LINE_BYTES = 65_537
_MOST_HEADERS = 100
_CONTINUE = 100
_WITHOUT_BODY = (204, 304)
LARGEST_DOCUMENT_BYTES = 64 * MIB


class _NothingCame(Exception):
    """Report that a connection ended before any byte of the answer."""

    def __init__(self, cause: Exception, *, sent: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.sent = sent


class _Response(http.client.HTTPResponse):
    """Read the head of an answer to its end, into a dict of lower-case names; http.client does the body.

    http.client parses heads as those of mails, which takes longer than all the rest of a small
    answer, and takes one that breaks off for a whole one with fewer headers.
    """

    def __init__(self, sock: socket.socket, method: str) -> None:
        super().__init__(sock, method=method)
        self._asked = method
        self.head: dict[str, str] = {}

    def begin(self) -> None:
        """Read status and headers; raise IncompleteRead when they break off."""
        version, status = "", _CONTINUE
        while status == _CONTINUE:
            version, status = self._read_status_line()
            self.head = self._read_head()
        # What http.client needs of it to read a body (its `begin`, but for the parsing).
        self.code = self.status = status
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.msg = cast("http.client.HTTPMessage", self.head)
        self.chunked = self.head.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        length = self.head.get("content-length", "")
        self.length = int(length) if length.isdecimal() and not self.chunked else None
        if self._asked == "HEAD" or status in _WITHOUT_BODY:
            self.length = 0
        connection = self.head.get("connection", "").lower()
        stays = "keep-alive" in connection if self.version == 10 else "close" not in connection
        # Without a length the end of the connection is the end of the body.
        self.will_close = not stays or (not self.chunked and self.length is None)
        if self.length == 0:
            self.close()

    def _read_status_line(self) -> tuple[str, int]:
        line = self.fp.readline(_LONGEST_LINE_BYTES)
        if not line:
            raise http.client.RemoteDisconnected("the connection ended instead of an answer")
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(line)
        version, status, *_ = (*line.decode("latin-1").split(None, 2), "", "")
        if not (version.startswith("HTTP/1.") and status.isdecimal() and len(status) == 3):
            raise http.client.BadStatusLine(line.decode("latin-1"))
        return version, int(status)

    def _read_head(self) -> dict[str, str]:
        head: dict[str, str] = {}
        name = ""
        for _ in range(_MOST_HEADERS):
            line = self.fp.readline(_LONGEST_LINE_BYTES)
            if not line.endswith(b"\n"):
                if len(line) < _LONGEST_LINE_BYTES:
                    raise http.client.IncompleteRead(line)
                raise http.client.LineTooLong("header line")
            text = line.decode("latin-1").rstrip("\r\n")
            if not text:
                return head
            if text[0] in " \t":  # goes on with the line before (RFC 9112, 5.2)
                head[name] = f"{head.get(name, '')} {text.strip()}"
                continue
            name, _, value = text.partition(":")
            name, value = name.lower(), value.strip()
            head[name] = f"{head[name]}, {value}" if name in head else value
        raise http.client.HTTPException("the head of the answer does not end")


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
            failure = self._send(connection.sock, attempt)
            sent = failure is None
            # Even after a broken body the server's reason may be there to read.
            wait = attempt.answer_timeout_seconds if sent else min(1.0, attempt.io_timeout_seconds)
            connection.sock.settimeout(wait)
            response = _Response(connection.sock, attempt.method)
            try:
                response.begin()
            except OSError as error:
                response.close()
                raise (failure or error) from error
            except BaseException:
                response.close()
                raise
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
        finally:
            # It keeps the socket open as long as it is.
            response.close()

    def _send(self, sock: socket.socket, attempt: Attempt) -> OSError | None:
        """Send head and body, a small body in one packet with the head; return why the body broke off."""
        head = self._head(attempt)
        sock.settimeout(attempt.io_timeout_seconds)
        body = attempt.body
        if not isinstance(body, FileSpan) and len(body) <= _JOINED_BYTES:
            head, body, joined_bytes = head + body, b"", len(body)
        else:
            joined_bytes = 0
        try:
            sock.sendall(head)
            attempt.record_sent(joined_bytes)
            for piece in body_pieces(body):
                rest = memoryview(piece)
                while rest:
                    count = sock.send(rest)
                    attempt.record_sent(count)
                    rest = rest[count:]
        except OSError as error:
            return error
        return None

    def _head(self, attempt: Attempt) -> bytes:
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

    def _read_answer(
        self,
        connection: http.client.HTTPConnection,
        response: _Response,
        attempt: Attempt,
        *,
        repeated: bool,
        sent: bool,
    ) -> Answer:
        headers = attempt.answer_headers = response.head
        status = response.status
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
        if not (response.isclosed() and sent) or response.will_close:
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
