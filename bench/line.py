"""Lengthen the way to a server: `python -m bench.line PORT MILLISECONDS` prints the port to use instead.

Each byte arrives half a round trip after it was sent, and a new connection is of use one round trip
later, as its handshake would make it. Any number of bytes may be on their way at once (up to
`_IN_FLIGHT_BYTES` for each connection and direction): this is latency, no limit of bandwidth.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

_PIECE_BYTES = 256 * 1024
_IN_FLIGHT_BYTES = 64 * 1024 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class _Way:
    """Carry what one end sends to the other: `pieces` with the times they arrive at, the last one empty."""

    source: socket.socket
    target: socket.socket
    not_before: float = 0.0
    pieces: deque[tuple[float, memoryview]] = field(default_factory=deque)
    held_bytes: int = 0
    reads: bool = True
    blocked: bool = False
    ended: bool = False

    def take(self, delay_seconds: float) -> None:
        """Take what the source sent."""
        piece = self.source.recv(_PIECE_BYTES)
        self.reads = bool(piece)
        self.held_bytes += len(piece)
        self.pieces.append((max(self.not_before, time.monotonic() + delay_seconds), memoryview(piece)))

    def give(self, now: float) -> None:
        """Hand on what has arrived by now, as far as the target takes it."""
        self.blocked = False
        while self.pieces and self.pieces[0][0] <= now:
            due, piece = self.pieces.popleft()
            if not piece:
                self.ended = True
                with contextlib.suppress(OSError):
                    self.target.shutdown(socket.SHUT_WR)
                return
            try:
                sent = self.target.send(piece)
            except BlockingIOError:
                sent = 0
            self.held_bytes -= sent
            if sent < len(piece):
                self.pieces.appendleft((due, piece[sent:]))
                self.blocked = True
                return


def _serve(listener: socket.socket, upstream: tuple[str, int], delay_seconds: float) -> None:
    # select() and not epoll: it waits to the microsecond, epoll only to the millisecond.
    pairs: list[tuple[_Way, _Way]] = []
    while True:
        ways = [way for pair in pairs for way in pair]
        now = time.monotonic()
        dues = [way.pieces[0][0] for way in ways if way.pieces and not way.blocked]
        readers = {way.source: way for way in ways if way.reads and way.held_bytes < _IN_FLIGHT_BYTES}
        readable, _, _ = select.select(
            [listener, *readers],
            [way.target for way in ways if way.blocked],
            [],
            max(0.0, min(dues) - now) if dues else None,
        )
        broken: set[_Way] = set()
        for source in readable:
            if source is listener:
                pairs.append(_joined(listener.accept()[0], upstream, delay_seconds))
                continue
            try:
                readers[source].take(delay_seconds)
            except OSError:
                broken.add(readers[source])
        now = time.monotonic()
        for way in ways:
            try:
                way.give(now)
            except OSError:
                broken.add(way)
        for pair in [pair for pair in pairs if broken & set(pair) or all(way.ended for way in pair)]:
            pairs.remove(pair)
            for way in pair:
                way.source.close()


def _joined(client: socket.socket, upstream: tuple[str, int], delay_seconds: float) -> tuple[_Way, _Way]:
    server = socket.create_connection(upstream)
    for end in (client, server):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    usable = time.monotonic() + 3 * delay_seconds
    return _Way(source=client, target=server, not_before=usable), _Way(source=server, target=client)


def main() -> None:
    """Serve until killed."""
    port, milliseconds = int(sys.argv[1]), float(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        _serve(listener, ("127.0.0.1", port), milliseconds / 2000)


if __name__ == "__main__":
    main()
