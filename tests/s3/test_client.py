"""The client against a server that loses answers, misbehaves, or knows no conditions."""

from __future__ import annotations

import base64
import hashlib
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import unquote

import pytest
import trio

from s3rolefs.config import StoreConfig
from s3rolefs.errors import Reason, StoreError, UserError
from s3rolefs.model import FirstPage, ListPage, UploadedPart
from s3rolefs.s3.client import S3Client
from s3rolefs.s3.store import ObjectAttributes
from tests.s3.scripted import (
    ScriptedServer,
    answer,
    error,
    error_document,
    hang_up,
    head,
    head_of,
    raw,
    slam,
)
from tests.s3.test_exchange import Sessions

ATTRIBUTES = ObjectAttributes(metadata={"mtime": "1700000000.123456789"})
BODY = b"content"
MD5 = hashlib.md5(BODY).hexdigest()
PARTS = [UploadedPart(number=1, etag="a" * 32), UploadedPart(number=2, etag="b" * 32)]
UPLOAD_ETAG = hashlib.md5(bytes.fromhex("a" * 32 + "b" * 32)).hexdigest() + "-2"
COMPLETED = b"<CompleteMultipartUploadResult><ETag>&quot;%s&quot;</ETag></CompleteMultipartUploadResult>"
COPIED = b"<CopyObjectResult><ETag>&quot;new&quot;</ETag></CopyObjectResult>"


@asynccontextmanager
async def client_of(server, clock, *, environ=None, **config):
    store = StoreConfig(bucket="bucket", endpoint_url=server.url, **{"io_timeout_seconds": 5.0, **config})
    client = S3Client(store, Sessions(), clock, environ=environ or {})
    try:
        with trio.fail_after(10):
            yield client
    finally:
        with trio.CancelScope(shield=True):
            await client.aclose()


@asynccontextmanager
async def talking(*steps, clock, **config):
    """Give a server that follows the steps and a client of it."""
    with ScriptedServer(*steps) as server:
        async with client_of(server, clock, **config) as client:
            yield server, client


@asynccontextmanager
async def refused():
    with pytest.raises(StoreError) as caught:
        yield caught


def kinds(client):
    return dict(client.counts)


# Lost answers --------------------------------------------------------------------------------


async def test_a_conditional_put_whose_answer_was_lost_is_found_to_have_succeeded(clock):
    lost = (slam, error(412, "PreconditionFailed"), head_of(7, MD5))
    async with talking(*lost, clock=clock) as (_, client):
        stored = await client.put("k", BODY, ATTRIBUTES, if_none_match=True)
        assert stored.etag == MD5
        assert kinds(client) == {"PUT": 2, "HEAD": 1}


async def test_a_lost_put_is_known_by_its_metadata_where_etags_are_no_md5(clock):
    found = head_of(7, "f" * 32, x_amz_meta_mtime=ATTRIBUTES.metadata["mtime"])
    async with talking(slam, error(412, "PreconditionFailed"), found, clock=clock) as (_, client):
        assert (await client.put("k", BODY, ATTRIBUTES, if_match="old")).etag == "f" * 32


@pytest.mark.parametrize("found", [head_of(7, "f" * 32), head_of(8, MD5), error(404, "")])
async def test_somebody_elses_put_is_not_taken_for_ours(clock, found):
    async with talking(slam, error(412, "PreconditionFailed"), found, clock=clock) as (_, client):
        async with refused() as caught:
            await client.put("k", BODY, ATTRIBUTES, if_none_match=True)
        assert caught.value.reason is Reason.PRECONDITION


async def test_a_refusal_without_a_lost_answer_stands_even_if_the_content_is_the_same(clock):
    async with talking(error(412, "PreconditionFailed"), head_of(7, MD5), clock=clock) as (_, client):
        async with refused() as caught:
            await client.put("k", BODY, ATTRIBUTES, if_none_match=True)
        assert caught.value.reason is Reason.PRECONDITION
        assert kinds(client) == {"PUT": 1}


async def test_a_role_that_may_not_look_gets_the_services_answer(clock):
    steps = (slam, error(412, "PreconditionFailed"), answer(403))
    async with talking(*steps, clock=clock) as (_, client):
        async with refused() as caught:
            await client.put("k", BODY, ATTRIBUTES, if_none_match=True)
        assert (caught.value.reason, caught.value.outcome_unknown) == (Reason.PRECONDITION, True)


