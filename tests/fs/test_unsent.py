"""What S3 could not take is kept, read, retried, named, and taken over by the next mount."""

import itertools
import json
import os
import shutil

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason, SystemFailure
from s3rolefs.fs.unsent import UnsentFolder
from s3rolefs.model import MIB
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import is_kept, kept_bytes, kept_mode, mounted

DOWN = Fault(times=None, reason=Reason.UNREACHABLE)
NO_PUT = Fault(verb="put", times=None, reason=Reason.UNREACHABLE)


async def failing(work, *arguments, **named):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments, **named)
    return failure.value.reason


async def test_a_failed_close_keeps_the_file_and_sends_it_later(mount, faults, bucket, autojump_clock):
    faults.plan(NO_PUT)
    assert await failing(mount.write, "f", b"content") is Reason.UNREACHABLE
    [kept] = mount.filesystem.unsent()
    assert (kept.path, kept.conflict) == ("/f", False)
    assert kept_bytes(kept) == b"content"
    assert kept_mode(kept) == 0o600
    assert await mount.read("f") == b"content"
    faults.plan()
    await trio.sleep(61)
    assert await bucket.get("f") == b"content"
    assert mount.filesystem.unsent() == []
    assert not is_kept(kept)
    assert await mount.read("f") == b"content"


async def test_retries_back_off(mount, faults, memory, bucket, autojump_clock):
    tries = []
    faults.plan(NO_PUT)
    original = faults.put

    async def put(*arguments, **named):
        tries.append(trio.current_time())
        return await original(*arguments, **named)

    faults.put = put
    assert await failing(mount.write, "f", b"x") is Reason.UNREACHABLE
    await trio.sleep(400)
    gaps = [round(after - before) for before, after in itertools.pairwise(tries[1:])]  # after the flush
    assert gaps[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_what_is_written_after_a_failure_is_kept_and_sent_too(mount, faults, bucket, autojump_clock):
    faults.plan(DOWN)
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"first")
    assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    await mount.descriptors.write(handle, 5, b" second")
    assert await failing(mount.close, handle) is Reason.UNREACHABLE
    [kept] = mount.filesystem.unsent()
    assert kept_bytes(kept) == b"first second"
    faults.plan()
    await trio.sleep(61)
    assert await bucket.get("f") == b"first second"


async def test_removing_an_unsent_file_forgets_it(mount, faults, bucket, autojump_clock):
    faults.plan(NO_PUT)
    assert await failing(mount.write, "f", b"x") is Reason.UNREACHABLE
    [kept] = mount.filesystem.unsent()
    await mount.unlink("f")
    assert mount.filesystem.unsent() == []
    assert not is_kept(kept)
    faults.plan()
    await trio.sleep(100)
    assert await bucket.keys() == []


async def test_a_failed_rename_of_an_unsent_file_leaves_it_where_it_is(mount, faults, bucket, autojump_clock):
    faults.plan(NO_PUT)
    assert await failing(mount.write, "f", b"x") is Reason.UNREACHABLE
    assert await failing(mount.rename, "f", "g") is Reason.UNREACHABLE
    assert await mount.list() == ["f"]
    faults.plan()
    await mount.rename("f", "g")
    assert await bucket.keys() == ["g"]
    assert mount.filesystem.unsent() == []


async def test_a_rename_that_fails_over_an_unsent_file_does_not_lose_that(
    mount, faults, autojump_clock, bucket
):
    await mount.write("new", b"new")
    faults.plan(NO_PUT, Fault(verb="copy", reason=Reason.UNREACHABLE))
    assert await failing(mount.write, "f", b"unsent") is Reason.UNREACHABLE
    assert await failing(mount.rename, "new", "f") is Reason.UNREACHABLE
    assert [kept.path for kept in mount.filesystem.unsent()] == ["/f"]
    faults.plan()
    await trio.sleep(61)
    assert await bucket.get("f") == b"unsent"
    assert await bucket.get("new") == b"new"


