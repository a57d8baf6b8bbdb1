"""Keep what one request carries from attempt to attempt: patience, bytes received, what was tried."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.s3.headers import content_range, unquote_etag
from s3rolefs.s3.signer import EMPTY_SHA256, UNSIGNED_PAYLOAD
from s3rolefs.s3.transport import body_pieces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.s3.attempt import Answer, Attempt
    from s3rolefs.s3.requests import Request
    from s3rolefs.s3.retry import Patience
    from s3rolefs.s3.store import BlockFilled, Buffers

# Per request: each of these is tried so often and no more, so that nothing goes round for ever.
MOST_REDIRECTS = 2
MOST_RENEWALS = 2


class Effort:
    """Bring one request through; belongs to the task that makes it.

    `request` changes only when a GET is resumed. `maybe_done` is true once an attempt may have
    taken effect without an answer that says so. `signed_at_seconds`: the time of the latest signature.
    """

    def __init__(
        self,
        request: Request,
        patience: Patience,
        into: Buffers,
        on_filled: BlockFilled | None,
    ) -> None:
        self.request = request
        self.patience = patience
        self.maybe_done = False
        self.signed_at_seconds = 0.0
        self._into = into
        self._on_filled = on_filled
        self._filled_bytes = 0
        # Where to go on: in which buffer, and where in it.
        self._first = 0
        self._start = 0
        self._redirects = 0
        self._renewals = 0
        self._clock_corrected = False
        self._payload_sha256 = ""

    def may_redirect(self) -> bool:
        """Count a change of region; say whether it was not one too many."""
        self._redirects += 1
        return self._redirects <= MOST_REDIRECTS

    def may_renew(self) -> bool:
        """Count a refused session; say whether it was not one too many."""
        self._renewals += 1
        return self._renewals <= MOST_RENEWALS

    def may_correct_clock(self) -> bool:
        """Say whether this is the first time the clock was found wrong."""
        first = not self._clock_corrected
        self._clock_corrected = True
        return first

    def payload_sha256(self, *, encrypted: bool) -> str:
        """Return what x-amz-content-sha256 says; runs in the worker, computed once per request.

        Inside TLS, which protects the bytes already, bodies are not hashed a second time.
        """
        if not self._payload_sha256:
            if not self.request.body_length:
                self._payload_sha256 = EMPTY_SHA256
            elif encrypted:
                return UNSIGNED_PAYLOAD
            else:
                digest = hashlib.sha256()
                for piece in body_pieces(self.request.body):
                    digest.update(piece)
                self._payload_sha256 = digest.hexdigest()
        return self._payload_sha256

    def rest(self) -> Buffers:
        """Return the buffers still to be filled, the first perhaps in part."""
        return _Rest(self._into, self._first, self._start) if self._filled_bytes else self._into

    def announcer(self) -> BlockFilled | None:
        """Return what to call when a buffer of `rest()` is full, from anywhere; None: nobody listens."""
        if self._on_filled is None:
            return None
        on_filled = self._on_filled
        token = trio.lowlevel.current_trio_token()
        first = self._first

        def announce(index: int) -> None:
            if trio.lowlevel.in_trio_run():
                on_filled(first + index)
            else:
                token.run_sync_soon(on_filled, first + index)

        return announce

    def accepts(self, status: int, headers: Mapping[str, str]) -> bool:
        """Say whether a success holds exactly the bytes, and the version, that were asked for."""
        pinned = self.request.headers.get("if-match")
        if pinned is not None and unquote_etag(headers.get("etag")) != unquote_etag(pinned):
            return False
        if status == 206:
            found = content_range(headers)
            return found is not None and found[0] == self.request.first_byte
        return self.request.first_byte == 0

    def take_over(self, attempt: Attempt) -> None:
        """Keep what a failed attempt achieved; a GET goes on behind it."""
        if attempt.filled_bytes:
            self._filled_bytes += attempt.filled_bytes
            self._start = attempt.partial_bytes + (0 if attempt.filled_count else self._start)
            self._first += attempt.filled_count
            self.request = self.request.resumed(
                skip_bytes=attempt.filled_bytes, etag=unquote_etag(attempt.answer_headers.get("etag"))
            )
        self.patience.record_progress(
            self._filled_bytes + attempt.sent_bytes, idle_seconds=attempt.idle_seconds()
        )

    def finished(self, answer: Answer) -> Answer:
        """Return the final answer with all that was filled, over all attempts."""
        if not self._filled_bytes and not self.maybe_done:
            return answer
        return replace(
            answer, filled_bytes=self._filled_bytes + answer.filled_bytes, repeated=self.maybe_done
        )


class _Rest:
    """Show buffers from `start` of number `first` on, without asking for one before its turn."""

    def __init__(self, into: Buffers, first: int, start: int) -> None:
        self._into = into
        self._first = first
        self._start = start

    def __len__(self) -> int:
        return len(self._into) - self._first

    def __getitem__(self, index: int, /) -> memoryview:
        buffer = self._into[self._first + index]
        return buffer if index else buffer[self._start :]
