"""One request to its final answer, in driven time, over a transport that follows a script."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from s3rolefs.config import StoreConfig
from s3rolefs.errors import Reason, StoreError, UserError
from s3rolefs.model import GIB, MIB
from s3rolefs.s3.attempt import Answer, FailureKind, Origin, TransportFailure
from s3rolefs.s3.endpoints import Endpoint
from s3rolefs.s3.exchange import Exchange
from s3rolefs.s3.requests import copy_object, delete_object, get_object, head_object, put_object
from s3rolefs.s3.store import ObjectAttributes
from tests.s3.scripted import error_document

OK = Answer(status=200, headers={})
CLOCK_TEXT = "Tue, 14 Nov 2023 22:13:20 GMT"  # ManualClock's 1,700,000,000


@dataclass(frozen=True, kw_only=True)
class Keys:
    generation: int
    secret_access_key: str = "secret"
    session_token: str | None = "token"

    @property
    def access_key_id(self):
        return f"AKID{self.generation}"


@dataclass
class Sessions:
    """Renew at each rejection, up to `renewals` times."""

    renewals: int = 0
    current: int = 1
    rejected: list[tuple[int, str, bool]] = field(default_factory=list)

    def peek(self):
        return Keys(generation=self.current)

    async def get(self):
        return self.peek()

    async def reject(self, generation, *, code, worked=False):
        await trio.lowlevel.checkpoint()
        self.rejected.append((generation, code, worked))
        if self.renewals:
            self.renewals -= 1
            self.current += 1
            return True
        return False


@dataclass
class Finder:
    asked: list[str | None] = field(default_factory=list)

    def find_blocking(self, region=None):
        self.asked.append(region)
        region = region or "us-east-1"
        origin = Origin(scheme="http", host=f"s3.{region}.example.com", port=80)
        return Endpoint(origin=origin, base_path="/bucket", region=region)


class Script:
    """Play the transport: each step is an answer, a failure, or a function of the attempt."""

    def __init__(self, *steps):
        self.attempts = []
        self.headers = []
        self._steps = list(steps)

    async def run(self, attempt):
        await trio.lowlevel.checkpoint()
        self.attempts.append(attempt)
        self.headers.append(attempt.make_headers())
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if callable(step):
            step = step(attempt)
            # What it announced arrives before its answer, as from the real workers.
            await trio.testing.wait_all_tasks_blocked()
        if isinstance(step, Exception):
            raise step
        return step


def exchange_over(script, clock, *, sessions=None, finder=None, io_timeout_seconds=60.0):
    return Exchange(
        StoreConfig(bucket="bucket", io_timeout_seconds=io_timeout_seconds),
        sessions=sessions or Sessions(),
        clock=clock,
        finder=finder or Finder(),
        transport=script,
        counts=Counter(),
    )


def refusal(status, code="", *, extra="", **headers):
    body = error_document(code, extra) if code else b""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=names, body=body)


def lost(kind=FailureKind.BROKEN, *, sent=False):
    return TransportFailure(kind, "lost", sent=sent)


async def error_of(exchange, request, **more):
    with pytest.raises(StoreError) as caught:
        await exchange.perform(request, **more)
    return caught.value


def a_put(body=b"body"):
    return put_object("key", body, ObjectAttributes(), conditions={})


@pytest.mark.parametrize(
    "passing",
    [
        refusal(503, "SlowDown"),
        refusal(500, "InternalError"),
        refusal(500),
        refusal(502),
        refusal(429, "TooManyRequests"),
        refusal(400, "RequestTimeout"),
        refusal(409, "OperationAborted"),
        refusal(409, "ConditionalRequestConflict"),
        refusal(200, "InternalError"),
        refusal(400, "XAmzContentSHA256Mismatch"),
        lost(),
        lost(FailureKind.TIMEOUT, sent=True),
        lost(FailureKind.REFUSED),
        lost(FailureKind.DNS),
    ],
)
async def test_what_passes_is_tried_again(autojump_clock, clock, passing):
    script = Script(passing, passing, OK)
    assert (await exchange_over(script, clock).perform(a_put())).status == 200
    assert len(script.attempts) == 3


async def test_a_storm_ends_when_the_time_without_progress_is_over(autojump_clock, clock):
    script = Script(refusal(503, "SlowDown", x_amz_request_id="id7"))
    started = trio.current_time()
    failure = await error_of(exchange_over(script, clock), a_put())
    assert 50 <= trio.current_time() - started <= 60
    assert (failure.reason, failure.code, failure.status) == (Reason.UNREACHABLE, "SlowDown", 503)
    assert (failure.operation, failure.key, failure.request_id) == ("PUT", "key", "id7")
    # Back-off: about 2.5 s between two, once it has grown.
    assert 12 < len(script.attempts) < 60


async def test_a_server_that_is_gone_is_unreachable(autojump_clock, clock):
    failure = await error_of(exchange_over(Script(lost(FailureKind.REFUSED)), clock), head_object("key"))
    assert (failure.reason, failure.code) == (Reason.UNREACHABLE, "ConnectionRefused")
    assert failure.outcome_unknown is False


async def test_patience_can_be_given_for_one_request(autojump_clock, clock):
    started = trio.current_time()
    await error_of(exchange_over(Script(lost()), clock), head_object("key"), patience_seconds=5)
    assert trio.current_time() - started <= 5


@pytest.mark.parametrize("kind", [FailureKind.TLS, FailureKind.PROXY, FailureKind.BODY])
async def test_what_no_repeat_can_mend_fails_at_once(autojump_clock, clock, kind):
    script = Script(lost(kind))
    failure = await error_of(exchange_over(script, clock), a_put())
    assert (len(script.attempts), failure.code) == (1, kind.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(404, "NoSuchKey"), Reason.NOT_FOUND),
        (refusal(404), Reason.NOT_FOUND),
        (refusal(404, "NoSuchBucket"), Reason.NOT_FOUND),
        (refusal(404, "NoSuchUpload"), Reason.NO_SUCH_UPLOAD),
        (refusal(403, "AccessDenied"), Reason.ACCESS_DENIED),
        (refusal(403), Reason.ACCESS_DENIED),
        (refusal(403, "InvalidObjectState"), Reason.ARCHIVED),
        (refusal(400, "ExpiredToken"), Reason.SESSION_EXPIRED),
        (refusal(412, "PreconditionFailed"), Reason.PRECONDITION),
        (refusal(412), Reason.PRECONDITION),
        (refusal(400, "KeyTooLongError"), Reason.NAME_TOO_LONG),
        (refusal(400, "EntityTooLarge"), Reason.TOO_LARGE),
        (refusal(400, "MetadataTooLarge"), Reason.NO_SPACE),
        (refusal(403, "QuotaExceeded"), Reason.QUOTA),
        (refusal(405), Reason.UNSUPPORTED),
        (refusal(501, "NotImplemented"), Reason.UNSUPPORTED),
        (refusal(400, "InvalidArgument"), Reason.REFUSED),
        (refusal(416, "InvalidRange"), Reason.CORRUPT),
        (refusal(418), Reason.REFUSED),
    ],
)
async def test_final_answers_become_reasons(autojump_clock, clock, answer, reason):
    script = Script(answer)
    failure = await error_of(exchange_over(script, clock), a_put())
    assert (failure.reason, len(script.attempts)) == (reason, 1)


async def test_a_bucket_that_was_there_vanished(autojump_clock, clock):
    exchange = exchange_over(Script(OK, refusal(404, "NoSuchBucket")), clock)
    await exchange.perform(head_object("key"))
    assert (await error_of(exchange, head_object("key"))).reason is Reason.BUCKET_VANISHED


@pytest.mark.parametrize(
    ("answer", "code"),
    [(refusal(403, "AccessDenied"), "AccessDenied"), (refusal(400), "400"), (refusal(403), "403")],
)
async def test_a_refused_session_is_renewed_and_the_request_repeated(autojump_clock, clock, answer, code):
    sessions = Sessions(renewals=1)
    script = Script(OK, answer, OK)
    exchange = exchange_over(script, clock, sessions=sessions)
    await exchange.perform(head_object("key"))
    await exchange.perform(head_object("key"))
    assert sessions.rejected == [(1, code, True)]
    signers = [headers["authorization"].split("=")[1].split("/")[0] for headers in script.headers]
    assert signers == ["AKID1", "AKID1", "AKID2"]


async def test_a_session_is_not_refused_for_ever(autojump_clock, clock):
    sessions = Sessions(renewals=100)
    script = Script(refusal(400, "ExpiredToken"))
    failure = await error_of(exchange_over(script, clock, sessions=sessions), a_put())
    assert (failure.reason, len(script.attempts)) == (Reason.SESSION_EXPIRED, 3)


async def test_a_page_of_something_in_between_does_not_count_against_the_session(autojump_clock, clock):
    sessions = Sessions(renewals=1)
    page = Answer(status=403, headers={}, body=b"<html>Blocked by policy</html>")
    failure = await error_of(exchange_over(Script(page), clock, sessions=sessions), a_put())
    assert (failure.reason, failure.code, sessions.rejected) == (Reason.ACCESS_DENIED, "NotS3", [])


@pytest.mark.parametrize(
    "redirect",
    [
        refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"),
        refusal(400, "AuthorizationHeaderMalformed", extra="<Region>eu-west-1</Region>"),
        refusal(400, x_amz_bucket_region="eu-west-1"),
        refusal(307, "TemporaryRedirect", x_amz_bucket_region="eu-west-1"),
    ],
)
async def test_a_bucket_elsewhere_is_followed_and_remembered(autojump_clock, clock, redirect):
    finder = Finder()
    script = Script(redirect, OK)
    exchange = exchange_over(script, clock, finder=finder)
    await exchange.perform(head_object("key"))
    await exchange.perform(head_object("key"))
    hosts = [attempt.origin.host for attempt in script.attempts]
    assert hosts == ["s3.us-east-1.example.com"] + ["s3.eu-west-1.example.com"] * 2
    assert "/eu-west-1/s3/" in script.headers[1]["authorization"]
    assert finder.asked == [None, "eu-west-1"]


async def test_regions_that_point_at_each_other_do_not_go_round_for_ever(autojump_clock, clock):
    def elsewhere(attempt):
        other = "b" if ".a." in attempt.origin.host else "a"
        return refusal(301, "PermanentRedirect", x_amz_bucket_region=other)

    script = Script(elsewhere)
    failure = await error_of(exchange_over(script, clock), head_object("key"))
    assert (failure.reason, len(script.attempts)) == (Reason.REFUSED, 3)


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", ""])
async def test_a_wrong_clock_is_put_right_by_the_answer(autojump_clock, clock, code):
    clock.step_wall(-1200)
    script = Script(refusal(403, code, date=CLOCK_TEXT), OK)
    exchange = exchange_over(script, clock)
    await exchange.perform(head_object("key"))
    await exchange.perform(head_object("key"))
    dates = [headers["x-amz-date"] for headers in script.headers]
    assert dates == ["20231114T215320Z", "20231114T221320Z", "20231114T221320Z"]


async def test_requests_on_their_way_together_are_all_repeated_when_the_clock_is_put_right(
    autojump_clock, clock
):
    def refused(_attempt):
        return refusal(403, date=CLOCK_TEXT)

    clock.step_wall(-1200)
    sessions = Sessions()
    script = Script(refused, refused, OK)
    exchange = exchange_over(script, clock, sessions=sessions)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.perform, head_object("a"))
        nursery.start_soon(exchange.perform, head_object("b"))
    assert (sessions.rejected, len(script.attempts)) == ([], 4)


async def test_a_clock_is_put_right_once_per_request(autojump_clock, clock):
    far = iter(["Tue, 14 Nov 2023 23:13:20 GMT", "Tue, 14 Nov 2023 20:13:20 GMT", CLOCK_TEXT])
    script = Script(lambda _: refusal(403, "RequestTimeTooSkewed", date=next(far, CLOCK_TEXT)))
    failure = await error_of(exchange_over(script, clock), head_object("key"))
    assert (failure.reason, len(script.attempts)) == (Reason.ACCESS_DENIED, 2)


@pytest.mark.parametrize(
    ("first", "unknown"),
    [
        (lost(sent=True), True),
        (lost(sent=False), False),
        (refusal(500, "InternalError"), True),
        (refusal(200, "InternalError"), True),
        (refusal(400, "RequestTimeout"), False),
    ],
)
async def test_an_error_tells_whether_an_earlier_attempt_may_have_succeeded(
    autojump_clock, clock, first, unknown
):
    script = Script(first, refusal(412, "PreconditionFailed"))
    assert (await error_of(exchange_over(script, clock), a_put())).outcome_unknown is unknown


async def test_an_error_inside_a_success_is_an_error(autojump_clock, clock):
    script = Script(refusal(200, "AccessDenied"))
    assert (await error_of(exchange_over(script, clock), a_put())).reason is Reason.ACCESS_DENIED


class Download:
    """Serve `data` by ranges; each attempt breaks off after so many bytes (None: never)."""

    def __init__(self, data, *breaks):
        self.data = data
        self._breaks = list(breaks)

    def __call__(self, attempt):
        headers = attempt.make_headers()
        first, last = (int(text) for text in headers["range"].removeprefix("bytes=").split("-"))
        answer_headers = {"etag": '"v1"', "content-range": f"bytes {first}-{last}/{len(self.data)}"}
        assert attempt.accepts(206, answer_headers)
        attempt.answer_headers = answer_headers
        limit = self._breaks.pop(0) if self._breaks else None
        left = self.data[first : last + 1][:limit]
        for index, buffer in enumerate(attempt.into):
            piece = left[: len(buffer)]
            buffer[: len(piece)] = piece
            attempt.record_filled(len(piece))
            left = left[len(piece) :]
            if len(piece) < len(buffer):
                return lost()
            attempt.announce_filled(index)
        return Answer(status=206, headers=answer_headers, filled_bytes=attempt.filled_bytes)


async def test_a_broken_download_goes_on_where_it_broke_and_on_the_same_version(autojump_clock, clock):
    data = bytes(range(100))
    script = Script(Download(data, 7, 0, 40))
    buffers = [memoryview(bytearray(size)) for size in (10, 30, 40)]
    filled = []
    answer = await exchange_over(script, clock).perform(
        get_object("key", offset=5, length=80, if_match=None), into=buffers, on_filled=filled.append
    )
    assert b"".join(buffers) == data[5:85]
    assert (answer.filled_bytes, filled) == (80, [0, 1, 2])
    assert [headers["range"] for headers in script.headers] == [
        "bytes=5-84",
        "bytes=12-84",
        "bytes=12-84",
        "bytes=52-84",
    ]
    assert [headers.get("if-match") for headers in script.headers] == [None, '"v1"', '"v1"', '"v1"']


async def test_a_download_that_moves_on_is_never_given_up(autojump_clock, clock):
    data = bytes(200)
    download = Download(data, *[1] * 199)

    def slow(attempt):
        autojump_clock.jump(1)
        return download(attempt)

    answer = await exchange_over(Script(slow), clock, io_timeout_seconds=10).perform(
        get_object("key", offset=0, length=200, if_match=None), into=[memoryview(bytearray(200))]
    )
    assert answer.filled_bytes == 200


async def test_an_upload_that_breaks_at_the_same_place_each_time_is_given_up(autojump_clock, clock):
    def halfway(attempt):
        attempt.record_sent(500)
        return lost()

    started = trio.current_time()
    await error_of(exchange_over(Script(halfway), clock), a_put(bytes(1000)))
    assert trio.current_time() - started <= 61


async def test_each_wait_is_shorter_than_the_patience(autojump_clock, clock):
    script = Script(lost())
    await error_of(exchange_over(script, clock, io_timeout_seconds=9), delete_object("key"))
    assert all(attempt.io_timeout_seconds <= 3 for attempt in script.attempts)
    assert all(attempt.answer_timeout_seconds <= 3 for attempt in script.attempts)


async def test_nothing_is_signed_without_sessions(autojump_clock, clock):
    script = Script(OK)
    exchange = Exchange(
        StoreConfig(bucket="bucket"),
        sessions=None,
        clock=clock,
        finder=Finder(),
        transport=script,
        counts=Counter(),
    )
    await exchange.perform(head_object("key"))
    assert not {"authorization", "x-amz-date", "x-amz-security-token"} & set(script.headers[0])


async def test_logs_name_no_secret(autojump_clock, clock, caplog):
    caplog.set_level("DEBUG")
    await exchange_over(Script(refusal(503), OK), clock).perform(head_object("key"))
    assert "HEAD 'key': 200" in caplog.text
    for secret in ("token", "secret", "Signature"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("size_bytes", "allowance_seconds"), [(0, 0), (160 * MIB, 10), (5 * GIB, 320), (5000 * GIB, 320)]
)
async def test_the_wait_for_an_answer_grows_with_what_the_server_has_to_do(
    autojump_clock, clock, size_bytes, allowance_seconds
):
    script = Script(OK)
    request = copy_object("bucket", "a", "b", attributes=None, conditions={}, size_bytes=size_bytes)
    await exchange_over(script, clock).perform(request)
    (attempt,) = script.attempts
    assert attempt.answer_timeout_seconds - attempt.io_timeout_seconds == pytest.approx(allowance_seconds)
    assert attempt.io_timeout_seconds == 20


async def test_a_region_that_nobody_knows_is_an_error_of_the_service(autojump_clock, clock):
    class Lost(Finder):
        def find_blocking(self, region=None):
            if region:
                raise UserError("no such region")
            return super().find_blocking()

    script = Script(refusal(301, "PermanentRedirect", x_amz_bucket_region="nowhere"))
    failure = await error_of(exchange_over(script, clock, finder=Lost()), head_object("key"))
    assert (failure.reason, failure.message) == (Reason.REFUSED, "no such region")
