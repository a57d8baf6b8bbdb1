import os

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.unsent import UnsentFolder
from s3rolefs.model import MIB
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import mounted


async def failing(work, *arguments, **named):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments, **named)
    return failure.value.reason


async def test_a_renamed_open_file_is_read_and_written_on_at_its_new_name(mount, bucket):
    await bucket.put("old", b"x" * (2 * MIB))
    handle = await mount.open("old", os.O_RDWR)
    number = (await mount.find("old")).number
    await mount.rename("old", "new")
    assert (await mount.find("new")).number == number
    assert await mount.descriptors.read(handle, MIB, 3) == b"xxx"
    await mount.descriptors.write(handle, 0, b"y")
    await mount.close(handle)
    assert await bucket.keys() == ["new"]
    assert await bucket.get("new") == b"y" + b"x" * (2 * MIB - 1)


async def test_a_dirty_file_is_stored_before_it_is_renamed(mount, bucket, memory):
    handle = await mount.create("draft")
    await mount.descriptors.write(handle, 0, b"content")
    await mount.rename("draft", "final")
    assert await bucket.get("final") == b"content"
    await mount.close(handle)
    assert memory.counts["put"] == 1
    assert await bucket.keys() == ["final"]


async def test_a_rename_over_an_open_file_keeps_the_bytes_of_that_for_its_descriptors(mount, bucket):
    await mount.write("old", b"old content")
    await mount.write("new", b"new content")
    handle = await mount.open("old", os.O_RDWR)
    await mount.rename("new", "old")
    assert await mount.read_open(handle) == b"old content"
    await mount.descriptors.write(handle, 0, b"OLD")
    await mount.close(handle)
    assert await bucket.get("old") == b"new content"
    assert await mount.read("old") == b"new content"
    assert await mount.list() == ["old"]


async def test_reads_during_a_rename_never_fail(mount, bucket, faults, autojump_clock):
    await bucket.put("a", b"0" * (40 * MIB))
    handle = await mount.open("a")
    faults.plan(Fault(verb="get", times=None, delay_seconds=0.7), Fault(verb="delete", delay_seconds=1))

    async def read():
        for number in range(40):
            assert await mount.descriptors.read(handle, number * MIB, MIB) == b"0" * MIB

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(mount.rename, "a", "b")
    assert await bucket.keys() == ["b"]


async def test_reads_while_attributes_of_a_large_object_change_never_fail(
    mount, memory, bucket, faults, autojump_clock
):
    await mount.write("f", b"1" * (20 * MIB))
    etag = (await bucket.head("f")).etag
    handle = await mount.open("f")
    # The ETag of an object made of parts changes when it is copied onto itself.
    faults.plan(
        Fault(verb="get", times=None, delay_seconds=0.7),
        Fault(verb="copy", delay_seconds=1),
    )

    async def read():
        for number in range(20):
            assert await mount.descriptors.read(handle, number * MIB, MIB) == b"1" * MIB

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(lambda: mount.change("f", mode=0o600))
    assert (await bucket.head("f")).etag != etag
    assert await mount.read("f") == b"1" * (20 * MIB)


async def test_noreplace_is_decided_by_the_bucket(mount, bucket):
    await mount.write("a", b"a")
    assert not await mount.exists("b")
    await bucket.put("b", b"theirs")
    assert await failing(mount.rename, "a", "b", overwrite=False) is Reason.EXISTS
    assert await bucket.get("b") == b"theirs"
    assert await mount.read("b") == b"theirs"
    assert await mount.read("a") == b"a"


async def test_a_rename_whose_delete_fails_leaves_the_file_at_both_places(mount, bucket, faults):
    await mount.write("a", b"content")
    await mount.write("b", b"old")
    assert sorted(await mount.list()) == ["a", "b"]
    faults.plan(Fault(verb="delete", reason=Reason.ACCESS_DENIED))
    assert await failing(mount.rename, "a", "b") is Reason.ACCESS_DENIED
    assert await bucket.get("a") == await bucket.get("b") == b"content"
    assert await mount.read("a") == b"content"
    assert await mount.read("b") == b"content"
    await mount.rename("a", "b")
    assert await mount.list() == ["b"]


