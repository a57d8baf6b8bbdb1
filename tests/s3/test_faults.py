from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import Key, UploadedPart
from s3rolefs.s3.faults import Fault, FaultyStore
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


PLAIN = ObjectAttributes()
KEY = Key("k")


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> FaultyStore:
    return FaultyStore(memory)


async def _call(store: ObjectStore, verb: str, upload_id: str) -> Any:
    """Make a call of each verb that succeeds on a store with an object and an upload under way."""
    part = UploadedPart(number=1, etag="1cb251ec0d568de6a929b520c4aed8d1")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "list_page": lambda: store.list_page("k"),
        "head": lambda: store.head(KEY),
        "get": lambda: store.get(KEY, [memoryview(bytearray(4))]),
        "put": lambda: store.put(KEY, b"new", PLAIN),
        "tags": lambda: store.tags(KEY),
        "keep_tags": lambda: store.keep_tags(KEY, ""),
        "copy": lambda: store.copy(KEY, Key("c")),
        "delete": lambda: store.delete(KEY),
        "delete_many": lambda: store.delete_many([KEY]),
        "create_multipart": lambda: store.create_multipart(KEY, PLAIN),
        "upload_part": lambda: store.upload_part(KEY, upload_id, 1, b"new"),
        "upload_part_copy": lambda: store.upload_part_copy(KEY, upload_id, 1, source=KEY, offset=0, length=1),
        "complete_multipart": lambda: store.complete_multipart(KEY, upload_id, [part], size_bytes=4),
        "abort_multipart": lambda: store.abort_multipart(KEY, upload_id),
    }
    return await calls[verb]()


VERBS = [name for name in vars(ObjectStore) if not name.startswith("_")]


@pytest.fixture
async def upload_id(memory: MemoryStore) -> str:
    await memory.put(KEY, b"text", PLAIN)
    upload_id = await memory.create_multipart(KEY, PLAIN)
    await memory.upload_part(KEY, upload_id, 1, b"text")
    memory.counts.clear()
    return upload_id


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_can_fail_before_it_acts(
    store: FaultyStore, memory: MemoryStore, upload_id: str, verb: str
):
    store.plan(Fault(verb=verb, reason=Reason.ACCESS_DENIED, status=403, code="AccessDenied"))
    with pytest.raises(StoreError) as caught:
        await _call(store, verb, upload_id)
    error = caught.value
    assert (error.reason, error.status, error.code) == (Reason.ACCESS_DENIED, 403, "AccessDenied")
    assert (error.operation, error.outcome_unknown) == (verb, False)
    assert memory.counts == {}
    await _call(store, verb, upload_id)
    assert memory.counts == {verb: 1}


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_can_lose_its_answer(
    store: FaultyStore, memory: MemoryStore, upload_id: str, verb: str
):
    store.plan(Fault(verb=verb, answer_lost=True))
    with pytest.raises(StoreError) as caught:
        await _call(store, verb, upload_id)
    assert (caught.value.reason, caught.value.outcome_unknown) == (Reason.UNREACHABLE, True)
    assert memory.counts == {verb: 1}


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_can_take_long(
    store: FaultyStore, upload_id: str, verb: str, autojump_clock: trio.testing.MockClock
):
    store.plan(Fault(verb=verb, delay_seconds=100))
    before = trio.current_time()
    await _call(store, verb, upload_id)
    assert trio.current_time() - before == pytest.approx(100, abs=1)


async def test_a_lost_put_is_stored(store: FaultyStore, memory: MemoryStore):
    store.plan(Fault(verb="put", answer_lost=True))
    with pytest.raises(StoreError):
        await store.put(KEY, b"text", PLAIN)
    assert (await memory.head(KEY)).size_bytes == 4


@pytest.mark.parametrize(
    ("broken_at", "told"), [(0, []), (2, []), (3, [0]), (4, [0]), (6, [0, 1]), (9, [0, 1])]
)
async def test_a_body_breaks_off(store: FaultyStore, broken_at: int, told: list[int]):
    await store.put(KEY, b"0123456789", PLAIN)
    store.plan(Fault(verb="get", break_after_bytes=broken_at))
    buffers = [bytearray(3), bytearray(3), bytearray(4)]
    filled: list[int] = []
    into = [memoryview(buffer) for buffer in buffers]
    with pytest.raises(StoreError) as caught:
        await store.get(KEY, into, on_filled=filled.append)
    assert (caught.value.reason, caught.value.outcome_unknown) == (Reason.UNREACHABLE, False)
    assert filled == told
    assert b"".join(buffers) == b"0123456789"[:broken_at].ljust(10, b"\0")


async def test_a_body_that_ends_before_it_breaks_is_whole(store: FaultyStore):
    await store.put(KEY, b"0123456789", PLAIN)
    store.plan(Fault(verb="get", break_after_bytes=10))
    buffer = bytearray(10)
    await store.get(KEY, [memoryview(buffer)])
    assert buffer == b"0123456789"


async def _failures(store: FaultyStore, calls: int, key: str = "k") -> str:
    """Say of each of some HEADs whether it failed (x) or not (.)."""
    seen = ""
    for _ in range(calls):
        try:
            await store.head(Key(key))
        except StoreError:
            seen += "x"
        else:
            seen += "."
    return seen


async def test_a_fault_skips_and_ends(store: FaultyStore):
    await store.put(KEY, b"", PLAIN)
    store.plan(Fault(verb="head", skip=2, times=3, reason=Reason.UNREACHABLE))
    assert await _failures(store, 7) == "..xxx.."
    store.plan(Fault(skip=1, times=None, reason=Reason.UNREACHABLE))
    assert await _failures(store, 4) == ".xxx"
    store.plan()
    assert await _failures(store, 2) == ".."


async def test_a_fault_knows_its_key(store: FaultyStore):
    for key in ("k", "other"):
        await store.put(Key(key), b"", PLAIN)
    store.plan(Fault(key="k", times=None, reason=Reason.UNREACHABLE))
    assert await _failures(store, 2, "other") == ".."
    assert await _failures(store, 2, "k") == "xx"
    with pytest.raises(StoreError):
        await store.delete_many([Key("other"), Key("k")])
    assert list(await store.delete_many([Key("other")])) == []


async def test_the_first_due_fault_of_a_plan_happens(store: FaultyStore):
    store.plan(
        Fault(verb="head", times=1, reason=Reason.ACCESS_DENIED),
        Fault(verb="head", times=2, reason=Reason.UNREACHABLE),
    )
    reasons = []
    for _ in range(3):
        with pytest.raises(StoreError) as caught:
            await store.head(KEY)
        reasons.append(caught.value.reason)
    assert reasons == [Reason.ACCESS_DENIED, Reason.UNREACHABLE, Reason.NOT_FOUND]