async def test_an_upload_that_is_gone_was_completed_by_us(clock):
    steps = (slam, error(404, "NoSuchUpload"), head_of(100, UPLOAD_ETAG, x_amz_version_id="v7"))
    async with talking(*steps, clock=clock) as (_, client):
        stored = await client.complete_multipart("k", "u", PARTS, size_bytes=100)
        assert (stored.etag, stored.version_id) == (UPLOAD_ETAG, "v7")


async def test_a_later_call_finds_an_earlier_completion_by_its_etag(clock):
    async with talking(error(404, "NoSuchUpload"), head_of(100, UPLOAD_ETAG), clock=clock) as (_, client):
        assert (await client.complete_multipart("k", "u", PARTS, size_bytes=100)).etag == UPLOAD_ETAG


@pytest.mark.parametrize("found", [head_of(100, "c" * 32 + "-2"), error(404, "")])
async def test_an_upload_that_is_gone_for_good(clock, found):
    async with talking(error(404, "NoSuchUpload"), found, clock=clock) as (_, client):
        async with refused() as caught:
            await client.complete_multipart("k", "u", PARTS, size_bytes=100)
        assert caught.value.reason is Reason.NO_SUCH_UPLOAD


@pytest.mark.parametrize("gone", [True, False])
async def test_a_service_that_fails_inside_over_an_upload_that_is_gone(clock, gone):
    def service(received, connection):
        if received.method == "POST":
            return error(500, "InternalError")(received, connection)
        if received.method == "HEAD" or gone:
            return error(404, "" if received.method == "HEAD" else "NoSuchUpload")(received, connection)
        return answer(200, b"<ListPartsResult/>")(received, connection)

    async with talking(service, clock=clock, io_timeout_seconds=0.3) as (_, client):
        async with refused() as caught:
            await client.complete_multipart("k", "u", PARTS, size_bytes=100)
        assert caught.value.reason is (Reason.NO_SUCH_UPLOAD if gone else Reason.UNREACHABLE)


async def test_a_completion_of_encrypted_parts_is_known_by_size_and_count(clock):
    parts = [UploadedPart(number=1, etag="kms!")]
    steps = (hang_up, error(404, "NoSuchUpload"), head_of(100, "c" * 32 + "-1"))
    async with talking(*steps, clock=clock) as (_, client):
        assert (await client.complete_multipart("k", "u", parts, size_bytes=100)).etag == "c" * 32 + "-1"


@pytest.mark.parametrize("first", [answer(200, error_document("InternalError")), slam])
async def test_a_completion_that_fails_inside_a_success_is_repeated(clock, first):
    async with talking(first, answer(200, COMPLETED % b"e-2"), clock=clock) as (server, client):
        assert (await client.complete_multipart("k", "u", PARTS, size_bytes=100)).etag == "e-2"
        assert server.requests[1].body.count(b"<Part>") == 2


async def test_a_completion_behind_keep_alive_whitespace(clock):
    body = b"   \n  " + b'<?xml version="1.0"?>' + COMPLETED % b"e-2"
    async with talking(answer(200, body), clock=clock) as (_, client):
        assert (await client.complete_multipart("k", "u", PARTS, size_bytes=100)).etag == "e-2"


async def test_a_completion_that_does_not_tell_the_etag_is_looked_at(clock):
    steps = (answer(200, COMPLETED % b""), head_of(100, UPLOAD_ETAG))
    async with talking(*steps, clock=clock) as (_, client):
        assert (await client.complete_multipart("k", "u", PARTS, size_bytes=100)).etag == UPLOAD_ETAG


async def test_a_copy_that_fails_inside_a_success_is_repeated(clock):
    steps = (answer(200, error_document("SlowDown")), answer(200, COPIED))
    async with talking(*steps, clock=clock) as (server, client):
        assert (await client.copy("a b", "c")).etag == "new"
        assert server.requests[1].headers["x-amz-copy-source"] == "/bucket/a%20b"


async def test_an_own_metadata_copy_whose_answer_was_lost_is_recognised(clock):
    # A copy of a multipart object onto itself changes its ETag: the repeat finds another one.
    after = head_of(
        7,
        MD5,
        last_modified="Tue, 14 Nov 2023 22:13:21 GMT",
        x_amz_meta_mtime=ATTRIBUTES.metadata["mtime"],
    )
    steps = (head_of(7, "x-2"), slam, error(412, "PreconditionFailed"), after)
    async with talking(*steps, clock=clock) as (_, client):
        stored = await client.copy("k", "k", attributes=ATTRIBUTES, if_match="x-2")
        assert stored.etag == MD5


