import os
import random

import pytest
import trio

from s3rolefs.cache.buffers import PIECE_BYTES
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.model import KIB, MIB
from s3rolefs.s3.faults import Fault, FaultyStore
from tests.fs.mounted import READ_BYTES, mounted

FAR_SECONDS = 0.02


class SlowStore(FaultyStore):
    """Take a tenth of a second for each buffer, and count those that were filled."""

    filled = 0

    async def get(self, key, into, *, length, offset=0, on_filled, **more):
        for index in range(len(into)):
            await trio.sleep(0.1)
            size = min(len(into[index]), length)
            info = await super().get(key, [into[index][:size]], offset=offset, **more)
            self.filled += 1
            on_filled(index)
            offset += size
        return info


@pytest.fixture
def far(faults):
    """A bucket each of whose answers takes a while."""
    faults.plan(Fault(verb="get", times=None, delay_seconds=FAR_SECONDS))


async def read_at(mount, handle, offset, size):
    return bytes(await mount.descriptors.read(handle, offset, size))


def blocks_of(mount):
    return mount.filesystem._core.blocks


async def test_a_file_read_from_end_to_end_costs_few_large_requests(mount, bucket, memory):
    content = random.Random(1).randbytes(64 * MIB + 5)
    await bucket.put("f", content)
    assert await mount.read("f") == content
    assert memory.counts["get"] <= 6


async def test_read_ahead_hides_the_distance(mount, bucket, faults, autojump_clock):
    await bucket.put("f", b"x" * (64 * MIB))
    faults.plan(Fault(verb="get", times=None, delay_seconds=0.1))
    began = trio.current_time()
    await mount.read("f")
    assert trio.current_time() - began < 1  # 64 requests, one after the other, would take 6.4 s


async def test_random_reads_fetch_only_what_they_touch(mount, bucket, memory):
    content = random.Random(2).randbytes(64 * MIB)
    await bucket.put("f", content)
    handle = await mount.open("f")
    chance = random.Random(3)
    places = [chance.randrange(1, 60) * MIB + 1000 for _ in range(20)]
    for place in places:
        assert await mount.descriptors.read(handle, place, 4 * KIB) == content[place : place + 4 * KIB]
    await trio.testing.wait_all_tasks_blocked()
    cached = mount.names._core.blocks._cached.currsize
    assert cached <= len(places) * PIECE_BYTES
    assert memory.counts["get"] == len(set(places))
    await mount.close(handle)


async def test_a_second_read_costs_nothing(mount, bucket, memory):
    await bucket.put("f", b"x" * (5 * MIB))
    await mount.read("f")
    memory.counts.clear()
    await mount.read("f")
    assert memory.counts["get"] == 0


async def test_what_was_just_written_is_read_without_a_request(mount, memory):
    await mount.write("f", b"x" * 1000)
    assert await mount.read("f") == b"x" * 1000
    assert memory.counts["get"] == 0


async def test_reads_beyond_the_end_are_short(mount, bucket):
    await bucket.put("f", b"0123456789")
    handle = await mount.open("f")
    assert bytes(await mount.descriptors.read(handle, 8, 100)) == b"89"
    assert bytes(await mount.descriptors.read(handle, 10, 100)) == b""
    assert bytes(await mount.descriptors.read(handle, 1 << 50, 100)) == b""
    await mount.close(handle)


async def test_an_archived_object_can_be_listed_but_not_read(mount, bucket):
    await bucket.put("cold", b"x", headers={"x-amz-storage-class": "GLACIER"})
    assert (await mount.stat("cold")).size_bytes == 1
    with pytest.raises(FileSystemError) as failure:
        await mount.read("cold")
    assert failure.value.reason is Reason.ARCHIVED


async def test_a_failing_read_fails_and_the_next_one_tries_again(mount, bucket, faults):
    await bucket.put("f", b"x" * READ_BYTES)
    faults.plan(Fault(verb="get", reason=Reason.UNREACHABLE))
    with pytest.raises(FileSystemError) as failure:
        await mount.read("f")
    assert failure.value.reason is Reason.UNREACHABLE
    assert await mount.read("f") == b"x" * READ_BYTES


@pytest.mark.parametrize("size", [1, 8, 32, 96, 256])
async def test_the_number_of_requests_grows_with_the_logarithm_of_a_file(
    faults, bucket, memory, tmp_path, size
):
    await bucket.put("f", bytes(size * MIB))
    async with mounted(faults, tmp_path, cache_memory_bytes=1024 * MIB) as mount:
        handle = await mount.open("f")
        for offset in range(0, size * MIB, MIB):
            assert len(await mount.descriptors.read(handle, offset, MIB)) == MIB
        await mount.close(handle)
    assert memory.counts["get"] <= 1 + size.bit_length()


