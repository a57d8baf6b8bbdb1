"""Hold every implementation of `ObjectStore` to one contract: the fakes, and the client on servers."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import MIB, Key
from s3rolefs.s3.store import FileSpan, ObjectAttributes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from s3rolefs.s3.store import ObjectStore

PLAIN = ObjectAttributes()
RICH = ObjectAttributes(
    metadata={"mode": "33188", "mtime": "1700000000.123456789", "name": "grüße 日本"},
    headers={
        "content-type": "text/x-test",
        "cache-control": "max-age=5",
        "content-encoding": "identity",
        "content-disposition": 'attachment; filename="a b"',
        "content-language": "de",
    },
)
ODD_KEYS = [
    "a//b",
    "/lead",
    "//",
    "x/../y",
    "./x",
    "trail/",
    "with space",
    " edges ",
    "plus+percent%25&amp;?query=1#fragment",
    "grüße/日本/😀",
    "e\u0301",
    "tab\tand\rreturn",
    "control\x01\x1f\x7f",
    "quote'\"<>&",
    "back\\slash",
    "~tilde*star:colon=equal",
    "null\ufffd",
    "%41",
    "..",
    "k" * 1024,
]


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@contextmanager
def failing(reason: Reason) -> Iterator[None]:
    with pytest.raises(StoreError) as caught:
        yield
    assert caught.value.reason is reason


async def put(store: ObjectStore, *keys: str, data: bytes = b"x") -> None:
    for key in keys:
        await store.put(Key(key), data, PLAIN)


async def read(store: ObjectStore, key: str, length: int, offset: int = 0, **more: str) -> bytes:
    buffer = bytearray(length)
    await store.get(Key(key), [memoryview(buffer)], offset=offset, **more)
    return bytes(buffer)


async def names(store: ObjectStore, prefix: str = "", *, limit: int = 1000, **more: str) -> list[str]:
    """List to the end and return objects and prefixes as they come, page by page."""
    found: list[str] = []
    token = None
    while True:
        page = await store.list_page(prefix, token=token, limit=limit, **more)
        count = len(page.objects) + len(page.prefixes)
        assert count <= limit
        found += sorted([info.key for info in page.objects] + list(page.prefixes))
        token = page.next_token
        if token is None:
            return found
        assert count > 0


class TestPutAndGet:
    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1024], ids=len)
    async def test_bytes_come_back(self, store: ObjectStore, data: bytes):
        stored = await store.put(Key("k"), data, PLAIN)
        assert stored.etag == md5(data)
        info = await store.head(Key("k"))
        assert (info.key, info.size_bytes, info.etag) == ("k", len(data), md5(data))
        if data:
            assert await read(store, "k", len(data)) == data

    async def test_all_kinds_of_body(self, store: ObjectStore, tmp_path: Path):
        data = os.urandom(100_000)
        spool = tmp_path / "spool"
        spool.write_bytes(b"before" + data + b"after")
        fd = os.open(spool, os.O_RDONLY)
        try:
            await store.put(Key("span"), FileSpan(fd=fd, offset=6, length=len(data)), PLAIN)
        finally:
            os.close(fd)
        await store.put(Key("view"), memoryview(b"__" + data)[2:], PLAIN)
        assert await read(store, "span", len(data)) == data
        assert await read(store, "view", len(data)) == data

    async def test_overwriting_replaces_everything(self, store: ObjectStore):
        await store.put(Key("k"), b"old and long", RICH)
        await store.put(Key("k"), b"new", PLAIN)
        info = await store.head(Key("k"))
        assert info.size_bytes == 3
        assert info.metadata == {}
        assert "cache-control" not in (info.headers or {})

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 1), (0, 10), (3, 4), (9, 1)], ids=lambda number: str(number)
    )
    async def test_ranges(self, store: ObjectStore, offset: int, length: int):
        await put(store, "k", data=b"0123456789")
        assert await read(store, "k", length, offset) == b"0123456789"[offset : offset + length]

    @pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (100, 5)])
    async def test_more_than_there_is_is_corrupt(self, store: ObjectStore, offset: int, length: int):
        await put(store, "k", data=b"0123456789")
        with failing(Reason.CORRUPT):
            await read(store, "k", length, offset)

    async def test_nothing_can_be_read_of_an_empty_object(self, store: ObjectStore):
        await put(store, "k", data=b"")
        with failing(Reason.CORRUPT):
            await read(store, "k", 1)

    async def test_buffers_are_filled_in_order(self, store: ObjectStore):
        data = os.urandom(300_000)
        await put(store, "k", data=data)
        buffers = [bytearray(100_000), bytearray(1), bytearray(150_000)]
        told: list[int] = []

        def filled(index: int) -> None:
            start = sum(map(len, buffers[:index])) + 7
            assert buffers[index] == data[start : start + len(buffers[index])]
            told.append(index)

        into = [memoryview(buffer) for buffer in buffers]
        info = await store.get(Key("k"), into, offset=7, on_filled=filled)
        assert told == [0, 1, 2]
        assert b"".join(buffers) == data[7:250_008]
        assert (info.size_bytes, info.etag) == (300_000, md5(data))

    async def test_get_and_head_tell_the_same(self, store: ObjectStore):
        await store.put(Key("k"), b"text", RICH)
        head = await store.head(Key("k"))
        got = await store.get(Key("k"), [memoryview(bytearray(2))], offset=1)
        for info in (head, got):
            assert info.size_bytes == 4
            assert info.metadata == RICH.metadata
            assert info.headers == RICH.headers
            assert info.storage_class == "STANDARD"
        assert head.last_modified_ns == got.last_modified_ns

    async def test_times_are_the_servers(self, store: ObjectStore):
        before = time.time_ns()
        stored = await store.put(Key("k"), b"text", PLAIN)
        info = await store.head(Key("k"))
        listed = (await store.list_page("")).objects[0]
        after = time.time_ns()
        slack_ns = 1_000_000_000
        for moment in (
            stored.last_modified_ns,
            info.last_modified_ns,
            info.asked_at_ns,
            listed.last_modified_ns,
            listed.asked_at_ns,
        ):
            assert before - slack_ns <= moment <= after

    async def test_what_is_not_there_is_not_found(self, store: ObjectStore):
        with failing(Reason.NOT_FOUND):
            await store.head(Key("none"))
        with failing(Reason.NOT_FOUND):
            await read(store, "none", 1)
        with failing(Reason.NOT_FOUND):
            await read(store, "none", 1, if_match=md5(b""))

    @pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: ascii(key[:20]))
    async def test_odd_keys(self, store: ObjectStore, key: str):
        await put(store, key, data=b"text")
        assert (await store.head(Key(key))).key == key
        assert await read(store, key, 4) == b"text"
        assert await names(store, delimiter="") == [key]
        assert await names(store, key, delimiter="") == [key]
        await store.copy(Key(key), Key(key + "copy" if len(key) < 1000 else "copy"))
        assert await store.delete_many([Key(key)]) in ([], ())
        with failing(Reason.NOT_FOUND):
            await store.head(Key(key))

    # moto's routing does not know such a path.
    @pytest.mark.parametrize("kind", ["memory", "faults", "radosgw"], indirect=True)
    async def test_a_newline_in_a_key(self, store: ObjectStore):
        await put(store, "new\nline", data=b"text")
        assert await read(store, "new\nline", 4) == b"text"
        assert await names(store) == ["new\nline"]
        assert list(await store.delete_many([Key("new\nline")])) == []
        assert await names(store) == []

    async def test_a_key_above_1024_bytes_is_too_long(self, store: ObjectStore):
        with failing(Reason.NAME_TOO_LONG):
            await put(store, "k" * 1025)

    @pytest.mark.parametrize(
        "value", ["", "plain", "a  b", " edge ", "line\nbreak", "ü", "=?UTF-8?Q?a?=", "😀" * 40]
    )
    async def test_metadata_values(self, store: ObjectStore, value: str):
        await store.put(Key("k"), b"", ObjectAttributes(metadata={"a-b": value, "other": "x"}))
        assert (await store.head(Key("k"))).metadata == {"a-b": value, "other": "x"}

    async def test_unusable_attributes_are_refused(self, store: ObjectStore):
        for attributes in (
            ObjectAttributes(metadata={"Upper": "x"}),
            ObjectAttributes(headers={"host": "x"}),
            ObjectAttributes(headers={"content-type": "a\r\nhost: b"}),
        ):
            with failing(Reason.INVALID):
                await store.put(Key("k"), b"", attributes)


class TestListing:
    async def test_an_empty_bucket(self, store: ObjectStore):
        page = await store.list_page("")
        assert (page.objects, page.prefixes, page.next_token) == ((), (), None)

    async def test_order_is_that_of_bytes_and_prefixes_stand_among_keys(self, store: ObjectStore):
        await put(store, "a0", "a/x", "a-", "a/y/z", "B", "é", "a", "\U0001f600", "\uffee")
        assert await names(store) == sorted(["B", "a", "a-", "a/", "a0", "é", "\uffee", "\U0001f600"])
        for limit in (1, 2, 3):
            assert await names(store, limit=limit) == await names(store)
        assert await names(store, "a") == ["a", "a-", "a/", "a0"]
        assert await names(store, "a/") == ["a/x", "a/y/"]
        assert await names(store, delimiter="", limit=2) == sorted(
            ["B", "a", "a-", "a/x", "a/y/z", "a0", "é", "\uffee", "\U0001f600"]
        )

    async def test_a_marker_with_content_is_a_prefix_above_and_an_object_inside(self, store: ObjectStore):
        await put(store, "d/", "d/f", data=b"text")
        above = await store.list_page("")
        assert (above.objects, above.prefixes) == ((), ("d/",))
        inside = await store.list_page("d/")
        assert [(info.key, info.size_bytes) for info in inside.objects] == [("d/", 4), ("d/f", 4)]

    async def test_empty_components(self, store: ObjectStore):
        await put(store, "a//b", "/lead", "a/b")
        assert await names(store) == ["/", "a/"]
        assert await names(store, "a/") == ["a//", "a/b"]
        assert await names(store, "a//") == ["a//b"]
        assert await names(store, "/") == ["/lead"]

    async def test_more_than_a_page_of_keys(self, store: ObjectStore):
        keys = [f"d/{number:04}" for number in range(25)]
        await put(store, *keys, "e")
        for limit in (7, 25, 26, 1000):
            assert await names(store, "d/", limit=limit) == keys
        assert await names(store, limit=1) == ["d/", "e"]

    @pytest.mark.parametrize("kind", ["memory", "faults", "radosgw"], indirect=True)
    async def test_a_page_has_a_thousand_names_at_most(self, store: ObjectStore):
        keys = [f"{number:04}" for number in range(1003)]
        async with trio.open_nursery() as nursery:
            for start in range(16):
                nursery.start_soon(put, store, *keys[start::16])
        page = await store.list_page("", limit=1000)
        assert [info.key for info in page.objects] == keys[:1000]
        rest = await store.list_page("", token=page.next_token)
        assert ([info.key for info in rest.objects], rest.next_token) == (keys[1000:], None)

    async def test_control_characters_at_the_edge_of_a_page(self, store: ObjectStore):
        await put(store, "d\x01/a\x02", "d\x01/b\x1f", "d\x01/c")
        assert await names(store, "d\x01/", limit=1) == ["d\x01/a\x02", "d\x01/b\x1f", "d\x01/c"]
        assert await names(store, "d\x01/", start_after="d\x01/a\x02") == ["d\x01/b\x1f", "d\x01/c"]
        assert await names(store, limit=1) == ["d\x01/"]

    async def test_start_after(self, store: ObjectStore):
        await put(store, "a", "b", "b/x", "c")
        assert await names(store, start_after="b", delimiter="") == ["b/x", "c"]
        assert await names(store, start_after="b", limit=1) == ["b/", "c"]
        assert await names(store, start_after="c") == []

    async def test_what_a_listing_tells(self, store: ObjectStore):
        await store.put(Key("k"), b"text", RICH)
        listed = (await store.list_page("")).objects[0]
        assert (listed.key, listed.size_bytes, listed.etag) == ("k", 4, md5(b"text"))
        assert (listed.metadata, listed.headers) == (None, None)
        assert listed.storage_class == "STANDARD"


class TestConditions:
    async def test_put_of_a_new_key_only(self, store: ObjectStore):
        await store.put(Key("k"), b"one", PLAIN, if_none_match=True)
        with failing(Reason.PRECONDITION):
            await store.put(Key("k"), b"two", PLAIN, if_none_match=True)
        assert await read(store, "k", 3) == b"one"

    async def test_put_over_the_version_known(self, store: ObjectStore):
        first = await store.put(Key("k"), b"one", PLAIN)
        second = await store.put(Key("k"), b"two", PLAIN, if_match=first.etag)
        with failing(Reason.PRECONDITION):
            await store.put(Key("k"), b"three", PLAIN, if_match=first.etag)
        await store.put(Key("k"), b"four", PLAIN, if_match=second.etag)
        assert await read(store, "k", 4) == b"four"
        await store.delete(Key("k"))
        with failing(Reason.PRECONDITION):
            await store.put(Key("k"), b"five", PLAIN, if_match=md5(b"four"))

    async def test_get_of_the_version_known(self, store: ObjectStore):
        await put(store, "k", data=b"one")
        assert await read(store, "k", 3, if_match=md5(b"one")) == b"one"
        await put(store, "k", data=b"two")
        with failing(Reason.PRECONDITION):
            await read(store, "k", 3, if_match=md5(b"one"))

    async def test_copy_of_the_version_known_to_a_new_key(self, store: ObjectStore):
        await put(store, "k", data=b"one")
        with failing(Reason.PRECONDITION):
            await store.copy(Key("k"), Key("c"), if_match=md5(b"two"))
        await store.copy(Key("k"), Key("c"), if_match=md5(b"one"), if_none_match=True)
        with failing(Reason.PRECONDITION):
            await store.copy(Key("k"), Key("c"), if_none_match=True)

    async def test_complete_of_a_new_key_only(self, store: ObjectStore):
        await put(store, "k", data=b"there")
        upload = await store.create_multipart(Key("k"), PLAIN)
        part = await store.upload_part(Key("k"), upload, 1, b"new")
        with failing(Reason.PRECONDITION):
            await store.complete_multipart(Key("k"), upload, [part], size_bytes=3, if_none_match=True)
        assert await read(store, "k", 5) == b"there"

    async def test_complete_over_the_version_known(self, store: ObjectStore):
        await put(store, "k", data=b"there")
        for known, reason in ((md5(b"other"), Reason.PRECONDITION), (md5(b"there"), None)):
            upload = await store.create_multipart(Key("k"), PLAIN)
            part = await store.upload_part(Key("k"), upload, 1, b"new")
            if reason is None:
                await store.complete_multipart(Key("k"), upload, [part], size_bytes=3, if_match=known)
            else:
                with failing(reason):
                    await store.complete_multipart(Key("k"), upload, [part], size_bytes=3, if_match=known)
        assert await read(store, "k", 3) == b"new"


class TestCopy:
    async def test_everything_is_kept(self, store: ObjectStore):
        original = await store.put(Key("a"), b"text", RICH)
        copied = await store.copy(Key("a"), Key("d/b"))
        info = await store.head(Key("d/b"))
        assert copied.etag == info.etag == original.etag
        assert (info.metadata, info.headers, info.size_bytes) == (RICH.metadata, RICH.headers, 4)

    async def test_everything_is_replaced_in_place(self, store: ObjectStore):
        await store.put(Key("a"), b"text", RICH)
        new = ObjectAttributes(metadata={"mode": "33152"}, headers={"content-type": "text/plain"})
        await store.copy(Key("a"), Key("a"), attributes=new, if_match=md5(b"text"))
        info = await store.head(Key("a"))
        assert (info.metadata, info.headers) == (new.metadata, new.headers)
        assert await read(store, "a", 4) == b"text"

    async def test_of_what_is_not_there(self, store: ObjectStore):
        with failing(Reason.NOT_FOUND):
            await store.copy(Key("none"), Key("b"))

    async def test_of_an_empty_object(self, store: ObjectStore):
        await put(store, "a", data=b"")
        await store.copy(Key("a"), Key("b"))
        assert (await store.head(Key("b"))).size_bytes == 0


TAGGED = Key("tagged")
TAGS = "a=b&c%20d=e%2B%3D&empty="


class TestTags:
    async def test_an_object_without_tags(self, store: ObjectStore):
        await store.put(TAGGED, b"x", PLAIN)
        assert (await store.head(TAGGED)).tag_count == 0
        assert await store.tags(TAGGED) == ""

    async def test_they_are_put_with_the_object_and_told(self, store: ObjectStore):
        await store.put(TAGGED, b"x", tagged({}))
        assert (await store.head(TAGGED)).tag_count == 3
        assert sorted((await store.tags(TAGGED)).split("&")) == sorted(TAGS.split("&"))

    async def test_they_are_kept_when_a_copy_replaces_the_metadata(self, store: ObjectStore):
        await store.put(TAGGED, b"x", tagged({"old": "1"}))
        await store.copy(TAGGED, TAGGED, attributes=tagged({"new": "1"}))
        await store.keep_tags(TAGGED, TAGS)
        found = await store.head(TAGGED)
        assert (found.tag_count, found.metadata) == (3, {"new": "1"})
        assert sorted((await store.tags(TAGGED)).split("&")) == sorted(TAGS.split("&"))

    async def test_they_are_given_to_an_upload_in_parts(self, store: ObjectStore):
        upload_id = await store.create_multipart(TAGGED, tagged({}))
        part = await store.upload_part(TAGGED, upload_id, 1, b"x")
        stored = await store.complete_multipart(TAGGED, upload_id, [part], size_bytes=1)
        await store.keep_tags(TAGGED, TAGS)
        found = await store.head(TAGGED)
        assert (found.tag_count, found.etag) == (3, stored.etag)
        assert sorted((await store.tags(TAGGED)).split("&")) == sorted(TAGS.split("&"))

    async def test_a_plain_copy_has_them(self, store: ObjectStore):
        await store.put(TAGGED, b"x", tagged({}))
        await store.copy(TAGGED, Key("copy"))
        assert sorted((await store.tags(Key("copy"))).split("&")) == sorted(TAGS.split("&"))

    async def test_of_what_is_not_there(self, store: ObjectStore):
        with pytest.raises(StoreError) as caught:
            await store.tags(TAGGED)
        assert caught.value.reason is Reason.NOT_FOUND


def tagged(metadata: dict[str, str]) -> ObjectAttributes:
    return ObjectAttributes(metadata=metadata, headers={"x-amz-tagging": TAGS})


class TestDelete:
    async def test_one(self, store: ObjectStore):
        await put(store, "a", "b")
        await store.delete(Key("a"))
        await store.delete(Key("a"))
        assert await names(store) == ["b"]

    async def test_many_and_missing_ones(self, store: ObjectStore):
        keys = [Key(key) for key in ODD_KEYS]
        await put(store, *keys, "stays")
        assert list(await store.delete_many([*keys, Key("missing")])) == []
        assert await names(store, delimiter="") == ["stays"]
        assert list(await store.delete_many([])) == []

    async def test_not_more_than_a_batch(self, store: ObjectStore):
        with pytest.raises(ValueError, match="1000"):
            await store.delete_many([Key(str(number)) for number in range(1001)])


class TestMultipart:
    async def test_parts_become_one_object(self, store: ObjectStore):
        first, second, last = os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"
        upload = await store.create_multipart(Key("m"), RICH)
        two = await store.upload_part(Key("m"), upload, 2, second)
        replaced = await store.upload_part(Key("m"), upload, 1, last)
        one = await store.upload_part(Key("m"), upload, 1, memoryview(first))
        three = await store.upload_part(Key("m"), upload, 3, last)
        assert replaced.etag != one.etag
        assert await names(store) == []
        data = first + second + last
        stored = await store.complete_multipart(Key("m"), upload, [one, two, three], size_bytes=len(data))

        digests = b"".join(bytes.fromhex(part.etag) for part in (one, two, three))
        assert stored.etag == f"{md5(digests)}-3"
        info = await store.head(Key("m"))
        assert (info.etag, info.size_bytes) == (stored.etag, len(data))
        assert (info.metadata, info.headers) == (RICH.metadata, RICH.headers)
        assert await read(store, "m", len(data)) == data
        assert await read(store, "m", 2, 5 * MIB - 1) == data[5 * MIB - 1 : 5 * MIB + 1]

    async def test_parts_of_other_objects(self, store: ObjectStore):
        base = os.urandom(6 * MIB)
        await put(store, "base+é", data=base)
        source = Key("base+é")
        upload = await store.create_multipart(Key("m"), PLAIN)
        with failing(Reason.PRECONDITION):
            await store.upload_part_copy(
                Key("m"), upload, 1, source=source, offset=0, length=5 * MIB, if_match=md5(b"")
            )
        one = await store.upload_part_copy(
            Key("m"), upload, 1, source=source, offset=MIB, length=5 * MIB, if_match=md5(base)
        )
        assert one.etag == md5(base[MIB:])
        two = await store.upload_part(Key("m"), upload, 2, b"end")
        await store.complete_multipart(Key("m"), upload, [one, two], size_bytes=5 * MIB + 3)
        assert await read(store, "m", 5 * MIB + 3) == base[MIB:] + b"end"
        upload = await store.create_multipart(Key("m"), PLAIN)
        with failing(Reason.NOT_FOUND):
            await store.upload_part_copy(Key("m"), upload, 1, source=Key("none"), offset=0, length=1)

    async def test_small_parts_are_refused(self, store: ObjectStore):
        upload = await store.create_multipart(Key("m"), PLAIN)
        parts = [await store.upload_part(Key("m"), upload, number, b"small") for number in (1, 2)]
        with failing(Reason.REFUSED):
            await store.complete_multipart(Key("m"), upload, parts, size_bytes=10)

    async def test_a_part_that_was_replaced_is_refused(self, store: ObjectStore):
        upload = await store.create_multipart(Key("m"), PLAIN)
        stale = await store.upload_part(Key("m"), upload, 1, b"old")
        await store.upload_part(Key("m"), upload, 1, b"new")
        with failing(Reason.REFUSED):
            await store.complete_multipart(Key("m"), upload, [stale], size_bytes=3)

    async def test_an_upload_given_up_leaves_nothing(self, store: ObjectStore):
        upload = await store.create_multipart(Key("m"), PLAIN)
        await store.upload_part(Key("m"), upload, 1, b"text")
        await store.abort_multipart(Key("m"), upload)
        assert await names(store) == []

    # Where a kind is missing below, the server answers 500 to the question, as often as it is asked.
    @pytest.mark.parametrize("kind", ["memory", "faults", "radosgw"], indirect=True)
    async def test_an_upload_given_up_is_gone(self, store: ObjectStore):
        upload = await store.create_multipart(Key("m"), PLAIN)
        await store.abort_multipart(Key("m"), upload)
        await store.abort_multipart(Key("m"), upload)
        with failing(Reason.NO_SUCH_UPLOAD):
            await store.upload_part(Key("m"), upload, 1, b"text")

    @pytest.mark.parametrize("kind", ["memory", "faults"], indirect=True)
    async def test_an_upload_given_up_cannot_be_completed(self, store: ObjectStore):
        upload = await store.create_multipart(Key("m"), PLAIN)
        part = await store.upload_part(Key("m"), upload, 1, b"text")
        await store.abort_multipart(Key("m"), upload)
        with failing(Reason.NO_SUCH_UPLOAD):
            await store.complete_multipart(Key("m"), upload, [part], size_bytes=4)
