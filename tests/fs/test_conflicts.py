"""Somebody else changes an object that is open or dirty here."""

import os

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import Changes
from s3rolefs.model import MIB, Key
from s3rolefs.s3.faults import Fault, FaultyStore
from s3rolefs.s3.store import ObjectAttributes
from tests.fs.mounted import CALLER, kept_bytes, mounted


async def failing(work, *arguments, **named):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments, **named)
    return failure.value.reason


async def test_a_lost_update_is_stale_at_close_and_kept(mount, bucket):
    await bucket.put("f", b"base")
    handle = await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(handle, 4, b" mine")
    await mount.descriptors.write(handle, 0, b"BASE")
    await bucket.put("f", b"theirs")
    assert await failing(mount.descriptors.flush, handle) is Reason.STALE
    assert await failing(mount.descriptors.fsync, handle) is Reason.STALE
    assert await failing(mount.descriptors.write, handle, 0, b"more") is Reason.STALE
    await mount.descriptors.release(handle)
    assert await bucket.get("f") == b"theirs"
    [kept] = mount.filesystem.unsent()
    assert kept.conflict
    assert kept.path == "/f"
    assert kept_bytes(kept) == b"BASE mine"
    assert await mount.read("f") == b"theirs"


async def test_a_lost_update_keeps_what_is_written_readable_through_its_descriptor(mount, bucket):
    handle = await mount.create("f", os.O_RDWR | os.O_EXCL)
    await mount.descriptors.write(handle, 0, b"mine")
    await bucket.put("f", b"theirs")
    assert await failing(mount.descriptors.flush, handle) is Reason.EXISTS
    assert await mount.read_open(handle) == b"mine"
    await mount.descriptors.release(handle)
    assert await mount.read("f") == b"theirs"


@pytest.mark.parametrize(
    "name", ["lock", "index.lock", "lockfile", ".lock", ".~lock.letter.odt#", "mail.LCK", ".notes.swp"]
)
async def test_of_two_that_make_a_lock_one_hears_at_open_that_it_lost(memory, mount, bucket, tmp_path, name):
    async with mounted(memory, tmp_path / "other") as second:
        results = []

        async def make(mine):
            try:
                results.append((mine, await mine.create(name, os.O_WRONLY | os.O_EXCL)))
            except FileSystemError as error:
                results.append((None, error.reason))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make, mount)
            nursery.start_soon(make, second)
        [(winner, handle)] = [result for result in results if result[0] is not None]
        assert [reason for mine, reason in results if mine is None] == [Reason.EXISTS]
        await winner.descriptors.write(handle, 0, b"pid")
        await winner.close(handle)
        assert memory.counts["put"] == 3
        assert await bucket.get(name) == b"pid"
        await winner.unlink(name)
        await mount.close(await mount.create(name, os.O_WRONLY | os.O_EXCL))
        assert await second.read(name) == b""


async def test_with_exclusive_open_every_exclusive_create_is_decided_at_open(memory, bucket, tmp_path):
    async with mounted(memory, tmp_path / "spool", exclusive_at_open=True) as mount:
        await bucket.put("anything", b"theirs")
        assert await failing(mount.create, "anything", os.O_WRONLY | os.O_EXCL) is Reason.EXISTS
        assert await mount.read("anything") == b"theirs"
        handle = await mount.create("blocks", os.O_WRONLY | os.O_EXCL)
        assert await bucket.get("blocks") == b""
        await mount.close(handle)


async def test_a_lock_that_cannot_be_stored_is_not_made(mount, bucket, faults):
    faults.plan(Fault(verb="put", reason=Reason.UNREACHABLE))
    assert await failing(mount.create, "x.lock", os.O_WRONLY | os.O_EXCL) is Reason.UNREACHABLE
    assert not await mount.exists("x.lock")
    assert await mount.list() == []
    await mount.close(await mount.create("x.lock", os.O_WRONLY | os.O_EXCL))
    assert await bucket.keys() == ["x.lock"]


async def test_an_exclusive_create_that_lost_says_so_also_when_it_wrote_nothing(
    mount, bucket, autojump_clock
):
    handle = await mount.create("clock", os.O_RDWR | os.O_EXCL)
    await bucket.put("clock", b"theirs")
    await trio.sleep(3)  # the empty object was refused in the background
    assert await failing(mount.descriptors.write, handle, 0, b"pid") is Reason.STALE
    assert await failing(mount.descriptors.flush, handle) is Reason.EXISTS
    await mount.descriptors.release(handle)
    assert await bucket.get("clock") == b"theirs"
    assert mount.filesystem.unsent() == []


async def test_one_of_two_empty_exclusive_creates_wins_at_its_close(mount, memory, tmp_path):
    async with mounted(memory, tmp_path / "other") as second:
        first_handle = await mount.create("f", os.O_WRONLY | os.O_EXCL)
        second_handle = await second.create("f", os.O_WRONLY | os.O_EXCL)
        await mount.close(first_handle)
        assert await failing(second.close, second_handle) is Reason.EXISTS