async def test_a_source_replaced_by_somebody_else_is_stale(mount, bucket):
    await mount.write("a", b"mine")
    await bucket.put("a", b"theirs")
    assert await failing(mount.rename, "a", "b") is Reason.STALE
    assert await mount.read("a") == b"theirs"
    await mount.rename("a", "b")
    assert await bucket.get("b") == b"theirs"


async def test_a_directory_moves_with_everything_below_it(mount, bucket):
    for key in ("d/one", "d/sub/two", "d/sub/deep/three"):
        await bucket.put(key, key.encode(), metadata={"owner": key})
    open_handle = await mount.open("d/sub/two", os.O_RDWR)
    new_handle = await mount.create("d/sub/new")
    await mount.descriptors.write(new_handle, 0, b"unsent")
    numbers = {path: (await mount.find(path)).number for path in ("d", "d/sub", "d/sub/two")}
    await mount.rename("d", "e")
    assert sorted(await bucket.keys()) == ["e/", "e/one", "e/sub/deep/three", "e/sub/new", "e/sub/two"]
    assert (await bucket.head("e/one")).metadata["owner"] == "d/one"
    assert {path: (await mount.find("e" + path[1:])).number for path in numbers} == numbers
    assert await mount.read_open(open_handle) == b"d/sub/two"
    await mount.descriptors.write(open_handle, 0, b"D")
    await mount.close(open_handle)
    await mount.close(new_handle)
    assert await bucket.get("e/sub/two") == b"D/sub/two"
    assert await bucket.get("e/sub/new") == b"unsent"
    assert await mount.list() == ["e"]


async def test_writes_during_the_move_of_a_directory_are_not_lost(mount, bucket, faults, autojump_clock):
    await bucket.put("d/f", b"0000")
    handle = await mount.open("d/f", os.O_RDWR)
    await mount.descriptors.write(handle, 0, b"1")
    faults.plan(Fault(verb="copy", times=None, delay_seconds=2))

    async def write():
        await trio.sleep(1)
        await mount.descriptors.write(handle, 1, b"2")
        await mount.descriptors.flush(handle)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.rename, "d", "e")
        nursery.start_soon(write)
    await mount.close(handle)
    assert await bucket.get("e/f") == b"1200"
    assert sorted(await bucket.keys()) == ["e/", "e/f"]


async def test_the_move_of_one_directory_does_not_hold_up_others(mount, bucket, faults, autojump_clock):
    await bucket.put("d/f", b"x")
    await bucket.put("busy/f", b"x")
    faults.plan(Fault(verb="put", key="d/slow", delay_seconds=1000), Fault(verb="copy", delay_seconds=1))
    slow = await mount.create("d/slow")
    await mount.descriptors.write(slow, 0, b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.descriptors.fsync, slow)
        await trio.sleep(1)
        nursery.start_soon(mount.rename, "d", "e")
        await trio.sleep(1)
        began = trio.current_time()
        await mount.write("busy/g", b"y")
        assert trio.current_time() - began < 1
    assert await bucket.get("e/slow") == b"x"


async def test_an_interrupted_move_of_a_directory_leaves_everything_at_the_old_place(mount, bucket, faults):
    for number in range(20):
        await bucket.put(f"d/{number}", b"x")
    assert len(await mount.list("d")) == 20
    faults.plan(
        Fault(verb="copy", skip=10, reason=Reason.UNREACHABLE),
        Fault(verb="copy", skip=3, answer_lost=True),
    )
    assert await failing(mount.rename, "d", "e") is Reason.UNREACHABLE
    assert sorted(await bucket.keys()) == sorted(f"d/{number}" for number in range(20))
    assert await mount.list() == ["d"]
    assert await mount.read("d/7") == b"x"
    faults.plan()
    await mount.rename("d", "e")
    assert len(await mount.list("e")) == 20


async def broken_off(store, spool, *, after_seconds):
    """Begin to move d to e on a mount that ends in the middle of it, as a killed process does."""
    async with mounted(store, spool) as mount, trio.open_nursery() as nursery:
        nursery.start_soon(mount.rename, "d", "e")
        await trio.sleep(after_seconds)
        nursery.cancel_scope.cancel()