# Conditions ----------------------------------------------------------------------------------


async def test_etags_go_without_quotes_where_the_service_wants_them_so(clock):
    def only_unquoted(received, connection):
        condition = received.headers.get("if-match")
        if received.method == "HEAD":
            return head_of(7, "old")(received, connection)
        return (answer(200, etag="new") if condition == "old" else error(412, "PreconditionFailed"))(
            received, connection
        )

    async with talking(only_unquoted, clock=clock) as (_, client):
        await client.put("k", BODY, ATTRIBUTES, if_match="old")
        assert kinds(client) == {"PUT": 2, "HEAD": 1}
        await client.put("k", BODY, ATTRIBUTES, if_match="old")
        assert kinds(client) == {"PUT": 3, "HEAD": 1}
        assert (await client.capabilities()).quotes_etags is False


async def test_a_changed_object_is_not_mistaken_for_a_matter_of_quotes(clock):
    steps = (error(412, "PreconditionFailed"), head_of(7, "other"), answer(200))
    async with talking(*steps, clock=clock) as (_, client):
        async with refused() as caught:
            await client.put("k", BODY, ATTRIBUTES, if_match="old")
        assert caught.value.reason is Reason.PRECONDITION
        assert kinds(client) == {"PUT": 1, "HEAD": 1}


async def test_an_object_that_is_gone_fails_its_if_match(clock):
    async with talking(error(404, "NoSuchKey"), error(404, ""), clock=clock) as (_, client):
        async with refused() as caught:
            await client.put("k", BODY, ATTRIBUTES, if_match="old")
        assert caught.value.reason is Reason.PRECONDITION


async def test_a_service_without_conditions_is_asked_before(clock):
    steps = (error(501, "NotImplemented"), head_of(7, "old"), answer(200, etag="new"))
    async with talking(*steps, head_of(7, "other"), clock=clock) as (server, client):
        assert (await client.put("k", BODY, ATTRIBUTES, if_match="old")).etag == "new"
        assert "if-match" not in server.requests[2].headers
        async with refused() as caught:
            await client.put("k", BODY, ATTRIBUTES, if_match="old")
        assert caught.value.reason is Reason.PRECONDITION
        assert kinds(client) == {"PUT": 2, "HEAD": 2}


async def test_a_completion_looks_first_where_conditions_may_be_overlooked(clock):
    async with talking(head_of(3, "somebodys"), clock=clock) as (_, client):
        async with refused() as caught:
            await client.complete_multipart("k", "u", PARTS, size_bytes=100, if_none_match=True)
        assert caught.value.reason is Reason.PRECONDITION
        assert kinds(client) == {"HEAD": 1}


@pytest.mark.parametrize("honours", [True, False])
async def test_whether_copies_heed_a_condition_is_tried_once_when_there_is_a_second(clock, honours):
    def service(received, connection):
        if received.method == "HEAD":
            return head_of(7, "v1")(received, connection)
        matches = received.headers["x-amz-copy-source-if-match"] == '"v1"'
        step = answer(200, COPIED) if matches or not honours else error(412, "PreconditionFailed")
        return step(received, connection)

    async with talking(service, clock=clock) as (_, client):
        await client.copy("a", "b", if_match="v1")
        assert (await client.capabilities()).copy_honours_source_condition is None
        assert kinds(client) == {"HEAD": 1, "COPY": 1}
        async with trio.open_nursery() as nursery:  # those at once try it together
            for target in ("c", "d", "e"):
                nursery.start_soon(partial(client.copy, "a", target, if_match="v1"))
        assert (await client.capabilities()).copy_honours_source_condition is honours
        assert kinds(client) == ({"HEAD": 2, "COPY": 5} if honours else {"HEAD": 4, "COPY": 4})
        await client.copy("a", "b", if_match="v1")
        assert kinds(client) == ({"HEAD": 2, "COPY": 6} if honours else {"HEAD": 5, "COPY": 5})
        async with refused() as caught:
            await client.copy("a", "b", if_match="v0")
        assert caught.value.reason is Reason.PRECONDITION


async def test_a_part_copied_from_a_version_that_changed_meanwhile_is_refused(clock):
    copied = answer(200, b"<CopyPartResult><ETag>p</ETag></CopyPartResult>")
    async with talking(copied, head_of(7, "v2"), clock=clock) as (_, client):
        async with refused() as caught:
            await client.upload_part_copy("k", "u", 1, source="s", offset=0, length=7, if_match="v1")
        assert caught.value.reason is Reason.PRECONDITION


