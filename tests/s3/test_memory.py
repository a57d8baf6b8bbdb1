"""Test of the in-memory store what the contract cannot ask of every server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import Key
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes

if TYPE_CHECKING:
    from tests.bed.clock import ManualClock

PLAIN = ObjectAttributes()
ARCHIVED = ObjectAttributes(headers={"x-amz-storage-class": "GLACIER"})
KEY = Key("k")
SECOND_NS = 1_000_000_000


async def reason_of(operation) -> Reason:
    with pytest.raises(StoreError) as caught:
        await operation
    return caught.value.reason


async def test_archived_objects_can_be_seen_but_not_read():
    store = MemoryStore()
    await store.put(KEY, b"text", ARCHIVED)
    assert (await store.head(KEY)).storage_class == "GLACIER"
    assert (await store.list_page("")).objects[0].storage_class == "GLACIER"
    assert await reason_of(store.get(KEY, [memoryview(bytearray(4))])) is Reason.ARCHIVED
    assert await reason_of(store.copy(KEY, Key("c"))) is Reason.ARCHIVED


async def test_a_copy_is_standard_unless_told():
    store = MemoryStore()
    await store.put(KEY, b"text", ObjectAttributes(headers={"x-amz-storage-class": "STANDARD_IA"}))
    await store.copy(KEY, Key("c"))
    assert (await store.head(KEY)).storage_class == "STANDARD_IA"
    assert (await store.head(Key("c"))).storage_class == "STANDARD"


async def test_times_are_whole_seconds_of_the_clock(clock: ManualClock):
    began_ns = int(clock.wall_seconds()) * SECOND_NS
    clock.advance(0.9)
    store = MemoryStore(clock)
    stored = await store.put(KEY, b"text", PLAIN)
    clock.advance(5)
    info = await store.head(KEY)
    assert stored.last_modified_ns == info.last_modified_ns == began_ns
    assert info.asked_at_ns == began_ns + 5 * SECOND_NS


async def test_a_multipart_object_is_as_old_as_its_upload(clock: ManualClock):
    began_ns = int(clock.wall_seconds()) * SECOND_NS
    store = MemoryStore(clock)
    upload = await store.create_multipart(KEY, PLAIN)
    assert store.upload_ids() == {upload}
    clock.advance(60)
    part = await store.upload_part(KEY, upload, 1, b"text")
    stored = await store.complete_multipart(KEY, upload, [part], size_bytes=4)
    assert stored.last_modified_ns == began_ns + 60 * SECOND_NS
    assert (await store.head(KEY)).last_modified_ns == began_ns
    assert store.upload_ids() == set()


async def test_what_s3_refuses():
    store = MemoryStore()
    await store.put(KEY, b"text", PLAIN)
    large = ObjectAttributes(metadata={"name": "x" * 2045})
    assert await reason_of(store.put(KEY, b"", large)) is Reason.NO_SPACE
    await store.put(KEY, b"", ObjectAttributes(metadata={"name": "x" * 2044}))
    assert await reason_of(store.copy(KEY, KEY)) is Reason.REFUSED
    upload = await store.create_multipart(KEY, PLAIN)
    part = await store.upload_part(KEY, upload, 1, b"text")
    for parts, size_bytes in (([], 0), ([part, part], 8), ([part], 5)):
        refused = store.complete_multipart(KEY, upload, parts, size_bytes=size_bytes)
        assert await reason_of(refused) is Reason.REFUSED
    for number in (0, 10_001):
        assert await reason_of(store.upload_part(KEY, upload, number, b"")) is Reason.REFUSED
    beyond = store.upload_part_copy(KEY, upload, 2, source=KEY, offset=0, length=5)
    assert await reason_of(beyond) is Reason.REFUSED
    assert await reason_of(store.upload_part(Key("other"), upload, 1, b"")) is Reason.NO_SUCH_UPLOAD


async def test_callers_race_and_one_wins():
    store = MemoryStore()
    lost: list[Reason] = []

    async def create() -> None:
        try:
            await store.put(KEY, b"", PLAIN, if_none_match=True)
        except StoreError as error:
            lost.append(error.reason)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(create)
    assert lost == [Reason.PRECONDITION] * 9
    assert store.counts == {"put": 10}


async def test_a_get_goes_on_with_the_version_it_began():
    store = MemoryStore()
    await store.put(KEY, b"one!", PLAIN)
    halves = [bytearray(2), bytearray(2)]
    async with trio.open_nursery() as nursery:

        def replace(index: int) -> None:
            if index == 0:
                nursery.start_soon(store.put, KEY, b"two!", PLAIN)

        await store.get(KEY, [memoryview(half) for half in halves], on_filled=replace)
    assert b"".join(halves) == b"one!"