async def fill(bucket, count=100):
    for number in range(count):
        await bucket.put(f"d/{number:03}", b"%d" % number, metadata={"mode": str(0o100600)})


async def at(bucket, prefix):
    return [key for key in await bucket.keys() if key.startswith(prefix) and key != prefix]


async def finished(mount):
    """Wait for the end of what an earlier mount began."""
    await trio.sleep(0.1)
    async with mount.names._core.tree_lock.moving(mount.names._core.table.root):
        pass


@pytest.mark.parametrize("after_seconds", [1.5, 2.5, 3.5, 4.5])
async def test_the_next_mount_finishes_a_move_that_was_broken_off(
    faults, memory, bucket, tmp_path, autojump_clock, caplog, after_seconds
):
    await fill(bucket)
    await bucket.put("d/sub/deep", b"x")
    # 32 copies a second, then a second for the marker.
    faults.plan(Fault(verb="copy", times=None, delay_seconds=1), Fault(verb="put", delay_seconds=1))
    await broken_off(faults, tmp_path / "spool", after_seconds=after_seconds)
    copies = len(await at(bucket, "e/"))
    assert copies == {1.5: 32, 2.5: 64, 3.5: 96, 4.5: 101}[after_seconds]
    assert len(await at(bucket, "d/")) == 101
    memory.counts.clear()
    caplog.clear()
    faults.plan()
    async with mounted(faults, tmp_path / "spool") as mount:
        await finished(mount)
        assert await mount.list() == ["e"]
        assert len(await mount.list("e")) == 101
        assert await mount.read("e/007") == b"7"
        assert (await mount.stat("e/007")).attributes.mode == 0o100600
    assert memory.counts["copy"] == 101 - copies
    assert await at(bucket, "d/") == []
    far = f"{copies} of 101 files were copied, and none was removed"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"the move of /d to /e was broken off when its mount ended: {far}; it is finished now",
        f"the move of /d to /e is finished: {101 - copies} files were copied now",
    ]
    assert list((tmp_path / "spool").iterdir()) == []


async def removal_broken_off(bucket, tmp_path, *, left):
    """Leave what a mount leaves that was killed while it removed the sources of 10 copies."""
    folder = UnsentFolder(str(tmp_path / "spool"), "s3://bucket", {"": "s3://bucket"})
    record = folder.begin_move("d/", "e/", 10)
    for number in range(10):
        await bucket.put(f"e/{number:03}", b"%d" % number)
        etag = (await bucket.head(f"e/{number:03}")).etag
        record.copied(f"{number:03}", etag, etag)
    record.begin_removing()
    for number in left:
        await bucket.put(f"d/{number:03}", b"%d" % number)
    folder.close()


async def test_a_removal_that_was_broken_off_is_finished(faults, bucket, tmp_path, autojump_clock, caplog):
    await removal_broken_off(bucket, tmp_path, left=range(7, 10))
    async with mounted(faults, tmp_path / "spool") as mount:
        await finished(mount)
        assert await mount.list() == ["e"]
    assert await bucket.keys() == [f"e/{number:03}" for number in range(10)]
    assert "10 of 10 files were copied, and their removal was begun; it is finished now" in caplog.text
    assert list((tmp_path / "spool").iterdir()) == []


async def test_what_was_made_at_the_old_place_after_all_was_copied_stays_there(
    faults, bucket, tmp_path, autojump_clock, caplog
):
    await removal_broken_off(bucket, tmp_path, left=range(7, 10))
    await bucket.put("d/001", b"another, where the first was removed")
    await bucket.put("d/new", b"new")
    async with mounted(faults, tmp_path / "spool") as mount:
        await finished(mount)
        assert await mount.list("d") == ["001", "new"]
        assert await mount.read("e/001") == b"1"
    assert len(await at(bucket, "e/")) == 10
    assert "2 files stay in /d" in caplog.text