async def test_drain_sends_what_is_still_open(mount, bucket, autojump_clock):
    handle = await mount.create("d")
    await mount.descriptors.write(handle, 0, b"never closed")
    assert await mount.filesystem.drain(5) == []
    assert await bucket.get("d") == b"never closed"


async def test_drain_waits_for_the_store_within_its_limit(mount, faults, bucket, autojump_clock):
    faults.plan(NO_PUT)
    assert await failing(mount.write, "f", b"x") is Reason.UNREACHABLE

    async def recover():
        await trio.sleep(20)
        faults.plan()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(recover)
        assert await mount.filesystem.drain(60) == []
    assert await bucket.get("f") == b"x"


async def test_drain_keeps_and_names_what_it_could_not_send_in_time(mount, faults, autojump_clock):
    faults.plan(Fault(verb="put", times=None, delay_seconds=1000))
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"x")
    began = trio.current_time()
    [kept] = await mount.filesystem.drain(5)
    assert trio.current_time() - began < 6
    assert kept.path == "/f"
    assert kept_bytes(kept) == b"x"


async def test_drain_does_not_wait_for_parts_that_are_stuck(mount, faults, memory, autojump_clock):
    faults.plan(Fault(verb="upload_part", times=None, delay_seconds=1000))
    handle = await mount.create("f")
    for number in range(20):
        await mount.descriptors.write(handle, number * MIB, b"x" * MIB)
    began = trio.current_time()
    [kept] = await mount.filesystem.drain(5)
    assert trio.current_time() - began < 16
    assert len(kept_bytes(kept)) == 20 * MIB
    assert not memory.upload_ids()


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "shared-spool"


async def leave_unsent(faults, spool, path, content, *, base=None):
    """Let a mount end with one file unsent."""
    async with mounted(faults, spool) as mount:
        faults.plan(NO_PUT)
        handle = await mount.open_or_create(path, os.O_RDWR)
        await mount.descriptors.write(handle, len(base or b""), content)
        assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    faults.plan()


async def test_the_next_mount_shows_and_sends_what_was_left(faults, spool, bucket, autojump_clock):
    await leave_unsent(faults, spool, "f", b"content")
    async with mounted(faults, spool) as mount:
        assert [kept.path for kept in mount.filesystem.unsent()] == ["/f"]
        assert await mount.list() == ["f"]
        assert await mount.read("f") == b"content"
        await trio.sleep(5)
        assert await bucket.get("f") == b"content"
        assert mount.filesystem.unsent() == []
        assert await mount.read("f") == b"content"
    assert list(spool.iterdir()) == []


async def test_a_read_only_mount_leaves_it_to_the_next(faults, spool, memory, bucket, autojump_clock, caplog):
    await leave_unsent(faults, spool, "f", b"content")
    memory.counts.clear()
    async with mounted(faults, spool, read_only=True) as mount:
        [kept] = mount.filesystem.unsent()
        assert kept_bytes(kept) == b"content"
        assert "may write sends it" in kept.reason
        assert await mount.list() == []
        await trio.sleep(100)
        assert memory.counts["put"] == 0
    assert "is still kept, which is not sent now" in caplog.text
    async with mounted(faults, spool) as mount:
        await trio.sleep(5)
        assert await bucket.get("f") == b"content"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (f"‛part={'n' * 240}/{'n' * 60}", "n" * 300),
        ("caf\udce9", "caf‛E9"),
        ("‛object=", "d/"),
        ("‛object=a", "a"),
    ],
)
async def test_the_next_mount_sends_what_was_left_under_odd_names(
    faults, spool, bucket, autojump_clock, path, key
):
    path, key = (f"d/{path}", key) if key == "d/" else (path, key)
    await bucket.put("d/f")
    await bucket.put("a/f")
    async with mounted(faults, spool) as mount:
        if path.startswith("‛part"):
            await mount.mkdir(path.partition("/")[0])
        faults.plan(Fault(verb="put", times=None, reason=Reason.UNREACHABLE))
        with pytest.raises(FileSystemError):
            await mount.write(path, b"content")
    async with mounted(faults, spool) as mount:
        assert await mount.is_directory("a")
        assert await mount.read(path) == b"content"
        above, _, name = path.rpartition("/")
        assert name in await mount.list(above)
        faults.plan()
        await trio.sleep(61)
        assert await bucket.get(key) == b"content"
        assert mount.filesystem.unsent() == []
        assert await mount.read(path) == b"content"
        assert name in await mount.list(above)