@pytest.mark.parametrize("readers", [1, 4, 16, 64])
async def test_many_readers_stay_within_the_memory_and_need_no_more_requests_for_it(
    faults, bucket, memory, tmp_path, readers
):
    capacity, size = 128 * MIB, 8 * MIB
    for number in range(readers):
        await bucket.put(f"f{number}", bytes(size))
    async with mounted(faults, tmp_path, cache_memory_bytes=capacity) as mount:
        blocks = blocks_of(mount)

        async def read(number):
            handle = await mount.open(f"f{number}")
            for offset in range(0, size, 128 * KIB):
                assert len(await mount.descriptors.read(handle, offset, 128 * KIB)) == 128 * KIB
                blocks.check()
                assert blocks.cached_bytes + blocks._wanted_bytes <= capacity + readers * MIB
            await mount.close(handle)

        async with trio.open_nursery() as nursery:
            for number in range(readers):
                nursery.start_soon(read, number)
    assert memory.counts["get"] <= 8 * readers


async def test_what_was_read_on_leaves_memory_but_for_the_beginning(mount, bucket, memory):
    await bucket.put("f", bytes(64 * MIB))
    await mount.read("f")
    assert blocks_of(mount).cached_bytes <= 12 * MIB


async def test_what_the_kernel_does_not_keep_is_kept(mount, bucket, memory):
    await bucket.put("f", bytes(32 * MIB))
    for _ in range(2):
        handle = await mount.open("f", os.O_RDONLY | os.O_DIRECT)
        await mount.read_open(handle)
        await mount.close(handle)
        asked, memory.counts["get"] = memory.counts["get"], 0
    assert asked == 0


async def test_readers_of_one_file_share_what_is_fetched(mount, bucket, memory):
    await bucket.put("f", bytes(64 * MIB))
    alone = await mount.open("f")
    await mount.read_open(alone)
    asked, memory.counts["get"] = memory.counts["get"], 0
    handles = [await mount.open("f") for _ in range(4)]
    for offset in range(8 * MIB, 64 * MIB, MIB):
        async with trio.open_nursery() as nursery:
            for handle in handles:
                nursery.start_soon(mount.descriptors.read, handle, offset, MIB)
    assert memory.counts["get"] <= asked + 2


@pytest.mark.parametrize("by", ["seek", "close"])
async def test_a_long_request_that_nobody_needs_any_more_ends(bucket, memory, tmp_path, autojump_clock, by):
    await bucket.put("f", bytes(200 * MIB))
    store = SlowStore(memory)
    async with mounted(store, tmp_path) as mount:
        handle = await mount.open("f")
        for place in range(31):
            await mount.descriptors.read(handle, place * MIB, MIB)
        known = store.filled
        if by == "seek":
            for place in (150, 180):
                await mount.descriptors.read(handle, place * MIB, 4 * KIB)
        else:
            await mount.close(handle)
        await trio.sleep(20)  # the rest of what was asked for would come
        assert store.filled <= known + 4
        blocks_of(mount).check()


async def test_a_read_that_strays_once_does_not_end_what_is_fetched_ahead(mount, bucket, memory):
    await bucket.put("f", bytes(64 * MIB))
    handle = await mount.open("f")
    for place in range(60):
        await mount.descriptors.read(handle, place * MIB, MIB)
        if place == 20:
            await mount.descriptors.read(handle, 63 * MIB, 4 * KIB)
    assert memory.counts["get"] <= 8


async def test_whoever_waits_for_a_block_of_an_abandoned_request_gets_it(
    bucket, memory, tmp_path, autojump_clock
):
    content = random.Random(4).randbytes(200 * MIB)
    await bucket.put("f", content)
    async with mounted(SlowStore(memory), tmp_path) as mount:
        first, second = await mount.open("f"), await mount.open("f")
        for place in range(8):
            await mount.descriptors.read(first, place * MIB, MIB)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _():
                await blocks_of(mount).block(blocks_of_version(mount, second), 13)

            await trio.sleep(0.01)
            await mount.close(first)
        assert await read_at(mount, second, 13 * MIB, 10) == content[13 * MIB : 13 * MIB + 10]


def blocks_of_version(mount, handle):
    return mount.descriptors._file(handle).inode.version


