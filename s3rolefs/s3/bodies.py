"""Receive a body into the caller's buffers, a long one past http.client. Runs in a worker thread.

http.client takes a body in many small steps, each with a wait of its own and the interpreter's lock. Of a
long one over plain TCP the kernel is asked for a whole buffer at once instead.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
from typing import TYPE_CHECKING

from s3rolefs.model import KIB

if TYPE_CHECKING:
    from s3rolefs.s3.attempt import Attempt

_STEP_BYTES = 256 * KIB
_LONG_BYTES = 256 * KIB
# What http.client reads itself, so that it sees the end of the body.
_END_BYTES = 4 * KIB
# How long the kernel waits (struct timeval) before we look whether the limit is reached.
_LOOK = struct.pack("ll", 1, 0)


def fill_blocking(response: http.client.HTTPResponse, sock: socket.socket | None, attempt: Attempt) -> None:
    """Fill an attempt's buffers; TimeoutError, OSError or IncompleteRead when the body breaks off.

    `sock` is None when the answer ends with its connection (http.client then keeps that to itself).
    """
    attempt.begin_filling()
    left = attempt.into_bytes
    plain = sock if response.length is not None and not isinstance(sock, ssl.SSLSocket) else None
    is_long = left >= _LONG_BYTES
    # What came with the head lies in http.client's buffer.
    read_along = len(response.fp.peek(1)) if plain is not None and is_long else 0
    direct = False
    for index in range(len(attempt.into)):
        buffer = attempt.into[index]
        start = 0
        while start < len(buffer):
            if plain is not None and is_long and not read_along and left > _END_BYTES:
                if not direct:
                    direct = True
                    plain.settimeout(None)
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LOOK)
                count = _receive(plain, buffer[start : start + left - _END_BYTES], attempt)
                assert response.length is not None
                response.length -= count
            else:
                if plain is not None and direct:
                    direct = False
                    plain.settimeout(attempt.io_timeout_seconds)
                count = response.readinto(buffer[start : start + (read_along or _STEP_BYTES)])
                read_along = max(0, read_along - count)
            if count == 0:
                raise http.client.IncompleteRead(b"")
            attempt.record_filled(count)
            start += count
            left -= count
        attempt.announce_filled(index)


def _receive(sock: socket.socket, into: memoryview, attempt: Attempt) -> int:
    """Fill a buffer, or less at the end of the connection and where the line is slow."""
    while True:
        try:
            return sock.recv_into(into, 0, socket.MSG_WAITALL)
        except BlockingIOError:
            if attempt.idle_seconds() >= attempt.io_timeout_seconds:
                raise TimeoutError from None
