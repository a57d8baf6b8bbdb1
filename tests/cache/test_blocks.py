import random

import pytest
import trio

from s3rolefs.cache.background import Background
from s3rolefs.cache.blocks import BlockCache, ObjectVersion
from s3rolefs.cache.buffers import BLOCK_BYTES, BufferPool
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.model import Key
from s3rolefs.s3.faults import Fault, FaultyStore
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes

BLOCKS = 8


@pytest.fixture
def memory():
    return MemoryStore()


@pytest.fixture
def faults(memory):
    return FaultyStore(memory)


@pytest.fixture
async def cache(faults, nursery):
    made = BlockCache(faults, Background(nursery), capacity_bytes=BLOCKS * BLOCK_BYTES)
    yield made
    made.check()


@pytest.fixture
def store(memory):
    async def put(key, size):
        content = random.Random(size).randbytes(size)
        stored = await memory.put(Key(key), content, ObjectAttributes())
        version = ObjectVersion(key=Key(key), etag=stored.etag, size_bytes=size, token=(key, stored.etag))
        return version, content

    return put


async def test_reads_of_any_place_and_size(cache, store):
    version, content = await store("k", 3 * BLOCK_BYTES + 17)
    chance = random.Random(2)
    for _ in range(100):
        offset = chance.randrange(len(content))
        size = chance.randrange(1, min(2 * BLOCK_BYTES, len(content) - offset) + 1)
        assert bytes(await cache.read(version, offset, size)) == content[offset : offset + size]
        cache.check()


async def test_tiny_blocks_count_for_what_they_cost(cache):
    many = 2 * BLOCKS * BLOCK_BYTES // 1024
    versions = [ObjectVersion(key=Key("k"), etag="e", size_bytes=1, token=number) for number in range(many)]
    for version in versions:
        cache.insert(version, b"x")
    assert [cache.has(version, 0) for version in versions] == [False] * (many // 2) + [True] * (many // 2)


async def test_a_block_is_fetched_once_for_all_who_want_it(cache, store, memory):
    version, content = await store("k", BLOCK_BYTES)
    answers = []

    async def read():
        answers.append(bytes(await cache.read(version, 5, 10)))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read)
    assert answers == [content[5:15]] * 20
    assert memory.counts["get"] == 1


async def test_a_run_of_missing_blocks_is_one_request_that_leaves_out_what_is_there(cache, store, memory):
    version, content = await store("k", 6 * BLOCK_BYTES)
    await cache.block(version, 2)
    cache.fetch_missing(version, 0, 6, 8)
    for index in range(6):
        block = await cache.block(version, index)
        assert bytes(block.view) == content[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
    assert memory.counts["get"] == 3


async def test_memory_stays_within_its_budget_and_what_is_read_stays_right(cache, store):
    version, content = await store("k", 5 * BLOCKS * BLOCK_BYTES)
    chance = random.Random(3)
    failures = []

    async def read():
        for _ in range(30):
            offset = chance.randrange(len(content) - BLOCK_BYTES)
            found = await cache.read(version, offset, BLOCK_BYTES)
            # Compared before the next await, for which the view is valid.
            if found != content[offset : offset + BLOCK_BYTES]:
                failures.append(offset)
            cache.check()

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(read)
    assert not failures


async def test_a_waiter_gets_its_block_also_when_that_is_evicted_at_once(cache, store):
    version, content = await store("k", 3 * BLOCKS * BLOCK_BYTES)
    first = None

    async def wait():
        nonlocal first
        first = await cache.block(version, 0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.lowlevel.checkpoint()
        for index in range(1, 3 * BLOCKS):
            await cache.block(version, index)
    assert bytes(first.view) == content[:BLOCK_BYTES]


async def test_a_replaced_object_is_stale_and_a_later_read_asks_again(cache, store, memory):
    version, _ = await store("k", BLOCK_BYTES)
    await store("k", BLOCK_BYTES + 1)
    for tries in (1, 2):
        with pytest.raises(FileSystemError) as failure:
            await cache.read(version, 0, 1)
        assert failure.value.reason is Reason.STALE
        assert memory.counts["get"] == tries


async def test_a_block_asked_for_before_its_object_moved_is_asked_for_again(cache, store, memory):
    old, content = await store("old", BLOCK_BYTES)
    moved = await memory.put(Key("new"), content, ObjectAttributes())
    await memory.delete(Key("old"))
    new = ObjectVersion(key=Key("new"), etag=moved.etag, size_bytes=old.size_bytes, token=old.token)
    cache.fetch(old, 0, 1)
    assert bytes(await cache.read(new, 0, 10)) == content[:10]
    with pytest.raises(FileSystemError):
        await cache.block(ObjectVersion(key=old.key, etag=old.etag, size_bytes=9, token="other"), 0)


async def test_what_arrived_before_a_failure_is_kept(cache, store, faults, memory):
    version, content = await store("k", 4 * BLOCK_BYTES)
    faults.plan(Fault(verb="get", break_after_bytes=2 * BLOCK_BYTES + 5))
    cache.fetch_missing(version, 0, 4, 8)
    with pytest.raises(FileSystemError) as failure:
        await cache.block(version, 3)
    assert failure.value.reason is Reason.UNREACHABLE
    memory.counts.clear()
    assert bytes((await cache.block(version, 1)).view) == content[BLOCK_BYTES : 2 * BLOCK_BYTES]
    assert not memory.counts
    assert bytes((await cache.block(version, 2)).view) == content[2 * BLOCK_BYTES : 3 * BLOCK_BYTES]


async def test_a_bug_in_the_store_fails_the_read_and_nothing_else(cache, store, faults, monkeypatch, caplog):
    version, content = await store("k", BLOCK_BYTES)

    async def broken(*_, **__):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(faults, "get", broken)
        with pytest.raises(FileSystemError):
            await cache.read(version, 0, 1)
    assert "a bug" in caplog.text
    assert await cache.read(version, 0, 3) == content[:3]


async def test_what_was_just_written_needs_no_request(cache, store, memory):
    version, content = await store("k", 1000)
    cache.insert(version, content)
    assert await cache.read(version, 10, 20) == content[10:30]
    assert memory.counts["get"] == 0


def test_a_buffer_is_lent_again_only_when_nobody_refers_to_it():
    pool = BufferPool()
    block = pool.lend(BLOCK_BYTES)
    block.filled = True
    block.view[:5] = b"first"
    other = pool.lend(BLOCK_BYTES)
    other.view[:5] = b"other"
    assert block.view[:5] == b"first"
    del block
    again = pool.lend(BLOCK_BYTES)
    assert again.view[:5] == b"first"  # the same memory, not yet overwritten


def test_a_buffer_whose_fetch_failed_is_not_lent_again():
    pool = BufferPool()
    block = pool.lend(BLOCK_BYTES)
    block.view[:5] = b"first"
    del block
    assert pool.lend(BLOCK_BYTES).view[:5] == bytes(5)