async def test_the_next_mount_sends_edits_of_large_objects_with_all_that_belongs_to_them(
    faults, spool, bucket, autojump_clock
):
    base = b"b" * (2 * MIB)
    await bucket.put("f", base, metadata={"owner": "me"}, headers={"content-type": "text/odd"})
    await leave_unsent(faults, spool, "f", b"-end", base=base)
    async with mounted(faults, spool) as mount:
        assert (await mount.stat("f")).size_bytes == len(base) + 4
        await trio.sleep(5)
        assert mount.filesystem.unsent() == []
    assert await bucket.get("f") == base + b"-end"
    info = await bucket.head("f")
    assert info.metadata["owner"] == "me"
    assert info.headers["content-type"] == "text/odd"


async def test_an_inherited_file_that_lost_meanwhile_is_kept_and_named_for_good(
    faults, spool, bucket, autojump_clock
):
    await leave_unsent(faults, spool, "f", b"mine")
    await bucket.put("f", b"theirs")
    for _ in range(2):
        async with mounted(faults, spool) as mount:
            await trio.sleep(30)
            [kept] = mount.filesystem.unsent()
            assert kept.conflict
            assert kept.path == "/f"
            assert kept_bytes(kept) == b"mine"
            assert await mount.read("f") == b"theirs"
    assert await bucket.get("f") == b"theirs"


async def test_what_arrived_although_its_mount_ended_is_no_conflict(faults, spool, bucket, autojump_clock):
    async with mounted(faults, spool) as mount:
        faults.plan(Fault(verb="put", answer_lost=True), DOWN)
        handle = await mount.create("f")
        await mount.descriptors.write(handle, 0, b"content")
        assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    faults.plan()
    assert await bucket.get("f") == b"content"
    async with mounted(faults, spool) as mount:
        await trio.sleep(5)
        assert mount.filesystem.unsent() == []


async def test_an_inherited_file_below_a_directory_that_s3_does_not_have(
    faults, spool, bucket, autojump_clock
):
    async with mounted(faults, spool) as mount:
        await bucket.put("a/b/other")
        faults.plan(NO_PUT)
        handle = await mount.create("a/b/f")
        await mount.descriptors.write(handle, 0, b"x")
        assert await failing(mount.descriptors.flush, handle) is Reason.UNREACHABLE
    await bucket.delete("a/b/other")
    async with mounted(faults, spool) as mount:
        assert await mount.list() == ["a"]
        assert await mount.list("a/b") == ["f"]
        assert await failing(mount.rmdir, "a/b") is Reason.NOT_EMPTY
        faults.plan()
        await trio.sleep(70)
        assert await bucket.get("a/b/f") == b"x"
        assert await mount.list("a") == ["b"]
        assert await mount.read("a/b/f") == b"x"


async def test_two_mounts_of_one_source_do_not_take_each_others_files(faults, spool, autojump_clock):
    async with mounted(faults, spool) as first:
        faults.plan(NO_PUT)
        assert await failing(first.write, "f", b"x") is Reason.UNREACHABLE
        async with mounted(faults, spool) as second:
            assert second.filesystem.unsent() == []
        [kept] = first.filesystem.unsent()
        assert kept_bytes(kept) == b"x"


