"""Take in one HTTP answer as its bytes come, whoever receives them: a thread that waits, or the loop.

No I/O happens here. httptools (llhttp, the parser of Node.js) reads heads and chunks; a body of known length
that is to fill the caller's buffers is received past it, straight into them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from s3rolefs.model import KIB, MIB
from s3rolefs.s3.attempt import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3rolefs.s3.attempt import Attempt

LARGEST_DOCUMENT_BYTES = 64 * MIB
_LONGEST_HEAD_BYTES = 256 * KIB
_FINAL = 200
_SUCCESSES = range(200, 300)
_WITHOUT_BODY = (204, 304)


class NotHttpError(Exception):
    """Say that what came is no answer in HTTP."""


class CutOffError(Exception):
    """Say that an answer ended before it was whole."""


class Reception:
    """Hold what has come of the answer to an attempt.

    `began` once a byte has come, `is_whole` when nothing more is wanted, `is_reusable`: another request may
    follow on the same connection.
    """

    __slots__ = (
        "_attempt",
        "_body",
        "_fills",
        "_head_bytes",
        "_index",
        "_into_left",
        "_length",
        "_parser",
        "_room",
        "began",
        "headers",
        "is_reusable",
        "is_whole",
        "status",
    )

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._parser = httptools.HttpResponseParser(self)
        # Headers of more than one line, and characters that metadata should not hold.
        self._parser.set_dangerous_leniencies(lenient_headers=True)
        self._head_bytes = 0
        self._body = bytearray()
        # Of a body that goes into the caller's buffers: how much is to come, and what takes the next bytes.
        self._fills = False
        self._into_left = 0
        self._index = 0
        self._room: memoryview | None = None
        self._length: int | None = None
        self.began = False
        self.is_whole = False
        self.is_reusable = False
        self.status = 0
        self.headers: dict[str, str] = {}

    def feed(self, data: memoryview) -> None:
        """Take bytes in; raise NotHttpError, CutOffError, or AttemptCancelled before any buffer is filled."""
        self.began = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise NotHttpError("the server changes the protocol") from error
        except httptools.HttpParserCallbackError as error:
            # What one of the methods below raised.
            raise (error.__context__ or error) from None
        except httptools.HttpParserError as error:
            if self.is_whole:
                self.is_reusable = False
                return
            raise (CutOffError if self.status else NotHttpError)(str(error)) from error
        if not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > _LONGEST_HEAD_BYTES:
                raise NotHttpError("the head of the answer does not end")

    def take_with(self, receive: Callable[[memoryview], int], scratch: memoryview) -> None:
        """Take in what `receive` puts into the memory that it is given (0: the connection ended).

        That is `scratch`, or the buffer whose turn it is. What `receive` raises passes; ConnectionResetError
        when the end came before any byte, otherwise as `feed` and `end`.
        """
        fills_directly = self._fills and self._length is not None
        room = self._next_room()[: self._into_left] if fills_directly else scratch
        count = receive(room)
        if count == 0:
            if not self.began:
                raise ConnectionResetError("the connection ended instead of an answer")
            self.end()
        elif fills_directly:
            self._take(count)
        else:
            self.feed(scratch[:count])

    def end(self) -> None:
        """Take note that the connection ended; raise CutOffError when that was too early."""
        until_end = self.status and self._length is None and not self._is_chunked
        if not until_end or (self._fills and self._into_left):
            raise CutOffError
        self.is_whole = True

    def close(self) -> None:
        """Let go of the parser, which holds this in turn."""
        del self._parser

    def answer(self, *, repeated: bool) -> Answer:
        """Return the whole answer."""
        return Answer(
            status=self.status,
            headers=self.headers,
            body=bytes(self._body),
            filled_bytes=self._attempt.filled_bytes,
            repeated=repeated,
        )

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, with those of the same name."""
        if self.status:  # a trailer, or what comes after the answer
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Decide where the body goes."""
        if self.is_whole:
            self.is_reusable = False
            return
        status = self._parser.get_status_code()
        if status < _FINAL:
            self.headers.clear()
            return
        self.status = status
        attempt, headers = self._attempt, self.headers
        attempt.answer_headers = headers
        length = headers.get("content-length", "")
        if length.isdecimal() and not self._is_chunked:
            self._length = int(length)
        if attempt.method == "HEAD" or status in _WITHOUT_BODY:
            self._length = 0
        connection = headers.get("connection", "").lower()
        old = self._parser.get_http_version() == "1.0"
        stays = "keep-alive" in connection if old else "close" not in connection
        # Without a length the end of the connection is the end of the body.
        self.is_reusable = stays and (self._is_chunked or self._length is not None)
        if self._length == 0:
            self.is_whole = True
        elif attempt.into and status in _SUCCESSES:
            is_enough = self._length is None or self._length >= attempt.into_bytes
            if attempt.accepts(status, headers) and is_enough:
                attempt.begin_filling()
                self._fills = True
                self._into_left = attempt.into_bytes
            else:
                self.is_whole, self.is_reusable = True, False

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body that came through the parser."""
        if self.is_whole:
            self.is_reusable = False
        elif self._fills:
            rest = memoryview(data)
            while rest and self._into_left:
                room = self._next_room()[: min(len(rest), self._into_left)]
                room[:] = rest[: len(room)]
                rest = rest[len(room) :]
                self._take(len(room))
        else:
            self._body += data
            if len(self._body) > LARGEST_DOCUMENT_BYTES:
                self.is_whole, self.is_reusable = True, False

    def on_message_complete(self) -> None:
        """See whether all came that was wanted."""
        if self.status and not self.is_whole:
            if self._into_left:
                raise CutOffError
            self.is_whole = True

    @property
    def _is_chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    def _next_room(self) -> memoryview:
        """Return the rest of the buffer whose turn it is; one is asked for when the one before is full."""
        if self._room is None:
            self._room = self._attempt.into[self._index]
        return self._room

    def _take(self, count: int) -> None:
        """Count bytes that are in the buffer whose turn it is."""
        assert self._room is not None
        self._attempt.record_filled(count)
        self._into_left -= count
        self._room = self._room[count:]
        if not self._room:
            self._room = None
            self._attempt.announce_filled(self._index)
            self._index += 1
        if not self._into_left:
            self.is_whole = True
            self.is_reusable = self.is_reusable and self._length == self._attempt.into_bytes
