import os
import stat

import pytest
import trio
import trio.testing

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import Changes
from s3rolefs.model import MIB
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import CALLER, mounted


async def refused(reason, work, *arguments, **named):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments, **named)
    assert failure.value.reason is reason


async def test_a_file_written_and_closed_is_one_put(mount, memory, bucket):
    await mount.write("f", b"hi\n")
    assert await bucket.get("f") == b"hi\n"
    assert memory.counts["put"] == 1


async def test_a_flush_without_new_content_sends_nothing(mount, memory):
    handle = await mount.create("log")
    for number in range(50):
        await mount.descriptors.write(handle, number, b".")
        await mount.descriptors.flush(handle)
        await mount.descriptors.flush(handle)
    await mount.close(handle)
    assert memory.counts["put"] == 50


async def test_a_new_empty_file_waits_for_content_at_a_flush(mount, memory, bucket):
    handle = await mount.create("f")
    await mount.descriptors.flush(handle)
    assert await bucket.keys() == []
    await mount.descriptors.write(handle, 0, b"x")
    await mount.close(handle)
    assert await bucket.get("f") == b"x"
    assert memory.counts["put"] == 1


async def test_a_new_empty_file_is_stored_after_two_seconds(mount, bucket, autojump_clock):
    await mount.create("f")
    await trio.sleep(1.9)
    assert await bucket.keys() == []
    await trio.sleep(0.2)
    assert await bucket.keys() == ["f"]


async def test_new_empty_files_are_stored_each_in_its_time_without_a_task_for_each(
    mount, bucket, autojump_clock
):
    living = trio.lowlevel.current_statistics().tasks_living
    handles = [await mount.create(str(number)) for number in range(50)]
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living <= living + 1
    await mount.descriptors.write(handles[0], 0, b"content")
    await trio.sleep(1.5)
    await mount.create("later")
    assert await bucket.keys() == []
    await trio.sleep(1.0)
    assert sorted(await bucket.keys()) == sorted(map(str, range(1, 50)))
    await trio.sleep(1.5)
    assert "later" in await bucket.keys()
    await mount.create("last")
    await trio.sleep(2.5)
    assert "last" in await bucket.keys()


@pytest.mark.parametrize("way", ["fsync", "release"])
async def test_a_new_empty_file_is_stored_at_once_when_asked(mount, memory, bucket, way, autojump_clock):
    handle = await mount.create("f")
    await getattr(mount.descriptors, way)(handle)
    assert await bucket.keys() == ["f"]
    await trio.sleep(3)
    assert memory.counts["put"] == 1


async def test_closing_a_reader_does_not_store_what_a_writer_is_still_writing(mount, bucket):
    writer = await mount.create("f")
    await mount.descriptors.write(writer, 0, b"half")
    assert await mount.read("f") == b"half"
    assert await bucket.keys() == []
    await mount.descriptors.write(writer, 4, b" and half")
    await mount.close(writer)
    assert await bucket.get("f") == b"half and half"


async def test_random_writes_truncations_and_holes_arrive(mount, bucket):
    await bucket.put("f", b"0123456789")
    handle = await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(handle, 2, b"ab")
    await mount.names.setattr((await mount.find("f")).number, Changes(size_bytes=6), handle)
    await mount.descriptors.write(handle, 9, b"z")
    assert await mount.read_open(handle) == b"01ab45\0\0\0z"
    await mount.close(handle)
    assert await bucket.get("f") == b"01ab45\0\0\0z"


async def test_truncate_by_name_is_stored_when_it_returns(mount, bucket):
    await bucket.put("f", b"0123456789")
    reader = await mount.open("f")
    await mount.truncate("f", 3)
    assert await bucket.get("f") == b"012"
    await mount.truncate("f", 5)
    assert await bucket.get("f") == b"012\0\0"
    await mount.truncate("f", 0)
    assert await bucket.get("f") == b""
    await mount.close(reader)


async def test_an_opening_that_truncates_stores_one_version(mount, bucket, memory):
    await bucket.put("f", b"old")
    memory.counts.clear()
    await mount.write("f", b"new")
    assert memory.counts["put"] == 1
    assert memory.counts["get"] == 0
    assert await bucket.get("f") == b"new"