async def test_what_somebody_else_changed_since_stays_where_it_is(
    faults, bucket, tmp_path, autojump_clock, caplog
):
    await fill(bucket, 10)
    faults.plan(Fault(verb="put", delay_seconds=1))  # all is copied, and nothing removed
    await broken_off(faults, tmp_path / "spool", after_seconds=0.5)
    await bucket.put("d/001", b"changed at the old place")
    await bucket.put("e/002", b"changed at the new place")
    await bucket.put("d/003", b"changed at both, here")
    await bucket.put("e/003", b"changed at both, there")
    await bucket.delete("e/004")
    await bucket.put("d/new", b"new")
    async with mounted(faults, tmp_path / "spool") as mount:
        await finished(mount)
        assert await mount.list("d") == ["002", "003"]
        assert await mount.read("e/001") == b"changed at the old place"
        assert await mount.read("e/002") == b"changed at the new place"
        assert await mount.read("d/002") == b"2"
        assert await mount.read("d/003") == b"changed at both, here"
        assert await mount.read("e/003") == b"changed at both, there"
        assert await mount.read("e/004") == b"4"
        assert await mount.read("e/new") == b"new"
    assert "2 files stay in /d" in caplog.text
    assert "/d/002, /d/003" in caplog.text


async def test_whoever_uses_a_directory_whose_move_is_being_finished_waits(
    faults, bucket, tmp_path, autojump_clock
):
    await fill(bucket, 40)
    faults.plan(Fault(verb="copy", times=None, delay_seconds=1))
    await broken_off(faults, tmp_path / "spool", after_seconds=0.5)
    async with mounted(faults, tmp_path / "spool") as mount:
        assert (
            await failing(mount.rename, "d", "f") is Reason.STALE
        )  # the kernel looks it up again: it is gone
        assert trio.current_time() > 2
        assert await mount.list() == ["e"]
        assert not await mount.exists("d")


async def test_a_mount_that_cannot_finish_a_move_says_so_and_leaves_it_to_the_next(
    faults, bucket, tmp_path, autojump_clock, caplog
):
    await fill(bucket, 40)
    faults.plan(Fault(verb="copy", times=None, delay_seconds=1))
    await broken_off(faults, tmp_path / "spool", after_seconds=1.5)
    async with mounted(faults, tmp_path / "spool", read_only=True) as mount:
        await finished(mount)
    assert "32 of 40 files were copied, and none was removed; a mount that may write" in caplog.text
    faults.plan(Fault(verb="copy", reason=Reason.UNREACHABLE))
    async with mounted(faults, tmp_path / "spool") as mount:
        await finished(mount)
    assert "could not be finished, the next mount tries again" in caplog.text
    assert len(await at(bucket, "d/")) == 40
    async with mounted(faults, tmp_path / "spool") as mount:
        await finished(mount)
    assert await at(bucket, "d/") == []
    assert len(await at(bucket, "e/")) == 40


async def test_a_move_that_failed_is_not_taken_up_again(faults, bucket, tmp_path):
    await fill(bucket, 10)
    faults.plan(Fault(verb="copy", skip=5, reason=Reason.UNREACHABLE))
    async with mounted(faults, tmp_path / "spool") as mount:
        assert await failing(mount.rename, "d", "e") is Reason.UNREACHABLE
    async with mounted(faults, tmp_path / "spool") as mount:
        await trio.sleep(0.05)
        assert await mount.list() == ["d"]


async def test_a_move_whose_deletes_fail_has_every_file_at_the_new_place(mount, bucket, faults):
    for number in range(5):
        await bucket.put(f"d/{number}", b"x")
    assert len(await mount.list("d")) == 5
    faults.plan(Fault(verb="delete_many", reason=Reason.ACCESS_DENIED))
    assert await failing(mount.rename, "d", "e") is Reason.ACCESS_DENIED
    assert sorted(await mount.list()) == ["d", "e"]
    for number in range(5):
        assert await mount.read(f"d/{number}") == await mount.read(f"e/{number}") == b"x"


