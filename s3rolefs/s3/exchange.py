"""Bring one request to its final answer: sign, send, judge, renew, redirect, retry.

What happens inside, in this order of judging: a session that is refused is renewed once by the
broker and the request repeated; a clock that is off is corrected by the answer's Date; a bucket
elsewhere is followed to its region; transient answers and broken connections are retried with
back-off until `io_timeout` passed without progress; a body that broke off is resumed.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

import trio

from s3rolefs.errors import Reason, StoreError, UserError
from s3rolefs.s3.attempt import Answer, Attempt, FailureKind, TransportFailure
from s3rolefs.s3.effort import Effort
from s3rolefs.s3.failures import judge
from s3rolefs.s3.headers import parse_http_date
from s3rolefs.s3.retry import Patience
from s3rolefs.s3.signer import SessionKeys, Signer
from s3rolefs.s3.wire import ErrorDocument, parse_error

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from s3rolefs.clock import Clock
    from s3rolefs.config import StoreConfig
    from s3rolefs.s3.endpoints import Endpoint
    from s3rolefs.s3.requests import Request
    from s3rolefs.s3.store import BlockFilled, Buffers

log = logging.getLogger(__name__)

LONGEST_SILENCE_SECONDS = 20.0
TOLERATED_SKEW_SECONDS = 240.0
# Failures that another attempt cannot mend.
PERMANENT_KINDS = {FailureKind.TLS, FailureKind.PROXY, FailureKind.BODY}


class Session(SessionKeys, Protocol):
    """Name what is needed of `roles.snapshot.Snapshot`."""

    @property
    def generation(self) -> int:
        """Return the session's number."""
        ...


class SessionProvider(Protocol):
    """Name what is needed of `roles.broker.Broker`."""

    def peek(self) -> Session | None:
        """Return the valid session without waiting."""
        ...

    async def get(self) -> Session:
        """Wait for a session; raise CredentialsError."""
        ...

    async def reject(self, generation: int, *, code: str, worked: bool = False) -> bool:
        """Tell that a session was refused; True: a newer one is there."""
        ...


class Finder(Protocol):
    """Name what tells where the bucket is: `endpoints.EndpointFinder`."""

    def find_blocking(self, region: str | None = None) -> Endpoint:
        """Return the endpoint; `region` is what the service itself said."""
        ...


class Transport(Protocol):
    """Name what carries attempts out: `connections.ConnectionPool`, or a script in tests."""

    async def run(self, attempt: Attempt) -> Answer:
        """Return the whole answer or raise TransportFailure."""
        ...