async def test_an_object_removed_under_an_edit_is_stale_and_kept(mount, bucket):
    await bucket.put("f", b"base")
    handle = await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(handle, 0, b"BASE")
    await bucket.delete("f")
    assert await failing(mount.close, handle) is Reason.STALE
    assert await bucket.keys() == []
    assert kept_bytes(mount.filesystem.unsent()[0]) == b"BASE"
    assert not await mount.exists("f")


async def test_writing_to_a_file_whose_name_is_somebody_elses_by_now_is_stale(mount, bucket, autojump_clock):
    await bucket.put("f", b"base")
    handle = await mount.open("f", os.O_RDWR)
    await bucket.put("f", b"theirs")
    await trio.sleep(11)
    assert await mount.read("f") == b"theirs"
    assert await failing(mount.descriptors.write, handle, 0, b"lost?") is Reason.STALE
    await mount.close(handle)
    assert await bucket.get("f") == b"theirs"


async def test_a_reader_of_a_replaced_object_gets_stale_and_the_next_opening_the_new_version(mount, bucket):
    await bucket.put("f", b"a" * MIB + b"old")
    handle = await mount.open("f")
    assert await mount.descriptors.read(handle, 0, 4) == b"aaaa"
    await bucket.put("f", b"new")
    # What is cached goes on; what is not belongs to a version that is gone.
    assert await mount.descriptors.read(handle, 0, 4) == b"aaaa"
    mount.names._core.blocks._cached.clear()
    assert await failing(mount.descriptors.read, handle, 0, 4) is Reason.STALE
    assert await mount.read("f") == b"new"
    await mount.close(handle)


async def test_a_listing_that_is_still_fresh_does_not_hide_a_version_that_was_seen_to_be_gone(mount, bucket):
    await bucket.put("f", b"old")
    assert await mount.list() == ["f"]
    handle = await mount.open("f")
    await bucket.put("f", b"new version")
    assert await failing(mount.descriptors.read, handle, 0, 4) is Reason.STALE
    assert await mount.read("f") == b"new version"
    await mount.close(handle)


async def test_a_replaced_object_is_another_inode_once_the_metadata_is_old(mount, bucket, autojump_clock):
    await bucket.put("f", b"one")
    before = await mount.find("f")
    await bucket.put("f", b"two")
    assert await mount.find("f") is before
    await trio.sleep(11)
    after = await mount.find("f")
    assert after.number != before.number
    assert before.detached
    assert await failing(mount.descriptors.open, before.number, os.O_RDONLY, CALLER) is Reason.STALE


async def test_direct_io_always_asks(mount, bucket):
    await bucket.put("f", b"one")
    assert await mount.list() == ["f"]
    assert await mount.read("f") == b"one"
    await bucket.put("f", b"two")
    handle = await mount.open("f", os.O_RDONLY | os.O_DIRECT)
    assert await mount.read_open(handle) == b"two"
    await mount.close(handle)


async def test_attributes_of_a_replaced_object_are_stale_and_not_changed(mount, bucket):
    await bucket.put("f", b"one", metadata={"mode": "33188"})
    await mount.find("f")
    await bucket.put("f", b"two", metadata={"mode": "33188"})
    assert await failing(mount.change, "f", mode=0o600) is Reason.STALE
    assert (await bucket.head("f")).metadata["mode"] == "33188"
    await mount.change("f", mode=0o600)
    assert (await bucket.head("f")).metadata["mode"] == str(0o100600)
    assert await bucket.get("f") == b"two"


async def test_a_truncation_by_name_that_fails_leaves_the_file_as_it_is(mount, bucket, faults):
    await mount.write("f", b"0123456789")
    before = (await mount.stat("f")).attributes
    faults.plan(Fault(verb="put", reason=Reason.UNREACHABLE))
    assert await failing(mount.truncate, "f", 5) is Reason.UNREACHABLE
    assert mount.filesystem.unsent() == []
    assert (await mount.stat("f")).attributes == before
    assert await mount.read("f") == b"0123456789"
    await mount.truncate("f", 5)
    assert await bucket.get("f") == b"01234"


async def test_a_truncation_by_name_of_what_was_replaced_is_stale_then_works(mount, bucket):
    await bucket.put("f", b"0123456789")
    await mount.find("f")
    await bucket.put("f", b"abcdefghij")
    assert await failing(mount.truncate, "f", 5) is Reason.STALE
    assert mount.filesystem.unsent() == []
    await mount.truncate("f", 5)  # the kernel asks again by itself
    assert await bucket.get("f") == b"abcde"


async def test_a_put_whose_answer_was_lost_is_no_conflict(mount, faults, bucket, caplog):
    faults.plan(Fault(verb="put", answer_lost=True))
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"content")
    assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    assert [kept.path for kept in mount.filesystem.unsent()] == ["/f"]
    await mount.descriptors.release(handle)
    assert mount.filesystem.unsent() == []
    assert await bucket.get("f") == b"content"
    handle = await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(handle, 0, b"C")
    await mount.close(handle)
    assert await bucket.get("f") == b"Content"


