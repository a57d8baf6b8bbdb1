"""Answer what a test wants instead of what the server would: a front for every error of S3's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.bed.relay import Relay, Request

if TYPE_CHECKING:
    from tests.bed.revocation import Refusal


class RefusingFront(Relay):
    """Relay to an S3 server, and refuse the requests of a kind that a test names."""

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        super().__init__(upstream_host, upstream_port)
        self._refusing = threading.Lock()
        self._refusals: dict[str, tuple[Refusal, int]] = {}
        self.refused: list[Request] = []

    def refuse_requests(self, kind: str, refusal: Refusal, *, times: int = 1_000_000) -> None:
        """Answer the next requests of a kind with a refusal."""
        with self._refusing:
            self._refusals[kind] = refusal, times

    def pass_requests(self) -> None:
        """Refuse nothing any more."""
        with self._refusing:
            self._refusals.clear()
            self.refused.clear()

    def refusal_of(self, request: Request) -> bytes | None:
        with self._refusing:
            refusal, times = self._refusals.get(request.kind, (None, 0))
            if refusal is None or not times:
                return None
            self._refusals[request.kind] = refusal, times - 1
            self.refused.append(request)
            return refusal.answer_to(request.method)