async def test_after_a_move_whose_deletes_fail_the_old_place_stands_for_itself(
    mount, bucket, faults, autojump_clock
):
    for name in ("x", "y"):
        await bucket.put(f"d/{name}", name.encode())
    for name in ("x", "y"):
        await mount.stat(f"d/{name}")
    faults.plan(Fault(verb="delete_many", reason=Reason.ACCESS_DENIED))
    assert await failing(mount.rename, "d", "e") is Reason.ACCESS_DENIED
    for key in ("e/x", "e/y", "e/", "d/y"):
        await bucket.delete(key)
    assert not await mount.exists("d/y")
    assert await mount.read("d/x") == b"x"
    await mount.rename("d/x", "z")
    assert await bucket.get("z") == b"x"


async def test_what_somebody_else_replaced_before_its_directory_moved_is_looked_up_again(
    mount, bucket, autojump_clock
):
    await bucket.put("d/f", b"longer")
    await mount.read("d/f")
    await bucket.put("d/f", b"new")
    await trio.sleep(11)
    await mount.rename("d", "e")
    assert await mount.read("e/f") == b"new"
    await mount.truncate("e/f", 5)
    assert await bucket.get("e/f") == b"new\0\0"


async def test_what_moves_is_never_at_neither_place(mount, bucket, faults, autojump_clock):
    await bucket.put("d/f", b"x")
    await bucket.put("d/g", b"y")
    number = (await mount.find("d")).number
    faults.plan(Fault(verb="delete_many", delay_seconds=5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.rename, "d", "e")
        await trio.sleep(1)
        await bucket.delete("d/f")  # as the removal does one after the other
        found = await mount.names.lookup(number, b"f")
    assert found is await mount.find("e/f")
    assert await mount.read("e/f") == b"x"


async def test_what_was_listed_before_a_move_is_not_taken_for_what_is_there_then(mount, bucket):
    await bucket.put("d/x", b"x")
    inode = await mount.stat("d/x")
    directory = await mount.find("d")
    mount.names.forget(inode.number, inode.lookups)
    handle = mount.descriptors.opendir(directory.number)
    entry, _ = await mount.descriptors.entry(handle, 0)
    await mount.rename("d", "e")
    mount.descriptors.listed(handle, entry)
    assert await mount.read("e/x") == b"x"
    mount.descriptors.releasedir(handle)


async def test_a_marker_that_holds_something_is_not_replaced(mount, bucket):
    await bucket.put("d/f", b"x")
    await bucket.put("e/", b"content")
    assert await failing(mount.rename, "d", "e") is Reason.NOT_EMPTY
    assert await bucket.get("e/") == b"content"


async def test_a_directory_replaces_only_an_empty_one(mount, bucket):
    await mount.mkdir("d")
    await mount.write("d/f", b"x")
    await mount.mkdir("empty")
    await mount.mkdir("full")
    handle = await mount.create("full/unsent")
    await mount.descriptors.write(handle, 0, b"y")
    assert await failing(mount.rename, "d", "full") is Reason.NOT_EMPTY
    assert await failing(mount.rename, "d", "empty", overwrite=False) is Reason.EXISTS
    await mount.rename("d", "empty")
    assert await mount.read("empty/f") == b"x"
    await mount.close(handle)
    assert sorted(await bucket.keys()) == ["empty/", "empty/f", "full/", "full/unsent"]


async def test_a_directory_cannot_move_below_itself(mount):
    await mount.mkdir("d")
    await mount.mkdir("d/e")
    assert await failing(mount.rename, "d", "d/e/f") is Reason.INVALID


async def test_a_directory_keeps_the_storage_class_of_what_is_in_it(mount, bucket):
    await bucket.put("d/cold", b"x", metadata={"m": "1"}, headers={"x-amz-storage-class": "STANDARD_IA"})
    await mount.rename("d", "e")
    info = await bucket.head("e/cold")
    assert (info.storage_class, info.metadata) == ("STANDARD_IA", {"m": "1"})


async def test_the_directory_above_stays_when_its_last_child_moves_away(mount, bucket):
    await bucket.put("above/d/f", b"x")
    await bucket.put("other/f", b"x")
    await mount.rename("above/d", "d")
    assert await mount.list("above") == []
    await mount.rename("other/f", "g")
    assert await mount.list("other") == []
    assert {"above/", "other/"} <= set(await bucket.keys())
