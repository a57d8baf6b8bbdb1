"""End sessions before their time, as AWS does and radosgw does not: a front that knows revoked keys."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tests.bed.relay import Relay, Request

DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>{code}</Code><Message>{message}</Message><RequestId>front</RequestId></Error>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Say how S3 refuses a session that is over; the answer to a HEAD has no body."""

    status: int
    code: str
    message: str

    def answer_to(self, method: str) -> bytes:
        """Return the whole answer to a request."""
        body = "" if method == "HEAD" else DOCUMENT.format(code=self.code, message=self.message)
        lines = (f"HTTP/1.1 {self.status} {self.code}", "Content-Type: application/xml")
        return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", body)).encode()


# A deny on aws:TokenIssueTime, which is how AWS revokes the sessions of a role.
DENIED = Refusal(status=403, code="AccessDenied", message="Access Denied")
EXPIRED = Refusal(status=400, code="ExpiredToken", message="The provided token has expired.")


class RevokingFront(Relay):
    """Relay to an S3 server, and refuse every request that a revoked key signed."""

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        super().__init__(upstream_host, upstream_port)
        self._revoking = threading.Lock()
        self._revoked: dict[str, Refusal] = {}
        self._next: tuple[str, Refusal] | None = None
        self.refused: list[Request] = []

    def revoke_at(self, kind: str, refusal: Refusal) -> None:
        """Revoke, from the next request of that kind on, the key that signed it."""
        with self._revoking:
            self._next = kind, refusal

    def refusal_of(self, request: Request) -> bytes | None:
        with self._revoking:
            if self._next is not None and request.kind == self._next[0]:
                self._revoked[request.access_key] = self._next[1]
                self._next = None
            refusal = self._revoked.get(request.access_key)
            if refusal is None:
                return None
            self.refused.append(request)
            return refusal.answer_to(request.method)