# Reading -------------------------------------------------------------------------------------


async def test_a_download_that_breaks_off_is_resumed(clock):
    data = bytes(range(200)) * 5000
    names = {"content-length": "1000000", "etag": '"v1"', "content-range": "bytes 0-999999/1000000"}

    def second(received, connection):
        assert received.headers["range"] == "bytes=400000-999999"
        assert received.headers["if-match"] == '"v1"'
        rest = answer(206, data[400_000:], content_range="bytes 400000-999999/1000000", etag='"v1"')
        return rest(received, connection)

    filled = []
    buffers = [memoryview(bytearray(300_000)), memoryview(bytearray(700_000))]
    async with talking(raw(head(206, names) + data[:400_000]), second, clock=clock) as (_, client):
        info = await client.get("k", buffers, on_filled=filled.append)
    assert b"".join(buffers) == data
    assert (info.size_bytes, info.etag, filled) == (1_000_000, "v1", [0, 1])


async def test_a_version_that_changed_is_never_delivered(clock):
    buffer = bytearray(4)
    wrong = answer(206, b"evil", content_range="bytes 0-3/4", etag='"v2"')
    async with talking(wrong, clock=clock) as (_, client):
        async with refused() as caught:
            await client.get("k", [memoryview(buffer)], if_match="v1")
        assert caught.value.reason is Reason.PRECONDITION
    assert buffer == bytes(4)


@pytest.mark.parametrize(
    "wrong",
    [
        answer(206, b"four", content_range="bytes 8-11/12"),
        answer(206, b"abc", content_range="bytes 4-6/7"),
        answer(200, b"the whole object"),
        answer(206, b"four"),
        error(416, "InvalidRange"),
    ],
)
async def test_an_answer_with_other_bytes_is_corrupt(clock, wrong):
    buffer = bytearray(4)
    async with talking(wrong, clock=clock) as (_, client):
        async with refused() as caught:
            await client.get("k", [memoryview(buffer)], offset=4)
        assert caught.value.reason is Reason.CORRUPT
    assert buffer == bytes(4)


async def test_a_service_that_ignores_ranges_can_still_be_read_from_the_start(clock):
    buffer = bytearray(4)
    async with talking(answer(200, b"four and more"), clock=clock) as (_, client):
        assert (await client.get("k", [memoryview(buffer)])).size_bytes == 13
    assert buffer == b"four"


# Deleting, listing, guarding -----------------------------------------------------------------


async def test_a_batch_carries_its_md5_and_leaves_odd_keys_to_themselves(clock):
    failed = b"<Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
    batch_answer = answer(200, b"<DeleteResult>" + failed + b"</DeleteResult>")

    def service(received, connection):
        step = batch_answer if received.method == "POST" else answer(204)
        return step(received, connection)

    async with talking(service, clock=clock) as (server, client):
        failures = await client.delete_many(["a&<", "b", "odd\x01", "odd\n"])
        batch = next(request for request in server.requests if request.method == "POST")
        digest = base64.b64encode(hashlib.md5(batch.body).digest()).decode()
        assert batch.headers["content-md5"] == digest
        assert b"<Key>a&amp;&lt;</Key><" in batch.body
        assert b"odd" not in batch.body
        singles = {unquote(request.target) for request in server.requests if request.method == "DELETE"}
        assert singles == {"/bucket/odd\x01", "/bucket/odd\n"}
    assert [(failure.key, failure.code) for failure in failures] == [("b", "AccessDenied")]


async def test_keys_that_a_batch_could_not_delete_now_are_sent_again(clock):
    busy = b"<DeleteResult><Error><Key>b</Key><Code>InternalError</Code></Error></DeleteResult>"
    steps = (answer(200, busy), answer(200, b"<DeleteResult/>"))
    async with talking(*steps, clock=clock) as (server, client):
        assert await client.delete_many(["a", "b"]) == []
        assert b"<Key>a</Key>" not in server.requests[1].body


async def test_a_service_without_batches_deletes_singly(clock):
    async with talking(error(501, "NotImplemented"), answer(204), clock=clock) as (_, client):
        assert await client.delete_many(["a", "b"]) == []
        assert await client.delete_many(["c"]) == []
        assert kinds(client) == {"DELETE_MANY": 1, "DELETE": 3}