async def test_two_writers_of_one_file_share_its_content(mount, bucket):
    first, second = await mount.create("f"), await mount.open("f", os.O_RDWR)
    await mount.descriptors.write(first, 0, b"aaaa")
    await mount.descriptors.write(second, 2, b"bbbb")
    assert await mount.read_open(first) == await mount.read_open(second) == b"aabbbb"
    await mount.close(second)
    await mount.close(first)
    assert await bucket.get("f") == b"aabbbb"


async def test_an_unlinked_file_stays_readable_and_writable_until_its_last_close(mount, bucket):
    await bucket.put("f", b"x" * (3 * MIB))
    handle = await mount.open("f", os.O_RDWR)
    await mount.unlink("f")
    assert await bucket.keys() == []
    await mount.descriptors.write(handle, 0, b"y")
    assert await mount.read_open(handle) == b"y" + b"x" * (3 * MIB - 1)
    await mount.close(handle)
    assert await bucket.keys() == []
    assert not await mount.exists("f")


async def test_a_new_file_unlinked_before_its_close_never_reaches_s3(mount, memory, autojump_clock):
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"secret")
    await mount.unlink("f")
    await mount.close(handle)
    await trio.sleep(10)
    assert memory.counts["put"] == 0


async def test_content_and_attributes_ride_on_one_upload(mount, memory, bucket):
    handle = await mount.create("f", mode=0o600)
    await mount.descriptors.write(handle, 0, b"x")
    await mount.change("f", mode=0o640, uid=7, gid=8, mtime_ns=1_234_567_890_123_456_789)
    await mount.close(handle)
    assert memory.counts["put"] == 1
    assert memory.counts["copy"] == 0
    metadata = (await bucket.head("f")).metadata
    assert metadata["mode"] == str(stat.S_IFREG | 0o640)
    assert (metadata["uid"], metadata["gid"], metadata["mtime"]) == ("7", "8", "1234567890.123456789")


async def test_an_edit_keeps_what_others_stored_beside_the_bytes(mount, bucket):
    beside = {
        "cache-control": "max-age=60",
        "content-type": "text/x-odd",
        "x-amz-storage-class": "STANDARD_IA",
    }
    await bucket.put("f", b"old", metadata={"owner": "somebody"}, headers=beside)
    await mount.write("f", b"new")
    await mount.change("f", mode=0o600)
    await mount.rename("f", "g")
    info = await bucket.head("g")
    assert info.metadata["owner"] == "somebody"
    assert info.storage_class == "STANDARD_IA"
    assert info.headers["cache-control"] == "max-age=60"
    assert info.headers["content-type"] == "text/x-odd"


async def test_content_type_of_a_new_file_comes_from_its_name(mount, bucket):
    await mount.write("page.html", b"<p>")
    assert (await bucket.head("page.html")).headers["content-type"] == "text/html"


async def test_metadata_that_leaves_no_room_is_no_space_and_sends_nothing(mount, bucket, memory):
    await bucket.put("f", b"x", metadata={"big": "v" * 2000})
    await refused(Reason.NO_SPACE, mount.change, "f", mode=0o600)
    assert memory.counts["copy"] == 0
    assert stat.S_IMODE((await mount.stat("f")).attributes.mode) == 0o644


async def test_a_file_above_5_tib_is_refused_before_a_byte_is_taken(mount):
    handle = await mount.create("f")
    await refused(Reason.TOO_LARGE, mount.descriptors.write, handle, 5 << 40, b"x")
    number = (await mount.find("f")).number
    await refused(Reason.TOO_LARGE, mount.names.setattr, number, Changes(size_bytes=(5 << 40) + 1), handle)
    assert await mount.read_open(handle) == b""


async def test_symlinks_are_objects_whose_body_is_the_target(mount, bucket, tmp_path, memory):
    await mount.symlink("link", b"../there")
    assert await bucket.get("link") == b"../there"
    async with mounted(memory, tmp_path / "other") as again:
        inode = await again.find("link")
        assert stat.S_ISLNK(inode.attributes.mode)
        assert await again.names.readlink(inode.number) == b"../there"


