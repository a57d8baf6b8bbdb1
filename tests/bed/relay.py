"""Stand between a mount and its server: count the requests, and make the network bad.

HTTP/1.1 as S3 clients speak it (keep-alive, Content-Length, no pipelining). Only the heads of
requests are looked at, and the forms that STS takes; all else passes through in large pieces.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE_BYTES = 256 * 1024
HEAD_LIMIT_BYTES = 64 * 1024
JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Tell of one request: `kind` as in `kind_of`, `path` decoded, `query` as it came.

    `access_key` is the id of the key that signed it, "" for none.
    """

    kind: str
    method: str
    path: str
    query: str
    access_key: str
    at_seconds: float


@dataclass(slots=True, kw_only=True)
class _Cut:
    """Break the answers of the next `times` requests of a kind after so many bytes."""

    kind: str
    after_bytes: int
    times: int


def kind_of(method: str, path: str, query: str, headers: dict[str, str], form: bytes = b"") -> str:
    """Name what a request asks: GET HEAD PUT DELETE of an object, LIST COPY CREATE_UPLOAD UPLOAD_PART
    UPLOAD_PART_COPY COMPLETE_UPLOAD ABORT_UPLOAD DELETE_MANY, STS's or IAM's Action, else OTHER.
    """
    asked = parse_qs(query, keep_blank_values=True)
    has_key = bool(path.lstrip("/").partition("/")[2])
    match method:
        case "POST" if path == "/":
            return parse_qs(form.decode(errors="replace")).get("Action", ["OTHER"])[0]
        case "GET" if "list-type" in asked:
            return "LIST"
        case "POST" if "delete" in asked:
            return "DELETE_MANY"
        case "POST" if "uploads" in asked:
            return "CREATE_UPLOAD"
        case "POST" if "uploadId" in asked:
            return "COMPLETE_UPLOAD"
        case "DELETE" if "uploadId" in asked:
            return "ABORT_UPLOAD"
        case "PUT" if "uploadId" in asked:
            return "UPLOAD_PART_COPY" if "x-amz-copy-source" in headers else "UPLOAD_PART"
        case "PUT" if "x-amz-copy-source" in headers:
            return "COPY"
        case "GET" | "HEAD" | "PUT" | "DELETE" if has_key:
            return method
    return "OTHER"