async def test_nothing_is_sent_outside_the_prefix(clock):
    view = [memoryview(bytearray(1))]
    async with talking(answer(200), clock=clock, prefix="team/") as (server, client):
        for call in (
            lambda: client.head("other"),
            lambda: client.get("teams/k", view),
            lambda: client.put("k", b"", ATTRIBUTES),
            lambda: client.delete("tea"),
            lambda: client.delete_many(["team/a", "b"]),
            lambda: client.copy("k", "team/k"),
            lambda: client.copy("team/k", "k"),
            lambda: client.list_page(""),
            lambda: client.create_multipart("k", ATTRIBUTES),
            lambda: client.upload_part("k", "u", 1, b""),
            lambda: client.upload_part_copy("team/k", "u", 1, source="k", offset=0, length=1),
            lambda: client.complete_multipart("k", "u", PARTS, size_bytes=1),
            lambda: client.abort_multipart("k", "u"),
        ):
            async with refused() as caught:
                await call()
            assert caught.value.reason is Reason.NOT_PERMITTED
        assert server.requests == []


@pytest.mark.parametrize(
    ("key", "reason"),
    [("", Reason.INVALID), ("k" * 1025, Reason.NAME_TOO_LONG), ("\udc80", Reason.NAME_UNREPRESENTABLE)],
)
async def test_a_key_that_s3_has_no_name_for_is_never_sent(clock, key, reason):
    async with talking(answer(204), clock=clock) as (server, client):
        for call in (client.delete, client.head):
            async with refused() as caught:
                await call(key)
            assert caught.value.reason is reason
        assert server.requests == []


# Readiness -----------------------------------------------------------------------------------


async def test_ready_is_one_page_of_what_lies_below_the_prefix(clock):
    page = answer(200, b"<ListBucketResult/>")
    async with talking(page, clock=clock, prefix="team/") as (server, client):
        readiness = await client.check_ready()
        assert readiness.first_page == FirstPage(
            prefix="team/",
            page=ListPage(objects=(), prefixes=(), next_token=None),
            asked_at_seconds=clock.boot_seconds(),
        )
        assert [(request.method, request.target) for request in server.requests] == [
            ("GET", "/bucket/?encoding-type=url&list-type=2&max-keys=1000&prefix=team%2F")
        ]


async def test_a_role_that_may_not_list_is_told_apart(clock):
    async with talking(error(403, "AccessDenied"), clock=clock) as (_, client):
        assert (await client.check_ready()).first_page is None


@pytest.mark.parametrize(
    ("step", "reason", "code"),
    [
        (error(404, "NoSuchBucket"), Reason.NOT_FOUND, "NoSuchBucket"),
        (error(403, "InvalidAccessKeyId"), Reason.ACCESS_DENIED, "InvalidAccessKeyId"),
        (error(403, "SignatureDoesNotMatch"), Reason.ACCESS_DENIED, "SignatureDoesNotMatch"),
        (error(400, "ExpiredToken"), Reason.SESSION_EXPIRED, "ExpiredToken"),
        (answer(200, b"<html>Welcome to nginx</html>"), Reason.REFUSED, "NotS3"),
        (answer(200, b"hello"), Reason.REFUSED, "NotS3"),
        (answer(404, b"<html>Not found</html>"), Reason.NOT_FOUND, "NotS3"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), Reason.UNREACHABLE, "ConnectionBroken"),
    ],
)
async def test_what_a_wrong_address_or_bucket_answers(clock, step, reason, code):
    async with talking(step, clock=clock) as (_, client):
        async with refused() as caught:
            await client.check_ready(patience_seconds=0.3)
        assert (caught.value.reason, caught.value.code) == (reason, code)


def test_a_client_knows_whose_service_the_environment_names(clock):
    here, store = {"AWS_ENDPOINT_URL": "http://env"}, StoreConfig(bucket="bucket")
    assert S3Client(store, Sessions(), clock, environ=here).endpoint_url == "http://env"
    assert S3Client(store, Sessions(), clock, environ={}).endpoint_url is None


def test_a_ca_bundle_that_is_not_there_is_said_at_once(clock, tmp_path):
    store = StoreConfig(bucket="bucket", ca_bundle=str(tmp_path / "none.pem"))
    with pytest.raises(UserError, match=r"none\.pem cannot be read .No such file"):
        S3Client(store, Sessions(), clock, environ={})
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(UserError, match="holds no certificate"):
        S3Client(StoreConfig(bucket="bucket"), Sessions(), clock, environ={"AWS_CA_BUNDLE": str(empty)})