async def test_backward_reading_is_fetched_ahead_of(mount, bucket, memory, far, autojump_clock):
    content = random.Random(5).randbytes(32 * MIB)
    await bucket.put("f", content)
    handle = await mount.open("f")
    began = trio.current_time()
    for offset in range(31 * MIB, -1, -128 * KIB):
        assert await read_at(mount, handle, offset, 128 * KIB) == content[offset : offset + 128 * KIB]
    # Of 256; how many exactly depends on the order in which tasks happen to run.
    assert memory.counts["get"] <= 30
    assert trio.current_time() - began <= 20 * FAR_SECONDS


async def test_strides_are_fetched_ahead_of(mount, bucket, memory, far, autojump_clock):
    content = random.Random(6).randbytes(100 * MIB)
    await bucket.put("f", content)
    handle = await mount.open("f")
    began = trio.current_time()
    for offset in range(7, 97 * MIB, 3 * MIB):
        assert await read_at(mount, handle, offset, KIB) == content[offset : offset + KIB]
    assert trio.current_time() - began <= 8 * FAR_SECONDS  # of 33
    assert memory.counts["get"] <= 40


@pytest.mark.parametrize(("name", "waits"), [("t.parquet", 1), ("t.zip", 1), ("t.bin", 2)])
async def test_what_has_its_table_at_the_end_comes_with_its_end(
    mount, bucket, far, autojump_clock, name, waits
):
    await bucket.put(name, bytes(64 * MIB))
    handle = await mount.open(name)
    began = trio.current_time()
    await mount.descriptors.read(handle, 0, 4)
    await mount.descriptors.read(handle, 64 * MIB - 64 * KIB, 64 * KIB)
    assert trio.current_time() - began == pytest.approx(waits * FAR_SECONDS)


async def test_a_file_of_one_block_arrives_with_the_open(mount, bucket, memory, far, autojump_clock):
    await bucket.put("f", b"x" * MIB)
    handle = await mount.open("f")
    await trio.sleep(2 * FAR_SECONDS)
    began = trio.current_time()
    assert len(await mount.descriptors.read(handle, 0, MIB)) == MIB
    assert trio.current_time() == began
    assert memory.counts["get"] == 1


async def read_at_random(mount, handle, content, *, reads, readers=1):
    chance = random.Random(7)
    places = [chance.randrange(len(content) // (4 * KIB)) * 4 * KIB for _ in range(reads)]

    async def read(mine):
        for place in mine:
            assert await read_at(mount, handle, place, 4 * KIB) == content[place : place + 4 * KIB]

    async with trio.open_nursery() as nursery:
        for number in range(readers):
            nursery.start_soon(read, places[number::readers])


async def test_dense_random_reads_far_away_fetch_the_rest_and_few_wait_a_round_trip(
    mount, bucket, memory, far, autojump_clock
):
    content = random.Random(8).randbytes(96 * MIB)
    await bucket.put("f", content)
    handle = await mount.open("f")
    began = trio.current_time()
    await read_at_random(mount, handle, content, reads=500)
    assert trio.current_time() - began <= 50 * FAR_SECONDS
    assert memory.counts["get"] <= 60
    await mount.close(handle)


async def test_many_random_reads_at_once_far_away_leave_the_line_to_each_other(
    mount, bucket, far, autojump_clock
):
    content = random.Random(8).randbytes(96 * MIB)
    await bucket.put("f", content)
    handle = await mount.open("f")
    began = trio.current_time()
    await read_at_random(mount, handle, content, reads=480, readers=16)
    assert trio.current_time() - began <= 40 * FAR_SECONDS
    assert blocks_of(mount).cached_bytes <= 480 * PIECE_BYTES + 8 * MIB


async def test_random_reads_near_fetch_nothing_else(mount, bucket, memory, autojump_clock):
    content = random.Random(8).randbytes(96 * MIB)
    await bucket.put("f", content)
    handle = await mount.open("f")
    await read_at_random(mount, handle, content, reads=300)
    assert blocks_of(mount).cached_bytes <= 300 * PIECE_BYTES + 4 * MIB  # some follow one another by chance


async def test_what_does_not_fit_is_not_gathered(faults, bucket, memory, tmp_path, far, autojump_clock):
    content = random.Random(9).randbytes(96 * MIB)
    await bucket.put("f", content)
    async with mounted(faults, tmp_path, cache_memory_bytes=64 * MIB) as mount:
        handle = await mount.open("f")
        await read_at_random(mount, handle, content, reads=100)
        assert memory.counts["get"] >= 80