class Relay:
    """Relay loopback TCP to `upstream` from `with` to its end; every switch works at any time.

    `latency_seconds` is what each new connection and each request waits before it goes on, as a
    round trip would make it; bodies are not slowed down.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self._upstream = (upstream_host, upstream_port)
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._cuts: list[_Cut] = []
        self._passed_bytes = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._port = 0
        self.latency_seconds = 0.0

    @classmethod
    def to(cls, url: str) -> Self:
        """Make a relay to the server of an http URL."""
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        return cls(parts.hostname, parts.port)

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.refuse()
        self._flowing.set()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
            assert not thread.is_alive(), "a thread of the relay does not end"

    @property
    def url(self) -> str:
        """Return the URL to use instead of the server's; it stays the same."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[Request]:
        """Return the requests since the last reset, in the order they came."""
        with self._lock:
            return list(self._requests)

    @property
    def counts(self) -> Counter[str]:
        """Return how many requests of each kind came since the last reset."""
        return Counter(request.kind for request in self.requests)

    @property
    def passed_bytes(self) -> int:
        """Return how many bytes passed since the last reset, both ways, headers included."""
        with self._lock:
            return self._passed_bytes

    def reset(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()
            self._passed_bytes = 0

    def count_bytes(self, count: int) -> None:
        """Add bytes that were passed on."""
        with self._lock:
            self._passed_bytes += count

    def blackhole(self) -> None:
        """Let no byte pass any more, in either direction; connections are taken and stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """End the black hole; what it held goes on its way."""
        self._flowing.set()

    def refuse(self) -> None:
        """Break every connection and refuse new ones."""
        if self._listener is not None:
            # Shutting it down wakes the accept(); closing alone would not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.break_connections()

    def accept(self) -> None:
        """Take connections (again)."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
            self._port = self._listener.getsockname()[1]
            self._run(self._take_connections, self._listener)

    def break_connections(self) -> None:
        """Break every connection there is."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def cut_answers(self, kind: str, *, after_bytes: int = 0, times: int = 1) -> None:
        """Break the connection `after_bytes` of the answer, headers counted, to the next requests of a kind.

        With 0 the server acts and the answer is lost.
        """
        with self._lock:
            self._cuts.append(_Cut(kind=kind, after_bytes=after_bytes, times=times))

    def record(self, request: Request) -> int | None:
        """Count a request; return after how many bytes its answer is to be cut, None for never."""
        with self._lock:
            self._requests.append(request)
            for cut in self._cuts:
                if cut.kind == request.kind and cut.times > 0:
                    cut.times -= 1
                    return cut.after_bytes
        return None

    def refusal_of(self, request: Request) -> bytes | None:
        """Return the whole answer for a request that is not to be passed on; None: pass it on."""
        return None

    def wait_for_flow(self) -> None:
        """Return when there is no black hole."""
        self._flowing.wait()

    def forget(self, link: _Link) -> None:
        """Drop a connection that is over."""
        with self._lock:
            self._links.discard(link)

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="relay", daemon=True)
        thread.start()
        with self._lock:
            self._threads = [*(old for old in self._threads if old.is_alive()), thread]

    def _take_connections(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            link = _Link(self, client, self._upstream)
            with self._lock:
                self._links.add(link)
            if listener is not self._listener:
                link.close()
            self._run(link.pass_requests)


class _Link:
    """Join one connection of a client to one of the server: a thread for either direction."""

    def __init__(self, relay: Relay, client: socket.socket, upstream: tuple[str, int]) -> None:
        self._relay = relay
        self._client = client
        self._server = socket.socket()
        self._upstream = upstream
        self._cut_after: int | None = None
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Break both connections; whoever waits on them wakes up."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def pass_requests(self) -> None:
        """Pass requests on, one after the other, until either side closes."""
        answers = threading.Thread(target=self._pass_answers, name="relay", daemon=True)
        with self._client, self._server:
            try:
                self._wait()
                self._server.connect(self._upstream)
                self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                answers.start()
                held = bytearray()
                while self._pass_request(held):
                    pass
            except OSError:
                pass
            finally:
                # Sockets are closed when nobody waits on them any more: closing wakes no one.
                self.close()
                if answers.ident is not None:
                    answers.join()
        self._relay.forget(self)

    def _wait(self) -> None:
        time.sleep(self._relay.latency_seconds)
        self._relay.wait_for_flow()

    def _pass_request(self, held: bytearray) -> bool:
        """Pass one request on, `held` being what was read beyond the last; False: there was none."""
        while (end := held.find(b"\r\n\r\n")) < 0:
            piece = self._client.recv(PIECE_BYTES)
            if not piece or len(held) > HEAD_LIMIT_BYTES:
                return False
            held += piece
        lines = held[:end].decode("latin-1").split("\r\n")
        method, target, _version = lines[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        path, _, query = target.partition("?")
        length = end + 4 + int(headers.get("content-length", 0))
        form_ends = length if method == "POST" and path == "/" else 0
        while len(held) < form_ends:
            piece = self._client.recv(PIECE_BYTES)
            if not piece:
                return False
            held += piece
        request = Request(
            kind=kind_of(method, path, query, headers, bytes(held[end + 4 : form_ends])),
            method=method,
            path=unquote(path),
            query=query,
            access_key=headers.get("authorization", "").partition("Credential=")[2].partition("/")[0],
            at_seconds=time.monotonic(),
        )
        self._cut_after = self._relay.record(request)
        self._wait()
        refusal = self._relay.refusal_of(request)
        left = length - len(held)
        if refusal is None:
            self._relay.count_bytes(min(length, len(held)))
            self._server.sendall(held[:length])
        del held[:length]
        self._pump(self._client, self._server if refusal is None else None, left)
        if refusal is not None:
            self._client.sendall(refusal)
        return True

    def _pass_answers(self) -> None:
        with contextlib.suppress(OSError):
            self._pump(self._server, self._client, None)
        self.close()

    def _pump(self, source: socket.socket, target: socket.socket | None, left: int | None) -> None:
        """Pass on `left` bytes (None: all there will ever be); without a target they are dropped."""
        buffer = memoryview(bytearray(PIECE_BYTES))
        while left is None or left > 0:
            count = source.recv_into(buffer[: PIECE_BYTES if left is None else min(left, PIECE_BYTES)])
            if count == 0:
                return
            self._relay.wait_for_flow()
            self._relay.count_bytes(count)
            if source is self._server and self._cut_after is not None:
                target.sendall(buffer[: min(count, self._cut_after)])
                self._cut_after -= count
                if self._cut_after <= 0:
                    return
            elif target is not None:
                target.sendall(buffer[:count])
            left = None if left is None else left - count