async def test_mounts_of_other_sources_leave_kept_files_alone(faults, spool, autojump_clock):
    await leave_unsent(faults, spool, "f", b"x")
    faults.plan(NO_PUT)
    async with mounted(faults, spool, source="s3://other") as other:
        assert other.filesystem.unsent() == []
    async with mounted(faults, spool) as same:
        assert [kept.path for kept in same.filesystem.unsent()] == ["/f"]


async def test_an_unreadable_description_is_left_where_it_is(faults, spool, autojump_clock, caplog):
    await leave_unsent(faults, spool, "f", b"x")
    [description] = spool.glob("*/*/*.json")
    description.write_text(json.dumps({"key": "f"}))
    async with mounted(faults, spool) as mount:
        assert mount.filesystem.unsent() == []
    assert description.exists()
    assert str(description) in caplog.text


async def test_nothing_is_left_on_disk_by_a_mount_that_sent_everything(faults, spool):
    async with mounted(faults, spool) as mount:
        await mount.write("f", b"x" * (3 * MIB))
    assert list(spool.iterdir()) == []


async def test_files_never_closed_leave_nothing_when_the_process_is_killed(faults, spool):
    async with mounted(faults, spool) as mount:
        handle = await mount.create("f")
        for number in range(3):
            await mount.descriptors.write(handle, number * MIB, b"x" * MIB)
        assert [path.name for path in spool.glob("*/*/*")] == ["lock"]


async def test_a_full_spool_is_no_space_and_accepts_nothing(mount, bucket, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"x" * MIB)
    monkeypatch.setattr("s3rolefs.fs.spool.os.pwrite", full)
    assert await failing(mount.descriptors.write, handle, MIB, b"y") is Reason.NO_SPACE
    assert await failing(mount.descriptors.write, handle, 5 * MIB, b"y") is Reason.NO_SPACE
    monkeypatch.undo()
    await mount.close(handle)
    assert await bucket.get("f") == b"x" * MIB


async def test_a_spool_that_somebody_removed_is_made_again(faults, spool, bucket):
    async with mounted(faults, spool) as mount:
        shutil.rmtree(spool)
        await mount.write("f", b"x" * 3 * MIB)
        assert await bucket.get("f") == b"x" * 3 * MIB
        # Locked as before: another mount of the same source takes nothing from it.
        async with mounted(faults, spool):
            await mount.write("g", b"y" * 3 * MIB)
        assert await bucket.get("g") == b"y" * 3 * MIB


async def test_what_the_disk_cannot_keep_stays_in_memory_and_is_sent_later(
    mount, faults, bucket, monkeypatch, autojump_clock, caplog
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("s3rolefs.fs.spool.os.pwrite", full)
    faults.plan(NO_PUT)
    assert await failing(mount.write, "f", b"x") is Reason.UNREACHABLE
    assert "could not be kept on local disk" in caplog.text
    assert await mount.read("f") == b"x"
    faults.plan()
    await trio.sleep(61)
    assert await bucket.get("f") == b"x"
    assert mount.filesystem.unsent() == []


def test_a_spool_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemFailure, match="cannot be used"):
        UnsentFolder(str(tmp_path / "file"), "s3://bucket", {})


async def test_a_kept_file_that_was_emptied_before_a_kill_has_no_more_than_was_written_since(
    faults, bucket, tmp_path, autojump_clock
):
    async with mounted(faults, tmp_path / "spool") as mount:
        faults.plan(NO_PUT)
        assert await failing(mount.write, "f", b"x" * 100) is Reason.UNREACHABLE
        handle = await mount.open("f", os.O_WRONLY | os.O_TRUNC)
        await mount.descriptors.write(handle, 0, b"y" * 10)
    faults.plan()
    async with mounted(faults, tmp_path / "spool") as mount:
        assert await mount.read("f") == b"y" * 10
        await trio.sleep(61)
    assert await bucket.get("f") == b"y" * 10
