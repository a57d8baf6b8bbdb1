"""Describe one try of one HTTP request: what to send, where the answer goes, how it ended.

An `Attempt` is shared by the trio loop (which makes and may cancel it) and by the one worker
thread that carries it out. Its lock guards only `_cancelled`, `_socket` and `_filling`.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s3rolefs.s3.store import bytes_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from s3rolefs.s3.store import BlockFilled, Body, Buffers


class FailureKind(enum.Enum):
    """Say where an exchange broke; the value serves as the `code` of the StoreError it becomes."""

    DNS = "NameNotResolved"
    REFUSED = "ConnectionRefused"
    TLS = "TlsFailed"
    TIMEOUT = "TimedOut"
    BROKEN = "ConnectionBroken"
    PROXY = "ProxyRefused"
    BODY = "LocalFileUnreadable"


class TransportFailure(Exception):
    """Report that no whole answer came.

    `sent` is true when the request went out as a whole, so that it may have taken effect.
    """

    def __init__(self, kind: FailureKind, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.sent = sent


class AttemptCancelled(Exception):
    """End the worker's part of an attempt that nobody waits for any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Name a server: scheme, host and port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Return what the Host header says (the scheme's own port is left out)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold one whole HTTP answer; header names are lower-case.

    `filled_bytes` counts what went into the caller's buffers instead of `body`. `repeated` is
    true when the request had been sent whole once before, on a connection that broke.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    filled_bytes: int = 0
    repeated: bool = False


class Attempt:
    """Carry one try of a request to a worker and what became of it back."""

    __slots__ = (
        "_announce",
        "_cancelled",
        "_filling",
        "_lock",
        "_moved_at",
        "_socket",
        "accepts",
        "answer_headers",
        "answer_timeout_seconds",
        "body",
        "filled_bytes",
        "filled_count",
        "into",
        "into_bytes",
        "io_timeout_seconds",
        "make_headers",
        "method",
        "origin",
        "partial_bytes",
        "sent_bytes",
        "target",
    )

    def __init__(
        self,
        *,
        origin: Origin,
        method: str,
        target: str,
        make_headers: Callable[[], Mapping[str, str]],
        body: Body = b"",
        into: Buffers = (),
        into_bytes: int | None = None,
        announce: BlockFilled | None = None,
        accepts: Callable[[int, Mapping[str, str]], bool] = lambda _status, _headers: True,
        io_timeout_seconds: float,
        answer_timeout_seconds: float,
    ) -> None:
        """Describe a request; `make_headers` runs in the worker just before sending (it signs).

        `target` is path and query as sent. The body of a success whose status and headers
        `accepts` approves of goes into the buffers `into`, `into_bytes` in all (None: what they hold now);
        of one it does not approve of, nowhere.
        `answer_timeout_seconds` limits
        the wait for the first byte of the answer, `io_timeout_seconds` every other wait.
        `announce` is called, in the worker or on the loop, with the index of each buffer that is full.
        """
        self.origin = origin
        self.method = method
        self.target = target
        self.make_headers = make_headers
        self.body = body
        self.into = into
        self.into_bytes = bytes_in(into) if into_bytes is None else into_bytes
        self._announce = announce
        self.accepts = accepts
        self.io_timeout_seconds = io_timeout_seconds
        self.answer_timeout_seconds = answer_timeout_seconds
        self.sent_bytes = 0
        self.filled_bytes = 0
        # The same as whole buffers, and bytes of the next.
        self.filled_count = 0
        self.partial_bytes = 0
        self.answer_headers: Mapping[str, str] = {}
        self._moved_at = time.monotonic()
        self._lock = threading.Lock()
        self._cancelled = False
        self._filling = False
        self._socket: socket.socket | None = None

    # The worker's side.

    def attach(self, sock: socket.socket | None) -> None:
        """Tell which socket carries the exchange now; raise AttemptCancelled if it was cancelled."""
        with self._lock:
            self._socket = sock
            if self._cancelled:
                raise AttemptCancelled

    def begin_filling(self) -> None:
        """Announce that the buffers will be written from now on; raise AttemptCancelled if too late."""
        with self._lock:
            if self._cancelled:
                raise AttemptCancelled
            self._filling = True
        self._moved_at = time.monotonic()

    def detach(self) -> None:
        """Tell that no socket carries the exchange any more."""
        with self._lock:
            self._socket = None

    def record_sent(self, count: int) -> None:
        """Count body bytes that went out."""
        self.sent_bytes += count
        self._moved_at = time.monotonic()

    def record_filled(self, count: int) -> None:
        """Count body bytes that came into the buffers."""
        self.filled_bytes += count
        self.partial_bytes += count
        self._moved_at = time.monotonic()

    def announce_filled(self, index: int) -> None:
        """Tell whoever made the attempt that buffer `index` is full."""
        self.filled_count, self.partial_bytes = index + 1, 0
        if self._announce is not None:
            self._announce(index)

    # The loop's side.

    @property
    def cancelled(self) -> bool:
        """Say whether nobody waits for this attempt any more."""
        return self._cancelled

    def idle_seconds(self) -> float:
        """Return the time since the last body byte moved (or since the attempt was made)."""
        return time.monotonic() - self._moved_at

    def cancel(self) -> bool:
        """Shut the exchange down. Return True when the buffers are, and will stay, untouched.

        False: the worker is writing into them; it stops at once, its end has to be waited for.
        """
        with self._lock:
            self._cancelled = True
            if self._socket is not None:
                # Past SSLSocket's own shutdown, which would pull the TLS state from under the
                # worker that is using it. An OSError says that it is not connected any more.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            return not self._filling
