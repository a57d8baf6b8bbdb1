"""Answer STS requests as a script says: the refusals and silences that a real server rarely gives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId>
<Arn>arn:aws:sts::111122223333:assumed-role/data/x</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAFRONT{number}</AccessKeyId><SecretAccessKey>front-secret</SecretAccessKey>
<SessionToken>front-token</SessionToken><Expiration>{expiration}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""
ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>id</RequestId></ErrorResponse>"""


@dataclass(kw_only=True)
class StsFront:
    """Serve one script: `error` is (status, code, message), `body` is sent as it stands.

    `judge` returns an error of that kind, or None, for each request. `ahead_seconds` is how far the
    server's own clock, hence its Date, is off.
    """

    error: tuple[int, str, str] | None = None
    judge: Callable[[dict[str, str]], tuple[int, str, str] | None] | None = None
    body: str | None = None
    ahead_seconds: float = 0.0
    life_seconds: float = 900.0
    silent: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        front = self
        self._released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                request = {name: values[0] for name, values in parse_qs(text).items()}
                request["authorization"] = self.headers["Authorization"]
                front.requests.append(request)
                if front.silent:
                    front._released.wait(60)
                    self.close_connection = True
                    return
                status, text = front.answer()
                self.send_response_only(status)
                moment = datetime.fromtimestamp(front.now(), UTC)
                self.send_header("Date", moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

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

    def now(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead_seconds

    def answer(self) -> tuple[int, str]:
        error = self.error or (self.judge(self.requests[-1]) if self.judge else None)
        if error is not None:
            status, code, message = error
            return status, ERROR.format(code=code, message=message)
        if self.body is not None:
            return 200, self.body
        expires = datetime.fromtimestamp(self.now() + self.life_seconds, UTC)
        return 200, SESSION.format(expiration=expires.isoformat(), number=len(self.requests))
