"""Serve HTTP on a free port of loopback for the length of a `with`; what is answered, a subclass says."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

RELEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request; headers are named in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer."""

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Loopback(ABC):
    """Answer each request with what `answer` returns; None stays silent until the end."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.ahead_seconds = 0.0  # how far the server's own clock, hence its Date, is off
        self._released = threading.Event()
        self._lock = threading.Lock()

    @abstractmethod
    def answer(self, asked: Asked) -> Said | None: ...

    def now(self) -> float:
        return time.time() + self.ahead_seconds

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                asked = Asked(
                    method=self.command,
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                    text=self.rfile.read(length).decode(),
                )
                with server._lock:
                    server.asked.append(asked)
                    said = server.answer(asked)
                if said is None:
                    server._released.wait(RELEASE_SECONDS)
                    self.close_connection = True
                    return
                body = said.text.encode()
                self.send_response_only(said.status)
                headers = {"Date": formatdate(server.now(), usegmt=True), "Content-Length": str(len(body))}
                for name, value in (headers | said.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the names are http.server's

            def log_message(self, *_arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