async def test_a_symlink_that_cannot_be_stored_leaves_nothing_behind(mount, faults):
    faults.plan(Fault(verb="put", reason=Reason.UNREACHABLE))
    await refused(Reason.UNREACHABLE, mount.symlink, "link", b"t")
    assert not await mount.exists("link")
    assert mount.filesystem.unsent() == []
    await mount.symlink("link", b"t")


async def test_device_nodes_are_not_permitted(mount):
    root = await mount.find("")
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        await refused(Reason.NOT_PERMITTED, mount.names.mknod, root.number, b"device", kind, CALLER)
    made = await mount.names.mknod(root.number, b"f", stat.S_IFREG | 0o666, CALLER)
    assert made.attributes.mode == stat.S_IFREG | 0o644


async def test_a_read_only_mount_changes_nothing(memory, bucket, tmp_path, autojump_clock):
    await bucket.put("f", b"x")
    async with mounted(memory, tmp_path, read_only=True) as mount:
        assert await mount.read("f") == b"x"
        for work in (
            mount.open("f", os.O_RDWR),
            mount.open("f", os.O_TRUNC),
            mount.create("g"),
            mount.unlink("f"),
            mount.mkdir("d"),
            mount.rename("f", "g"),
            mount.change("f", mode=0),
        ):
            with pytest.raises(FileSystemError) as failure:
                await work
            assert failure.value.reason is Reason.READ_ONLY
    assert await bucket.keys() == ["f"]


async def test_names_that_are_not_utf_8_are_kept_in_keys_that_are(mount, bucket):
    for name, key in (("caf\udce9", "caf‛E9"), ("‛E9", "‛‛E9"), ("line\nbreak", "line\nbreak")):
        await mount.write(name, key.encode())
        assert await bucket.get(key) == key.encode()
        assert await mount.list() == [name]
        await mount.rename(name, name + "2")
        assert await mount.read(name + "2") == key.encode()
        await mount.unlink(name + "2")
    assert await bucket.keys() == []


async def test_names_too_long_are_refused(mount, bucket):
    root = await mount.find("")
    for work in (mount.names.lookup, mount.names.unlink):
        await refused(Reason.NAME_TOO_LONG, work, root.number, b"n" * 256)
    await refused(Reason.NAME_TOO_LONG, mount.names.mkdir, root.number, b"n" * 256, 0o755, CALLER)
    path = "/".join(["d" * 200] * 5)
    for depth in range(1, 6):
        await mount.mkdir("/".join(path.split("/")[:depth]))
    await refused(Reason.NAME_TOO_LONG, mount.mkdir, path + "/" + "e" * 19)
    await mount.mkdir(path + "/" + "e" * 18)
    await mount.write(path + "/" + "f" * 19, b"x")
    assert max(len(key) for key in await bucket.keys()) == 1024
    assert await mount.read(path + "/" + "f" * 19) == b"x"


async def test_a_handle_without_write_access_cannot_write(mount):
    await mount.write("f", b"x")
    handle = await mount.open("f")
    await refused(Reason.BAD_HANDLE, mount.descriptors.write, handle, 0, b"y")
    await mount.close(handle)


async def test_creating_what_is_known_to_exist_opens_it_unless_exclusive(mount, bucket):
    await mount.write("f", b"content")
    handle = await mount.create("f")
    assert await mount.read_open(handle) == b"content"
    await mount.close(handle)
    await refused(Reason.EXISTS, mount.create, "f", os.O_RDWR | os.O_EXCL)
    await refused(Reason.EXISTS, mount.mkdir, "f")
    assert await bucket.get("f") == b"content"


async def test_what_is_removed_while_it_is_being_opened_is_gone(mount, bucket, faults, autojump_clock):
    await bucket.put("f", b"x")
    number = (await mount.find("f")).number
    await trio.sleep(20)
    faults.plan(Fault(verb="head", key="f", delay_seconds=2))
    failures = []

    async def opened_too_late():
        with pytest.raises(FileSystemError) as failure:
            await mount.descriptors.open(number, os.O_RDONLY, CALLER)
        failures.append(failure.value.reason)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened_too_late)
        await trio.sleep(1)
        await mount.unlink("f")
    assert failures == [Reason.STALE]