async def test_writes_after_a_lost_answer_are_sent_over_the_version_that_arrived(mount, faults, bucket):
    faults.plan(Fault(verb="put", answer_lost=True))
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"content")
    assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    await mount.descriptors.write(handle, 7, b", more")
    await mount.close(handle)
    assert await bucket.get("f") == b"content, more"
    assert mount.filesystem.unsent() == []


async def test_a_file_whose_arrival_is_unknown_is_removed_from_s3_too(mount, faults, bucket, autojump_clock):
    faults.plan(Fault(verb="put", answer_lost=True))
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"content")
    assert await failing(mount.close, handle) is Reason.UNREACHABLE
    await mount.unlink("f")
    assert await bucket.keys() == []
    await trio.sleep(100)
    assert await bucket.keys() == []
    assert mount.filesystem.unsent() == []


async def test_two_mounts_that_edit_one_file_do_not_overwrite_each_other(mount, memory, bucket, tmp_path):
    await bucket.put("f", b"base")
    async with mounted(memory, tmp_path / "other") as second:
        first_handle = await mount.open("f", os.O_RDWR)
        second_handle = await second.open("f", os.O_RDWR)
        await mount.descriptors.write(first_handle, 4, b" one")
        await second.descriptors.write(second_handle, 4, b" two")
        await mount.close(first_handle)
        assert await failing(second.close, second_handle) is Reason.STALE
    assert await bucket.get("f") == b"base one"


@pytest.mark.parametrize("size", [3, 20 * MIB])
async def test_the_first_of_two_creators_wins(mount, memory, bucket, tmp_path, size):
    async with mounted(memory, tmp_path / "other") as second:
        handles = [(one, await one.create("f", os.O_RDWR | os.O_EXCL)) for one in (mount, second)]
        for one, handle in handles:
            for offset in range(0, size, MIB):
                await one.descriptors.write(handle, offset, b"x" * min(MIB, size))
        await mount.close(handles[0][1])
        assert await failing(second.close, handles[1][1]) is Reason.EXISTS
    assert await bucket.keys() == ["f"]
    assert not memory.upload_ids()


async def test_a_change_through_an_old_descriptor_keeps_what_another_mount_changed_since(
    memory, bucket, tmp_path, autojump_clock
):
    async with (
        mounted(memory, tmp_path / "one", xattr=True) as one,
        mounted(memory, tmp_path / "two", xattr=True) as two,
    ):
        await one.write("f", b"x")
        inode = await one.find("f")
        handle = await one.open("f")
        await two.change("f", mode=0o600)
        await trio.sleep(20)
        await one.names.setattr(inode.number, Changes(mtime_ns=10**9), handle)
        await two.change("f", mode=0o640)
        await trio.sleep(20)
        await one.filesystem.extended.set(inode.number, b"user.a", b"1")
        await one.close(handle)
    metadata = (await bucket.head("f")).metadata
    assert (metadata["mode"], metadata["mtime"][:2]) == (str(0o100640), "1.")


async def test_a_change_of_attributes_elsewhere_is_undone_by_content_that_was_being_written_meanwhile(
    memory, bucket, tmp_path, autojump_clock
):
    async with mounted(memory, tmp_path / "one") as one, mounted(memory, tmp_path / "two") as two:
        await one.write("f", b"x")
        await two.change("f", mode=0o600)
        await trio.sleep(20)
        handle = await one.open("f", os.O_WRONLY)  # looks: the change before it is kept
        await one.descriptors.write(handle, 0, b"y")
        await two.change("f", mode=0o640)
        assert (await bucket.head("f")).metadata["mode"] == str(0o100640)
        memory.counts.clear()
        await one.close(handle)
        # One request, whose condition is the ETag: S3 has none that tells of attributes.
        assert memory.counts == {"put": 1}
    assert await bucket.get("f") == b"y"
    assert (await bucket.head("f")).metadata["mode"] == str(0o100600)


async def test_an_old_answer_that_it_is_absent_does_not_take_a_file_away(memory, tmp_path, autojump_clock):
    """It was given before somebody made the file again, and arrives after another look-up saw that."""

    class Slow(FaultyStore):
        late_seconds = 0.0

        async def head(self, key):
            late_seconds = self.late_seconds
            try:
                return await super().head(key)
            finally:
                await trio.sleep(late_seconds)

    store = Slow(memory)
    async with mounted(store, tmp_path, metadata_ttl_seconds=1.0) as mount:
        await memory.put(Key("f"), b"one", ObjectAttributes())
        await mount.find("f")
        await trio.sleep(5)
        await memory.delete(Key("f"))
        store.late_seconds = 2.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.find, "f")
            await trio.sleep(0.1)
            await memory.put(Key("f"), b"two", ObjectAttributes())
            store.late_seconds = 0.0
            handle = await mount.open("f", os.O_RDWR)
        await mount.descriptors.write(handle, 0, b"TWO")
        await mount.close(handle)
    content = bytearray(3)
    await memory.get(Key("f"), [memoryview(content)])
    assert content == b"TWO"
