import random

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.model import KIB, MIB
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import READ_BYTES


async def test_a_file_read_from_end_to_end_costs_few_large_requests(mount, bucket, memory):
    content = random.Random(1).randbytes(64 * MIB + 5)
    await bucket.put("f", content)
    assert await mount.read("f") == content
    assert memory.counts["get"] <= 20


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
    places = [chance.randrange(60) * MIB + 1000 for _ in range(20)]
    for place in places:
        assert await mount.descriptors.read(handle, place, 4 * KIB) == content[place : place + 4 * KIB]
    await trio.testing.wait_all_tasks_blocked()
    cached = mount.names._core.blocks._cached.currsize
    assert cached <= 2 * len(set(places)) * MIB
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