class Exchange:
    """Make requests to one bucket; everything here runs on the trio loop, signing excepted."""

    def __init__(
        self,
        store: StoreConfig,
        *,
        sessions: SessionProvider | None,
        clock: Clock,
        finder: Finder,
        transport: Transport,
        counts: Counter[str],
    ) -> None:
        """Take `sessions` None for unsigned requests."""
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._finder = finder
        self._transport = transport
        self._counts = counts
        self._signer = Signer()
        self._endpoint: Endpoint | None = None
        self._finding = trio.Lock()
        self._skew_seconds = 0.0
        self._dated = ("", 0.0)  # the latest answer's Date, and our own clock then
        self._worked_generation = -1
        self._bucket_seen = False

    def server_seconds(self) -> float:
        """Return the time since the epoch by the service's clock, as far as it is known."""
        return self._clock.wall_seconds() + self._skew_seconds

    @property
    def clock_error_seconds(self) -> float | None:
        """Return how far this machine's clock is ahead of the service's latest answer (None: unknown)."""
        date, at_seconds = self._dated
        date_ns = parse_http_date(date)
        return at_seconds - date_ns / 1e9 if date_ns else None

    async def endpoint(self) -> Endpoint:
        """Return where the bucket is, as far as it is known by now."""
        if self._endpoint is None:
            async with self._finding:
                if self._endpoint is None:
                    self._endpoint = await trio.to_thread.run_sync(self._finder.find_blocking)
        return self._endpoint

    async def perform(
        self,
        request: Request,
        *,
        into: Buffers = (),
        on_filled: BlockFilled | None = None,
        patience_seconds: float | None = None,
    ) -> Answer:
        """Return the final answer, always a success (2xx); raise StoreError or CredentialsError.

        The error's `outcome_unknown`, and the answer's `repeated`, are true when an earlier
        attempt of this request may have taken effect without our hearing of it.
        """
        limit_seconds = patience_seconds or self._store.io_timeout_seconds
        effort = Effort(request, Patience(limit_seconds), into, on_filled)
        while True:
            answer = await self._attempt(effort)
            if answer is not None:
                return answer

    async def _attempt(self, effort: Effort) -> Answer | None:
        """Try once. Return the answer, None to try again; raise what is final."""
        request = effort.request
        endpoint = self._endpoint or await self.endpoint()
        session = None
        if self._sessions is not None:
            session = self._sessions.peek() or await self._sessions.get()
        attempt = self._make_attempt(effort, endpoint, session)
        self._counts[request.kind] += 1
        started_at = time.monotonic()
        try:
            answer = await self._transport.run(attempt)
        except TransportFailure as failure:
            log.debug("%s %r: %s", request.kind, request.key, failure.message)
            await self._retry_or_raise(effort, attempt, failure)
            return None
        self._dated = (answer.headers.get("date", ""), self._clock.wall_seconds())
        effort.maybe_done |= answer.repeated
        if log.isEnabledFor(logging.DEBUG):
            took_ms = (time.monotonic() - started_at) * 1000
            request_id = answer.headers.get("x-amz-request-id", "")
            log.debug(
                "%s %r: %d in %.1f ms %s", request.kind, request.key, answer.status, took_ms, request_id
            )
        document = parse_error(answer.body)
        if 200 <= answer.status < 300 and document is None:
            if session is not None:
                self._worked_generation = session.generation
            self._bucket_seen = True
            return effort.finished(answer)
        if await self._mend(effort, endpoint, session, answer, document):
            return None
        await self._judge(effort, attempt, answer, document)
        return None

    def _make_attempt(self, effort: Effort, endpoint: Endpoint, session: Session | None) -> Attempt:
        request = effort.request
        io_timeout = min(LONGEST_SILENCE_SECONDS, self._store.io_timeout_seconds / 3)
        io_timeout = min(io_timeout, max(effort.patience.left_seconds(), 0.1))
        path = endpoint.base_path + request.path
        query = request.query

        def make_headers() -> Mapping[str, str]:
            headers = {"host": endpoint.origin.authority, **request.headers}
            effort.signed_at_seconds = self.server_seconds()
            if session is not None:
                headers = self._signer.sign(
                    method=request.method,
                    path=path,
                    query=query,
                    headers=headers,
                    payload_sha256=effort.payload_sha256(encrypted=endpoint.origin.scheme == "https"),
                    region=endpoint.region,
                    keys=session,
                    at_seconds=effort.signed_at_seconds,
                )
            if request.method in {"PUT", "POST"}:
                headers["content-length"] = str(request.body_length)
            headers["accept-encoding"] = "identity"
            return headers

        return Attempt(
            origin=endpoint.origin,
            method=request.method,
            target=f"{path}?{query}" if query else path,
            make_headers=make_headers,
            body=request.body,
            into=effort.rest(),
            into_bytes=request.wanted_bytes,
            announce=effort.announcer(),
            accepts=effort.accepts,
            io_timeout_seconds=io_timeout,
            answer_timeout_seconds=io_timeout + request.answer_allowance_seconds,
        )

    async def _mend(
        self,
        effort: Effort,
        endpoint: Endpoint,
        session: Session | None,
        answer: Answer,
        document: ErrorDocument | None,
    ) -> bool:
        """Put right what a refusal was about, if it is within our power; True: repeat at once."""
        region = answer.headers.get("x-amz-bucket-region") or (document.region if document else "")
        if region and region != endpoint.region and effort.may_redirect():
            await self._move(endpoint, region)
            return True
        code = document.code if document else ""
        if self._was_signed_late(effort, answer, code) and effort.may_correct_clock():
            return True
        # A body that is not S3's comes from something in between, which says nothing of the session.
        from_service = document is not None or not answer.body
        verdict = judge(answer.status, code)
        if session is None or self._sessions is None or not (verdict.rejects_session and from_service):
            return False
        if not effort.may_renew():
            return False
        worked = self._worked_generation == session.generation
        return await self._sessions.reject(session.generation, code=code or str(answer.status), worked=worked)

    async def _move(self, endpoint: Endpoint, region: str) -> None:
        """Go on in another region, unless another request has already moved there."""
        async with self._finding:
            if self._endpoint is endpoint:
                log.info("the bucket %s is in %s, not in %s", self._store.bucket, region, endpoint.region)
                try:
                    self._endpoint = await trio.to_thread.run_sync(self._finder.find_blocking, region)
                except UserError as error:
                    raise StoreError(Reason.REFUSED, error.sentence) from error

    def _was_signed_late(self, effort: Effort, answer: Answer, code: str) -> bool:
        """Say whether a refusal is one of the time of signing; sign by the service's from now on."""
        if answer.status != 403 or code not in {"", "RequestTimeTooSkewed"}:
            return False
        date_ns = parse_http_date(answer.headers.get("date"))
        if not date_ns or abs(date_ns / 1e9 - effort.signed_at_seconds) < TOLERATED_SKEW_SECONDS:
            return False
        off_seconds = date_ns / 1e9 - self.server_seconds()
        # Requests that were on their way together are refused together: the first one sets the clock.
        if abs(off_seconds) >= TOLERATED_SKEW_SECONDS:
            self._skew_seconds += off_seconds
            log.warning(
                "this machine's clock is %+.0f s off the service's; signing by the service's",
                -self._skew_seconds,
            )
        return True

    async def _judge(
        self, effort: Effort, attempt: Attempt, answer: Answer, document: ErrorDocument | None
    ) -> None:
        """Return when the request is to be tried again; raise StoreError when the answer is final."""
        code = document.code if document else ""
        verdict = judge(answer.status, code)
        reason = verdict.reason
        if answer.status < 300 and document is not None and not verdict.transient:
            # A success that turned into an error on the way: what S3's code does not explain is retried.
            verdict = judge(500, code)
            reason = verdict.reason
        if verdict.transient:
            effort.maybe_done |= answer.status >= 500 or answer.status < 300
            if await self._pause(effort, attempt):
                return
        if code == "NoSuchBucket" and self._bucket_seen:
            reason = Reason.BUCKET_VANISHED
        if not code and answer.body and answer.status < 500:
            code = "NotS3"
        request = effort.request
        raise StoreError(
            reason,
            (document.message if document else "") or f"the service answered {answer.status} {code}".strip(),
            operation=request.kind,
            key=request.key,
            status=answer.status,
            code=code,
            request_id=answer.headers.get("x-amz-request-id") or (document.request_id if document else ""),
            outcome_unknown=effort.maybe_done,
        )

    async def _retry_or_raise(self, effort: Effort, attempt: Attempt, failure: TransportFailure) -> None:
        effort.maybe_done |= failure.sent
        if failure.kind not in PERMANENT_KINDS and await self._pause(effort, attempt):
            return
        request = effort.request
        raise StoreError(
            Reason.CORRUPT if failure.kind is FailureKind.BODY else Reason.UNREACHABLE,
            failure.message,
            operation=request.kind,
            key=request.key,
            code=failure.kind.value,
            outcome_unknown=effort.maybe_done,
        ) from failure

    async def _pause(self, effort: Effort, attempt: Attempt) -> bool:
        effort.take_over(attempt)
        return await effort.patience.pause()
