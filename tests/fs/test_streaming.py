"""Files sent in parts while they are written, and edits of large objects."""

import os
import random
import stat

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import Changes
from s3rolefs.model import MIB
from s3rolefs.s3.faults import Fault


async def failing(work, *arguments, **named):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments, **named)
    return failure.value.reason


def content_of(size):
    return random.Random(size).randbytes(size)


async def write_all(mount, handle, content, start=0):
    for offset in range(start, len(content), MIB):
        await mount.descriptors.write(handle, offset, content[offset : offset + MIB])


async def test_parts_are_sent_while_the_file_is_still_written(mount, memory, bucket):
    content = content_of(50 * MIB + 7)
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    await trio.testing.wait_all_tasks_blocked()
    assert memory.counts["upload_part"] == 3
    await mount.close(handle)
    assert memory.counts["upload_part"] == 4
    assert memory.counts["put"] == 0
    assert await bucket.get("f") == content
    assert not memory.upload_ids()


async def test_a_part_that_is_written_again_is_sent_again(mount, memory, bucket):
    content = bytearray(content_of(40 * MIB))
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    await trio.testing.wait_all_tasks_blocked()
    content[100:104] = b"edit"
    await mount.descriptors.write(handle, 100, b"edit")
    await mount.close(handle)
    assert await bucket.get("f") == content
    assert memory.counts["upload_part"] == 4


async def test_a_part_on_its_way_is_not_changed_under_it(mount, faults, bucket, autojump_clock):
    content = bytearray(content_of(24 * MIB))
    faults.plan(Fault(verb="upload_part", times=None, delay_seconds=3))
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    content[8 * MIB - 2 : 8 * MIB + 2] = b"edit"
    await mount.descriptors.write(handle, 8 * MIB - 2, b"edit")
    await mount.close(handle)
    assert await bucket.get("f") == content


@pytest.mark.parametrize("size", [0, 3, 12 * MIB, 16 * MIB, 20 * MIB + 1, 40 * MIB])
async def test_a_truncation_during_an_upload(mount, memory, bucket, size):
    content = content_of(40 * MIB)
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    await mount.names.setattr((await mount.find("f")).number, Changes(size_bytes=size), handle)
    await mount.descriptors.write(handle, size + 5, b"end")
    await mount.close(handle)
    assert await bucket.get("f") == content[:size] + bytes(5) + b"end"
    assert not memory.upload_ids()


async def test_a_failing_part_is_sent_again_at_close(mount, faults, memory, bucket):
    content = content_of(40 * MIB)
    faults.plan(Fault(verb="upload_part", skip=1, reason=Reason.UNREACHABLE))
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    await mount.close(handle)
    assert await bucket.get("f") == content
    assert not memory.upload_ids()


async def test_an_upload_that_fails_for_good_is_reported_aborted_kept_and_retried(
    mount, faults, memory, bucket, autojump_clock
):
    content = content_of(24 * MIB)
    faults.plan(Fault(verb="upload_part", times=None, reason=Reason.UNREACHABLE))
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    assert await failing(mount.close, handle) is Reason.UNREACHABLE
    assert not memory.upload_ids()
    assert await mount.read("f") == content
    faults.plan()
    await trio.sleep(61)
    assert await bucket.get("f") == content
    assert mount.filesystem.unsent() == []


async def test_a_completion_whose_answer_was_lost_is_no_conflict(mount, faults, memory, bucket):
    content = content_of(24 * MIB)
    faults.plan(Fault(verb="complete_multipart", answer_lost=True))
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    await mount.descriptors.fsync(handle)
    await mount.descriptors.release(handle)
    assert memory.counts["create_multipart"] == 1
    assert await bucket.get("f") == content
    assert mount.filesystem.unsent() == []


async def test_a_file_renamed_while_it_is_streamed(mount, memory, bucket):
    content = content_of(40 * MIB)
    handle = await mount.create("f")
    await write_all(mount, handle, content[: 30 * MIB])
    await mount.rename("f", "g")
    await write_all(mount, handle, content, start=30 * MIB)
    await mount.close(handle)
    assert await bucket.keys() == ["g"]
    assert await bucket.get("g") == content
    assert not memory.upload_ids()


async def test_a_file_unlinked_while_it_is_streamed_is_given_up(mount, memory, bucket):
    handle = await mount.create("f")
    await write_all(mount, handle, content_of(24 * MIB))
    await mount.unlink("f")
    await write_all(mount, handle, content_of(40 * MIB), start=24 * MIB)
    assert await mount.descriptors.read(handle, 30 * MIB, 4) == content_of(40 * MIB)[30 * MIB :][:4]
    await mount.close(handle)
    assert await bucket.keys() == []
    assert not memory.upload_ids()


async def test_fsync_in_the_middle_stores_what_is_there_and_the_rest_follows(mount, bucket):
    content = content_of(45 * MIB)
    handle = await mount.create("f")
    await write_all(mount, handle, content[: 20 * MIB])
    await mount.descriptors.fsync(handle)
    assert await bucket.get("f") == content[: 20 * MIB]
    await write_all(mount, handle, content, start=20 * MIB)
    await mount.close(handle)
    assert await bucket.get("f") == content


