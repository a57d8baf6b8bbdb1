"""Serve HTTP by a script: one step per request, each free to misbehave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl

WAIT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request as it came; `connection` counts accepted connections from 1."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    body: bytes = field(repr=False)


Step = Callable[[Received, socket.socket], bool]
"""Answers one request; true keeps the connection open."""


class ScriptedServer:
    """Answer the requests on loopback by the steps in order, the last one for ever."""

    def __init__(
        self, *steps: Step, tls: ssl.SSLContext | None = None, reads_body: bool = True, greeting: bytes = b""
    ) -> None:
        self.requests: list[Received] = []
        self.closed_by_peer = threading.Event()
        self.ending = threading.Event()
        self._steps = list(steps)
        self._tls = tls
        self._reads_body = reads_body
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._connections)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.ending.set()
        # Wakes accept(), which closing alone would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection, len(self._connections))

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(WAIT_SECONDS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            connection.sendall(self._greeting)
            if self._tls is not None:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            reader = stack.enter_context(connection.makefile("rb"))
            while (received := self._read(reader, number)) is not None:
                with self._lock:
                    self.requests.append(received)
                    step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
                if not step(received, connection):
                    return
            self.closed_by_peer.set()

    def _read(self, reader, number: int) -> Received | None:
        line = reader.readline()
        if not line:
            return None
        method, _, rest = line.decode("latin-1").partition(" ")
        target = rest.partition(" ")[0]
        headers = {}
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0")) if self._reads_body else 0
        return Received(
            method=method, target=target, headers=headers, connection=number, body=reader.read(length)
        )


def answer(status: int, body: bytes = b"", **headers: str) -> Step:
    """Answer properly; underscores in header names stand for hyphens."""

    def step(received: Received, connection: socket.socket) -> bool:
        connection.sendall(head(status, {"content-length": str(len(body)), **_named(headers)}))
        if received.method != "HEAD":
            connection.sendall(body)
        return True

    return step


def head_of(size: int, etag: str, **headers: str) -> Step:
    """Answer a HEAD about an object."""

    def step(_received: Received, connection: socket.socket) -> bool:
        names = {"content-length": str(size), "etag": f'"{etag}"', **_named(headers)}
        connection.sendall(head(200, names))
        return True

    return step


def error(status: int, code: str, **headers: str) -> Step:
    """Answer with S3's error document."""
    return answer(status, error_document(code), **headers)


def error_document(code: str, extra: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>because</Message>{extra}</Error>".encode()


def slam(_received: Received, connection: socket.socket) -> bool:
    """Reset the connection without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang_up(_received: Received, _connection: socket.socket) -> bool:
    """Close the connection without an answer."""
    return False


def stall(_received: Received, connection: socket.socket) -> bool:
    """Say nothing until the other side hangs up."""
    connection.recv(1)
    return False


def raw(data: bytes, *, keep: bool = False) -> Step:
    """Send these bytes, whatever they are."""

    def step(_received: Received, connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return step


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode()


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