async def test_times_set_before_close_are_stored_with_a_streamed_file(mount, bucket):
    handle = await mount.create("f")
    await write_all(mount, handle, content_of(20 * MIB))
    await mount.change("f", mtime_ns=1_234_567_890_000_000_001)
    await mount.close(handle)
    assert (await bucket.head("f")).metadata["mtime"] == "1234567890.000000001"


async def test_attributes_changed_while_it_was_streamed_are_stored(mount, bucket):
    handle = await mount.create("f")
    await write_all(mount, handle, content_of(20 * MIB))
    await mount.change("f", mode=0o600)
    await mount.close(handle)
    assert (await bucket.head("f")).metadata["mode"] == str(stat.S_IFREG | 0o600)


async def test_attributes_that_could_not_follow_a_streamed_file_do_so_later(
    mount, faults, memory, bucket, autojump_clock
):
    content = content_of(20 * MIB)
    handle = await mount.create("f")
    await write_all(mount, handle, content)
    await mount.change("f", mtime_ns=1_234_567_890_000_000_001)
    faults.plan(Fault(verb="copy", times=None, reason=Reason.UNREACHABLE))
    assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    memory.counts.clear()
    await mount.close(handle)
    assert (await bucket.head("f")).metadata["mtime"] == "1234567890.000000001"
    assert memory.counts["upload_part"] == 0  # S3 has the bytes
    assert await bucket.get("f") == content
    assert mount.filesystem.unsent() == []


async def test_the_times_of_a_streamed_file_do_not_change_while_it_is_known(mount, autojump_clock):
    handle = await mount.create("f")
    await write_all(mount, handle, content_of(20 * MIB))
    await mount.close(handle)
    before = (await mount.stat("f")).attributes.mtime_ns
    await trio.sleep(30)
    assert (await mount.stat("f")).attributes.mtime_ns == before


async def test_an_edit_in_a_large_object_copies_the_rest_inside_s3(mount, memory, bucket):
    content = bytearray(content_of(100 * MIB))
    await mount.write("f", bytes(content))
    memory.counts.clear()
    handle = await mount.open("f", os.O_RDWR)
    content[50 * MIB : 50 * MIB + 4] = b"edit"
    await mount.descriptors.write(handle, 50 * MIB, b"edit")
    await mount.close(handle)
    assert memory.counts["upload_part_copy"] == 2
    assert memory.counts["upload_part"] == 1
    assert memory.counts["get"] <= 2
    assert await bucket.get("f") == content


async def test_an_append_to_a_large_object_downloads_nothing(mount, memory, bucket):
    content = content_of(32 * MIB)
    await mount.write("f", content)
    memory.counts.clear()
    handle = await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(handle, len(content), b"tail")
    await mount.close(handle)
    assert memory.counts["get"] == 0
    assert await bucket.get("f") == content + b"tail"


@pytest.mark.parametrize("reason", [Reason.ACCESS_DENIED, Reason.UNSUPPORTED])
async def test_a_service_that_does_not_copy_parts_is_sent_them(mount, faults, memory, bucket, reason):
    content = content_of(32 * MIB)
    await mount.write("f", content)
    memory.counts.clear()
    faults.plan(Fault(verb="upload_part_copy", times=None, reason=reason))
    handle = await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(handle, len(content), b"tail")
    await mount.close(handle)
    assert memory.counts["create_multipart"] == 1
    assert memory.counts["upload_part"] == 2
    assert await bucket.get("f") == content + b"tail"


async def test_an_edit_of_a_large_object_that_was_replaced_is_stale_and_stores_nothing(mount, memory, bucket):
    await mount.write("f", content_of(32 * MIB))
    handle = await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(handle, 0, b"edit")
    await bucket.put("f", content_of(31 * MIB))
    assert await failing(mount.descriptors.flush, handle) is Reason.STALE
    await mount.descriptors.release(handle)
    assert await bucket.get("f") == content_of(31 * MIB)
    assert not memory.upload_ids()


async def test_random_edits_of_a_large_file(mount, memory, bucket):
    chance = random.Random(1)
    content = bytearray(content_of(60 * MIB))
    await mount.write("f", bytes(content))
    for _ in range(6):
        handle = await mount.open("f", os.O_RDWR)
        for _ in range(4):
            if chance.random() < 0.3:
                size = chance.randrange(len(content) + 9 * MIB)
                await mount.names.setattr((await mount.find("f")).number, Changes(size_bytes=size), handle)
                content = content[:size].ljust(size, b"\0")
            else:
                offset = chance.randrange(len(content) + 1)
                piece = chance.randbytes(chance.choice((1, 4096, MIB)))
                await mount.descriptors.write(handle, offset, piece)
                content[offset : offset + len(piece)] = piece
            start = chance.randrange(len(content) + 1)
            assert await mount.descriptors.read(handle, start, 100) == content[start : start + 100]
        await mount.close(handle)
        assert await bucket.get("f") == content
    assert not memory.upload_ids()
