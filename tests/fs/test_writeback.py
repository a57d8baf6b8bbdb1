"""`writeback`: close returns from the journal, removals are gathered; what that keeps, orders, survives."""

import errno
import math
import os
import threading
from contextlib import asynccontextmanager

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import names, queue
from s3rolefs.fs.attributes import Changes
from s3rolefs.fs.queue import NOTHING_WAITS
from s3rolefs.fs.unsent import KeptVersion
from s3rolefs.model import MIB
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import is_kept, kept_bytes, mounted

DOWN = Fault(times=None, reason=Reason.UNREACHABLE)
NOBODY_HEARS = Fault(times=None, answer_delay_seconds=math.inf)
NOBODY_LOOKS = Fault(verb="head", times=None, reason=Reason.UNREACHABLE)
LATER_SECONDS = 5


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def serve(faults, spool):
    """Mount with writeback; a mount that ends has been killed."""

    @asynccontextmanager
    async def made(**files):
        async with mounted(faults, spool, **({"writeback": True} | files)) as mount:
            yield mount

    return made


@pytest.fixture
async def mount(serve):
    async with serve() as made:
        yield made


async def failing(work, *arguments, **named):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments, **named)
    return failure.value.reason


async def sync_directory(mount, path):
    handle = mount.descriptors.opendir((await mount.find(path)).number)
    try:
        await mount.descriptors.fsyncdir(handle)
    finally:
        mount.descriptors.releasedir(handle)


def waiting(mount):
    now = mount.filesystem.waiting()
    return now.files, now.removals


async def write_slowly(mount, handle):
    """Write 40 MiB that are sent while they are written."""
    for number in range(40):
        await mount.descriptors.write(handle, number * MIB, bytes([number]) * MIB)
        await trio.sleep(0.01)


async def sent_by_the_next(serve):
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
        assert mount.filesystem.unsent() == []


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


# What waits


async def test_close_returns_before_s3_has_the_file_and_it_gets_there(mount, memory, bucket, autojump_clock):
    await mount.write("f", b"content")
    assert memory.counts["put"] == 0
    assert await mount.read("f") == b"content"
    assert await mount.list() == ["f"]
    assert waiting(mount) == (1, 0)
    assert mount.filesystem.waiting().bytes == 7
    await trio.sleep(LATER_SECONDS)
    assert await bucket.get("f") == b"content"
    assert waiting(mount) == (0, 0)
    assert memory.counts["put"] == 1


async def test_an_outage_is_not_heard_of_at_close(mount, faults, bucket, autojump_clock):
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"content")
    faults.plan(DOWN)
    await mount.close(handle)
    await trio.sleep(LATER_SECONDS)
    [kept] = mount.filesystem.unsent()
    assert (kept.path, kept_bytes(kept)) == ("/f", b"content")
    faults.plan()
    await trio.sleep(61)
    assert await bucket.get("f") == b"content"
    assert mount.filesystem.unsent() == []
    assert not is_kept(kept)


async def test_fsync_sends_at_once_and_says_what_s3_says(mount, faults, bucket, autojump_clock):
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"first")
    await mount.descriptors.flush(handle)
    await mount.descriptors.fsync(handle)
    assert await bucket.get("f") == b"first"
    await mount.descriptors.write(handle, 0, b"other")
    faults.plan(Fault(verb="put", reason=Reason.ACCESS_DENIED))
    assert await failing(mount.descriptors.fsync, handle) is Reason.ACCESS_DENIED
    await mount.close(handle)
    await trio.sleep(LATER_SECONDS)
    assert await bucket.get("f") == b"other"


async def test_what_is_written_again_soon_is_sent_once(mount, memory, bucket, autojump_clock):
    for number in range(10):
        await mount.write("f", b"%d" % number)
        await trio.sleep(0.2)
    assert memory.counts["put"] == 0
    await trio.sleep(LATER_SECONDS)
    assert await bucket.get("f") == b"9"
    assert memory.counts["put"] == 1


async def test_what_is_removed_soon_is_never_sent(mount, memory, bucket, autojump_clock):
    await mount.write("f", b"x")
    await mount.unlink("f")
    await trio.sleep(LATER_SECONDS)
    assert (memory.counts["put"], memory.counts["delete_many"], memory.counts["delete"]) == (0, 0, 0)
    assert await bucket.keys() == []


async def test_a_rename_of_what_s3_never_had_costs_nothing(mount, memory, bucket, autojump_clock):
    await mount.write("tmp", b"first")
    await mount.write("draft", b"second")
    await mount.rename("tmp", "f")
    await mount.rename("draft", "f")
    assert await mount.list() == ["f"]
    assert await mount.read("f") == b"second"
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["f"]
    assert await bucket.get("f") == b"second"
    assert (memory.counts["put"], memory.counts["copy"]) == (1, 0)


async def test_a_rename_over_what_s3_has_waits_for_it(mount, bucket, autojump_clock):
    await bucket.put("f", b"old")
    await mount.write("tmp", b"new")
    await mount.rename("tmp", "f")
    assert await bucket.get("f") == b"new"
    assert await bucket.keys() == ["f"]


async def test_attributes_that_change_while_a_file_waits_ride_on_its_upload(
    mount, memory, bucket, autojump_clock
):
    await mount.write("f", b"x")
    await mount.change("f", mode=0o600, mtime_ns=5 * 10**9)
    await trio.sleep(LATER_SECONDS)
    info = await bucket.head("f")
    assert (info.metadata["mode"], info.metadata["mtime"]) == (str(0o100600), "5.000000000")
    assert (memory.counts["put"], memory.counts["copy"]) == (1, 0)


async def test_empty_and_truncated_files_wait_too(mount, memory, bucket, autojump_clock):
    await bucket.put("g", b"0123456789")
    await mount.write("empty", b"")
    await mount.truncate("g", 4)
    assert memory.counts["put"] == 1
    assert await mount.read("g") == b"0123"
    await trio.sleep(LATER_SECONDS)
    assert await bucket.get("empty") == b""
    assert await bucket.get("g") == b"0123"


async def test_many_files_are_sent_side_by_side(mount, faults, bucket, autojump_clock):
    faults.plan(Fault(verb="put", times=None, delay_seconds=1))
    for number in range(32):
        await mount.write(f"f{number}", b"x")
    began = trio.current_time()
    assert await mount.filesystem.drain(60) == []
    assert trio.current_time() - began < 5
    assert len(await bucket.keys()) == 32


async def test_when_too_much_waits_close_sends_by_itself(mount, memory, monkeypatch, autojump_clock):
    monkeypatch.setattr(queue, "MOST_BYTES_IN_MEMORY", 3)
    for number in range(5):
        await mount.write(f"f{number}", b"x")
        assert memory.counts["put"] == max(0, number - 2)


async def test_where_the_journal_cannot_be_written_close_and_unlink_mean_s3(
    mount, bucket, monkeypatch, autojump_clock
):
    await bucket.put("g")
    await mount.find("g")
    monkeypatch.setattr("s3rolefs.fs.journal.os.writev", full)
    await mount.write("f", b"x")
    await mount.unlink("g")
    assert await bucket.keys() == ["f"]


async def test_a_short_write_leaves_no_half_entry(serve, monkeypatch, bucket, autojump_clock):
    original = os.writev
    async with serve() as mount:
        await mount.write("first", b"1")
        monkeypatch.setattr("s3rolefs.fs.journal.os.writev", lambda fd, parts: original(fd, parts[:2]))
        await mount.write("second", b"2")
        assert await bucket.keys() == ["second"]
        monkeypatch.undo()
        await mount.write("third", b"3")
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
        assert sorted(await bucket.keys()) == ["first", "second", "third"]


# A kill


async def test_the_next_mount_has_and_sends_what_a_kill_left_waiting(
    serve, spool, bucket, autojump_clock, caplog
):
    async with serve() as mount:
        await mount.mkdir("d")
        await mount.write("d/small", b"content")
        await mount.change("d/small", mode=0o600)
        await mount.write("d/large", b"x" * (3 * MIB))
        await mount.write("d/gone", b"x")
        await mount.unlink("d/gone")
        await mount.write("d/tmp", b"renamed")
        await mount.rename("d/tmp", "d/new")
        await mount.write("d/again", b"first version")
        await mount.write("d/again", b"second")
    assert await bucket.keys() == []
    async with serve() as mount:
        assert sorted(await mount.list("d")) == ["again", "large", "new", "small"]
        assert await mount.read("d/small") == b"content"
        assert (await mount.stat("d/small")).attributes.mode & 0o777 == 0o600
        await trio.sleep(LATER_SECONDS)
        assert mount.filesystem.unsent() == []
        assert await bucket.get("d/again") == b"second"
        assert await bucket.get("d/large") == b"x" * (3 * MIB)
        assert await bucket.get("d/new") == b"renamed"
        assert len(await bucket.keys()) == 5
    assert list(spool.iterdir()) == []
    assert "5 files and 0 removals waited" in caplog.text


async def test_a_kill_leaves_an_edit_of_an_object_waiting_with_what_it_is_over(serve, bucket, autojump_clock):
    await bucket.put("f", b"b" * (2 * MIB), metadata={"owner": "me"})
    async with serve() as mount:
        handle = await mount.open("f", os.O_RDWR)
        await mount.descriptors.write(handle, 10, b"edit")
        await mount.close(handle)
    expected = b"b" * 10 + b"edit" + b"b" * (2 * MIB - 14)
    async with serve() as mount:
        assert await mount.read("f") == expected
        await trio.sleep(LATER_SECONDS)
        assert mount.filesystem.unsent() == []
    assert await bucket.get("f") == expected
    assert (await bucket.head("f")).metadata["owner"] == "me"


async def test_what_was_sent_before_the_kill_is_not_sent_again(serve, memory, bucket, autojump_clock):
    async with serve() as mount:
        await mount.write("stays", b"x")
        await mount.write("f", b"mine")
        await trio.sleep(LATER_SECONDS)
        await mount.write("last", b"x")
        await bucket.delete("f")  # somebody else's removal
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == ["last", "stays"]


async def test_a_kill_while_s3_takes_a_file_is_no_conflict(serve, faults, bucket, autojump_clock):
    async with serve() as mount:
        await mount.write("f", b"content")
        faults.plan(Fault(verb="put", answer_lost=True), Fault(verb="head", times=None, delay_seconds=1000))
        await trio.sleep(1.5)
        assert await bucket.get("f") == b"content"
    faults.plan()
    await sent_by_the_next(serve)


@pytest.mark.parametrize("is_new", [True, False])
async def test_what_is_changed_while_nobody_knows_whether_s3_took_a_file_survives_kills(
    serve, faults, bucket, autojump_clock, is_new
):
    if not is_new:
        await bucket.put("f", b"before")
    async with serve() as mount:
        await mount.write("f", b"first")
        faults.plan(Fault(verb="put", answer_lost=True), NOBODY_LOOKS)
        await trio.sleep(1.5)
        assert await bucket.get("f") == b"first"
    faults.plan()
    async with serve() as mount:
        await mount.write("f", b"the second", flags=os.O_WRONLY)
    async with serve() as mount:
        await mount.truncate("f", 5)
    await sent_by_the_next(serve)
    assert await bucket.get("f") == b"the s"


async def test_a_kill_while_s3_takes_a_file_that_was_sent_as_it_was_written_is_no_conflict(
    serve, faults, memory, bucket, autojump_clock
):
    async with serve() as mount:
        handle = await mount.create("f")
        await write_slowly(mount, handle)
        faults.plan(Fault(verb="complete_multipart", answer_delay_seconds=math.inf))
        await mount.close(handle)
        await trio.sleep(1.5)
        assert await bucket.keys() == ["f"]
    faults.plan()
    await sent_by_the_next(serve)
    assert (await bucket.get("f"))[-1:] == bytes([39])


async def test_a_kill_while_s3_takes_a_file_under_its_new_name_is_no_conflict(
    serve, faults, bucket, autojump_clock
):
    async with serve() as mount:
        await mount.write("tmp", b"content")
        await mount.rename("tmp", "f")
        faults.plan(NOBODY_HEARS)
        await trio.sleep(1.5)
        assert await bucket.keys() == ["f"]
    faults.plan()
    await sent_by_the_next(serve)


async def test_an_edit_with_the_time_and_size_of_what_s3_has_is_sent_by_the_next_mount(
    serve, bucket, autojump_clock
):
    time_ns = 1_700_000_123_000_000_000  # a kernel's clock may stand still for some milliseconds
    async with serve() as mount:
        handle = await mount.create("f")
        for content in (b"aaaa", b"bbbb"):
            await mount.descriptors.write(handle, 0, content)
            await mount.change("f", mtime_ns=time_ns, ctime_ns=time_ns)
            await (mount.descriptors.fsync if content == b"aaaa" else mount.close)(handle)
    await sent_by_the_next(serve)
    assert await bucket.get("f") == b"bbbb"


async def test_what_s3_took_before_a_kill_is_read_at_once(serve, faults, bucket, autojump_clock):
    await bucket.put("f", b"b" * (3 * MIB))
    async with serve() as mount:
        handle = await mount.open("f", os.O_RDWR)
        await mount.descriptors.write(handle, 10, b"edit")
        await mount.close(handle)
        faults.plan(Fault(verb="put", answer_delay_seconds=math.inf))
        await trio.sleep(1.5)
    faults.plan()
    async with serve() as mount:
        assert await mount.read("f") == b"b" * 10 + b"edit" + b"b" * (3 * MIB - 14)
        await trio.sleep(LATER_SECONDS)
        assert mount.filesystem.unsent() == []


async def test_what_was_never_sent_is_removed_and_nothing_of_somebody_else(serve, bucket, autojump_clock):
    async with serve() as mount:
        await mount.write("f", b"mine")
    await bucket.put("f", b"theirs")
    async with serve() as mount:
        await mount.unlink("f")
        await trio.sleep(LATER_SECONDS)
        assert mount.filesystem.unsent() == []
    assert await bucket.get("f") == b"theirs"


async def test_what_a_later_version_wrote_down_is_sent(serve, bucket, monkeypatch, autojump_clock):
    as_fields = KeptVersion.as_fields
    async with serve() as mount:
        monkeypatch.setattr(KeptVersion, "as_fields", lambda kept: as_fields(kept) | {"later": 1})
        await mount.write("f", b"mine")
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
    assert await bucket.get("f") == b"mine"


async def test_a_kill_while_s3_takes_more_than_was_closed_is_no_conflict(
    serve, faults, bucket, autojump_clock
):
    async with serve() as mount:
        handle = await mount.create("f")
        await mount.descriptors.write(handle, 0, b"closed once")
        await mount.descriptors.flush(handle)
        await mount.descriptors.write(handle, 11, b", written again")
        faults.plan(NOBODY_HEARS)
        await trio.sleep(1.5)
        assert await bucket.get("f") == b"closed once, written again"
    faults.plan()
    await sent_by_the_next(serve)
    assert await bucket.get("f") == b"closed once, written again"


@pytest.mark.parametrize("lost", ["complete_multipart", "copy"])
async def test_a_file_that_was_sent_as_it_was_written_gets_its_attributes_whatever_answer_is_lost(
    mount, faults, bucket, autojump_clock, lost
):
    handle = await mount.create("f")
    await write_slowly(mount, handle)
    await mount.change("f", mode=0o600)
    faults.plan(Fault(verb=lost, answer_lost=True))
    await mount.close(handle)
    await trio.sleep(2 * LATER_SECONDS)
    assert mount.filesystem.unsent() == []
    assert (await bucket.head("f")).metadata["mode"] == str(0o100600)
    assert len(await bucket.get("f")) == 40 * MIB


async def test_a_file_is_removed_although_nobody_knows_whether_s3_took_it(
    serve, faults, bucket, autojump_clock
):
    await bucket.put("f", b"before")
    async with serve() as mount:
        await mount.write("f", b"after")
        faults.plan(Fault(verb="put", answer_lost=True), NOBODY_LOOKS)
        await trio.sleep(1.5)
    faults.plan()
    async with serve() as mount:
        await mount.unlink("f")
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
        assert mount.filesystem.unsent() == []
        assert await mount.list() == []


async def test_what_somebody_else_made_meanwhile_is_a_conflict_kept_and_named(serve, bucket, autojump_clock):
    async with serve() as mount:
        await mount.write("f", b"mine")
        await bucket.put("f", b"theirs")
        await trio.sleep(LATER_SECONDS)
        [kept] = mount.filesystem.unsent()
        assert (kept.path, kept.conflict, kept_bytes(kept)) == ("/f", True, b"mine")
        assert await mount.read("f") == b"theirs"
        assert waiting(mount) == (0, 0)


async def test_who_has_a_file_open_hears_of_a_conflict_at_fsync(mount, bucket, autojump_clock):
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"mine")
    await mount.descriptors.flush(handle)
    await bucket.put("f", b"theirs")
    await trio.sleep(LATER_SECONDS)
    assert await failing(mount.descriptors.fsync, handle) is Reason.EXISTS
    await mount.descriptors.release(handle)


async def test_a_lock_is_still_decided_at_open(mount, memory, bucket, autojump_clock):
    handle = await mount.create("index.lock", os.O_RDWR | os.O_EXCL)
    assert await bucket.get("index.lock") == b""
    await mount.close(handle)
    other = await mount.create("f", os.O_RDWR | os.O_EXCL)
    await mount.close(other)
    assert memory.counts["put"] == 1


async def test_an_entry_that_a_crash_cut_off_is_dropped_with_one_line(
    serve, spool, bucket, autojump_clock, caplog
):
    async with serve() as mount:
        await mount.write("whole", b"content")
        await mount.write("cut", b"content")
    [journal] = spool.glob("*/*/*.journal")
    os.truncate(journal, journal.stat().st_size - 3)
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == ["whole"]
    assert caplog.text.count("was cut off by a crash") == 1


async def test_the_journal_does_not_grow_with_what_is_done(serve, spool, monkeypatch, autojump_clock):
    monkeypatch.setattr("s3rolefs.fs.journal._SEGMENT_BYTES", 4096)
    async with serve() as mount:
        handle = await mount.create("open")
        await mount.descriptors.write(handle, 0, b"x")
        for number in range(30):
            await mount.descriptors.flush(handle)
            await mount.write(f"f{number}", b"x" * 1000)
            await trio.sleep(0.9)
        assert sum(path.stat().st_size for path in spool.glob("*/*/*.journal")) < 12 * 1024
        await trio.sleep(LATER_SECONDS)
        assert sum(path.stat().st_size for path in spool.glob("*/*/*.journal")) == 0


async def test_what_waits_is_on_the_disk_within_a_second_or_so(mount, monkeypatch, autojump_clock):
    synced = threading.Event()
    original = os.fsync
    monkeypatch.setattr("s3rolefs.fs.unsent.os.fsync", lambda fd: (original(fd), synced.set()))
    await mount.write("f", b"x")
    assert not mount.names._core.folder.is_synced()
    await trio.sleep(1.5)
    assert await trio.to_thread.run_sync(synced.wait, 10)
    assert mount.names._core.folder.is_synced()


async def test_what_is_done_to_a_removed_file_does_not_bring_it_back(serve, bucket, autojump_clock):
    async with serve() as mount:
        handle = await mount.create("f")
        await mount.descriptors.flush(handle)
        inode = await mount.find("f")
        await mount.unlink("f")
        await mount.names.setattr(inode.number, Changes(mode=0o600), handle)
        await mount.descriptors.write(handle, 0, b"x")
        await mount.close(handle)
    async with serve() as mount:
        assert await mount.list() == []
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == []


async def test_files_that_were_never_closed_are_not_brought_back(serve, bucket, autojump_clock):
    async with serve() as mount:
        handle = await mount.create("f")
        await mount.descriptors.write(handle, 0, b"x")
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == []


async def test_without_writeback_the_next_mount_still_sends_what_waited(serve, bucket, autojump_clock):
    await bucket.put("old")
    async with serve() as mount:
        await mount.write("f", b"content")
        await mount.unlink("old")
    async with serve(writeback=False) as mount:
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == ["f"]


# Directories


async def test_a_directory_is_there_at_once_and_s3_hears_of_it_later(mount, memory, bucket, autojump_clock):
    await mount.mkdir("d", 0o750)
    await mount.mkdir("d/sub")
    assert await mount.list() == ["d"]
    assert await mount.list("d") == ["sub"]
    assert waiting(mount) == (2, 0)
    await mount.change("d", mode=0o700, mtime_ns=5 * 10**9)
    assert memory.counts["put"] == 0
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["d/", "d/sub/"]
    info = await bucket.head("d/")
    assert (info.metadata["mode"], info.metadata["mtime"]) == (str(0o40700), "5.000000000")
    assert info.headers["content-type"] == "application/x-directory"
    assert (waiting(mount), memory.counts["put"]) == ((0, 0), 2)
    assert await mount.list("d") == ["sub"]


async def test_while_a_directory_waits_no_answer_of_s3_takes_it_away(mount, faults, bucket, autojump_clock):
    faults.plan(Fault(verb="put", times=None, reason=Reason.UNREACHABLE))
    await mount.mkdir("d")
    await trio.sleep(200)
    assert await mount.list() == ["d"]
    assert await mount.list("d") == []
    assert not await mount.exists("d/f")
    [kept] = mount.filesystem.unsent()
    assert kept.path == "/d/"
    faults.plan()
    await trio.sleep(61)
    assert await bucket.keys() == ["d/"]
    assert mount.filesystem.unsent() == []
    await trio.sleep(200)
    assert await mount.is_directory("d")


async def test_what_is_in_a_waiting_directory_keeps_it(mount, memory, bucket, autojump_clock):
    await mount.mkdir("d")
    await mount.mkdir("d/sub")
    await mount.write("e", b"x")
    assert await failing(mount.rmdir, "d") is Reason.NOT_EMPTY
    await mount.rmdir("d/sub")
    await mount.rmdir("d")
    assert await mount.list() == ["e"]
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["e"]
    assert (memory.counts["put"], memory.counts["delete"]) == (1, 0)


async def test_a_waiting_directory_needs_no_other_marker_when_it_is_emptied(
    mount, memory, bucket, autojump_clock
):
    await bucket.put("f", b"x")
    await mount.mkdir("d")
    await mount.rename("f", "d/f")
    await mount.rename("d/f", "g")
    assert await bucket.keys() == ["g"]
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["d/", "g"]
    assert memory.counts["put"] == 2
    await mount.rmdir("d")
    assert await bucket.keys() == ["g"]


async def test_a_directory_that_is_a_lock_is_decided_at_once(serve, faults, bucket, autojump_clock):
    async with serve() as mount, serve() as other:
        await other.list()
        await mount.mkdir("repository.lock")
        assert await bucket.keys() == ["repository.lock/"]
        assert await failing(other.mkdir, "repository.lock") is Reason.EXISTS
        faults.plan(Fault(verb="put", reason=Reason.ACCESS_DENIED))
        assert await failing(mount.mkdir, "lock") is Reason.ACCESS_DENIED
    async with serve(exclusive_at_open=True) as mount:
        await mount.mkdir("d")
        assert "d/" in await bucket.keys()


async def test_a_directory_that_somebody_else_has_made_too_is_no_conflict(serve, bucket, autojump_clock):
    async with serve() as mount, serve() as other:
        await mount.mkdir("d", 0o700)
        await mount.write("d/mine", b"x")
        await other.mkdir("d", 0o755)
        await other.write("d/theirs", b"x")
        await trio.sleep(200)
        assert await bucket.keys() == ["d/", "d/mine", "d/theirs"]
        for one in (mount, other):
            assert one.filesystem.unsent() == []
            assert sorted(await one.list("d")) == ["mine", "theirs"]
        modes = [(await one.stat("d")).attributes.mode for one in (mount, other)]
        assert modes[0] == modes[1]


async def test_whether_s3_took_a_directory_is_found_out(mount, faults, memory, bucket, autojump_clock):
    faults.plan(Fault(verb="put", answer_lost=True))
    await mount.mkdir("d", 0o700)
    await trio.sleep(1.5)
    await mount.change("d", mode=0o750)
    await trio.sleep(LATER_SECONDS)
    assert mount.filesystem.unsent() == []
    assert (await bucket.head("d/")).metadata["mode"] == str(0o40750)
    await mount.rmdir("d")
    assert await bucket.keys() == []
    faults.plan(
        Fault(verb="put", answer_lost=True), Fault(verb="head", times=None, reason=Reason.UNREACHABLE)
    )
    await mount.mkdir("e")
    await trio.sleep(1.5)
    assert await bucket.keys() == ["e/"]
    await mount.rmdir("e")
    assert await bucket.keys() == []


async def test_a_waiting_directory_moves_and_is_replaced(serve, spool, bucket, autojump_clock):
    async with serve() as mount:
        await mount.mkdir("old", 0o700)
        await mount.mkdir("old/sub")
        await mount.mkdir("new")
        await mount.rename("old", "new")
        assert await mount.list() == ["new"]
        assert (await mount.stat("new")).attributes.mode & 0o777 == 0o700
        await trio.sleep(200)
        assert await bucket.keys() == ["new/", "new/sub/"]
        assert (await bucket.head("new/")).metadata["mode"] == str(0o40700)
        assert waiting(mount) == (0, 0)
    async with serve() as mount:  # no directory is left in the journal
        assert mount.filesystem.waiting() == NOTHING_WAITS
        assert [*spool.rglob("*.data"), *spool.rglob("*.journal")] == []


async def test_fsync_of_a_waiting_directory_means_s3(mount, faults, bucket, autojump_clock):
    await mount.mkdir("d")
    await mount.mkdir("d/sub")
    await sync_directory(mount, "d")
    assert await bucket.keys() == ["d/", "d/sub/"]
    faults.plan(Fault(verb="put", reason=Reason.ACCESS_DENIED))
    await mount.mkdir("e")
    assert await failing(sync_directory, mount, "e") is Reason.ACCESS_DENIED


async def test_the_marker_of_a_waiting_directory_can_be_given_content(mount, bucket, autojump_clock):
    await mount.mkdir("d")
    await mount.write("d/" + names.spell(names.CONTENT, beside=True), b"content")
    await trio.sleep(LATER_SECONDS)
    assert await bucket.get("d/") == b"content"
    assert await mount.is_directory("d")


async def test_the_next_mount_has_and_sends_the_directories_that_a_kill_left(
    serve, spool, bucket, autojump_clock, caplog
):
    async with serve() as mount:
        await mount.mkdir("d")
        await mount.mkdir("d/sub")
        await mount.write("d/sub/f", b"x")
        await mount.change("d", mode=0o700)
        await mount.mkdir("gone")
        await mount.rmdir("gone")
    assert await bucket.keys() == []
    async with serve() as mount:
        assert await mount.list() == ["d"]
        assert (await mount.stat("d")).attributes.mode & 0o777 == 0o700
        assert await mount.list("d/sub") == ["f"]
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == ["d/", "d/sub/", "d/sub/f"]
        assert (await bucket.head("d/")).metadata["mode"] == str(0o40700)
        assert mount.filesystem.unsent() == []
    assert list(spool.iterdir()) == []
    assert "3 files and 0 removals waited" in caplog.text


async def test_a_name_is_shown_once_while_a_directory_waits_beside_an_object(mount, bucket, autojump_clock):
    await mount.mkdir("d")
    await bucket.put("d", b"object")
    assert sorted(await mount.list()) == ["d", "‛object=d"]
    await trio.sleep(200)
    assert sorted(await mount.list()) == ["d", "‛object=d"]
    assert await mount.read("‛object=d") == b"object"


async def test_what_somebody_else_has_in_a_directory_is_seen_when_it_is_known_to_be_theirs(
    serve, bucket, monkeypatch, autojump_clock
):
    for number in range(1100):  # so many that no listing tells of what is behind them
        await bucket.put(f"a/{number}")
    async with serve() as mount:
        for name in ("d", "e"):
            await bucket.put(f"{name}/theirs", b"x")
            await bucket.put(f"{name}/", b"")
        assert not await mount.exists("b")
        assert not await mount.exists("c")
        await mount.mkdir("d")
        await trio.sleep(LATER_SECONDS)
        assert await mount.list("d") == ["theirs"]
        monkeypatch.setattr("s3rolefs.fs.journal.os.writev", full)
        assert await failing(mount.mkdir, "e") is Reason.EXISTS
        assert await mount.list("e") == ["theirs"]


async def test_a_chmod_after_mkdir_is_done_whoever_made_the_directory(serve, bucket, autojump_clock):
    async with serve() as mount, serve() as other:
        await mount.mkdir("d")
        await other.mkdir("d")
        await sync_directory(other, "d")
        await mount.change("d", mode=0o700)
        await trio.sleep(200)
        assert (await mount.stat("d")).attributes.mode & 0o777 == 0o700
        assert (await bucket.head("d/")).metadata["mode"] == str(0o40700)


async def test_a_directory_that_two_killed_mounts_made_is_made_once(serve, spool, bucket, autojump_clock):
    async with serve() as mount, serve() as other:
        await mount.mkdir("d", 0o700)
        await mount.write("d/a", b"a")
        await other.mkdir("d", 0o755)
        await other.write("d/b", b"b")
    async with serve() as mount:
        assert sorted(await mount.list("d")) == ["a", "b"]
        await trio.sleep(100)
        assert await bucket.keys() == ["d/", "d/a", "d/b"]
        assert mount.filesystem.unsent() == []
    assert [*spool.rglob("*.data"), *spool.rglob("*.journal")] == []


async def test_nothing_is_held_of_a_directory_that_was_sent_or_refused(
    mount, faults, monkeypatch, autojump_clock
):
    core = mount.names._core
    faults.plan(Fault(verb="put", reason=Reason.UNREACHABLE))
    await mount.mkdir("d")
    await trio.sleep(1.5)
    await mount.rename("d", "e")
    assert mount.filesystem.unsent() == []
    await trio.sleep(200)
    assert core.table.writing == set()
    monkeypatch.setattr("s3rolefs.fs.journal.os.writev", full)
    await mount.mkdir("f")
    assert core.table.writing == set()
    assert not any(core.committer.keeper.has(inode) for inode in core.table.below(core.table.root))


async def test_what_is_changed_in_an_outage_survives_a_kill(serve, faults, autojump_clock):
    async with serve() as mount:
        faults.plan(Fault(verb="put", times=None, reason=Reason.UNREACHABLE))
        await mount.mkdir("d")
        await mount.write("f", b"x")
        await trio.sleep(LATER_SECONDS)
        await mount.change("f", mode=0o600)
        await mount.change("d", mode=0o700)
        [why] = {kept.reason for kept in mount.filesystem.unsent()}
    faults.plan()
    async with serve() as mount:
        assert {kept.reason for kept in mount.filesystem.unsent()} == {why}
        assert (await mount.stat("f")).attributes.mode & 0o777 == 0o600
        assert (await mount.stat("d")).attributes.mode & 0o777 == 0o700


async def test_where_the_journal_cannot_be_written_mkdir_means_s3(
    mount, faults, bucket, monkeypatch, autojump_clock
):
    monkeypatch.setattr("s3rolefs.fs.journal.os.writev", full)
    await mount.mkdir("d")
    assert await bucket.keys() == ["d/"]
    faults.plan(Fault(verb="put", reason=Reason.ACCESS_DENIED))
    assert await failing(mount.mkdir, "e") is Reason.ACCESS_DENIED
    assert await mount.list() == ["d"]
    assert (waiting(mount), mount.filesystem.unsent()) == ((0, 0), [])


# Removals


async def test_removals_are_gathered_and_the_names_are_gone_at_once(mount, memory, bucket, autojump_clock):
    for number in range(30):
        await bucket.put(f"d/f{number}")
    await bucket.put("d/stays")
    assert len(await mount.list("d")) == 31
    for number in range(30):
        await mount.unlink(f"d/f{number}")
    assert await mount.list("d") == ["stays"]
    assert await failing(mount.find, "d/f3") is Reason.NOT_FOUND
    assert waiting(mount) == (0, 30)
    assert memory.counts["delete_many"] == 0
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["d/stays"]
    assert (memory.counts["delete_many"], memory.counts["delete"]) == (1, 0)


async def test_a_removed_name_stays_away_however_long_s3_is_not_told(mount, faults, bucket, autojump_clock):
    await bucket.put("d/f")
    await bucket.put("d/other")
    await mount.find("d/f")
    faults.plan(Fault(verb="delete_many", times=None, reason=Reason.UNREACHABLE))
    await mount.unlink("d/f")
    for _ in range(3):
        await trio.sleep(30)
        assert await failing(mount.find, "d/f") is Reason.NOT_FOUND
        assert await mount.list("d") == ["other"]
        assert await failing(mount.find, "d/f") is Reason.NOT_FOUND  # now a complete listing answers
    [unsent] = mount.filesystem.unsent()
    assert unsent.path == "/d/f"
    assert not unsent.conflict
    faults.plan()
    await trio.sleep(61)
    assert await bucket.keys() == ["d/other"]
    assert mount.filesystem.unsent() == []
    assert await failing(mount.find, "d/f") is Reason.NOT_FOUND


async def test_a_walk_through_whole_subtrees_does_not_show_it_either(mount, faults, bucket, autojump_clock):
    folders = [f"w/d{number:02}" for number in range(12)]
    for folder in folders:
        for name in ("f0", "f1", "f2"):
            await bucket.put(f"{folder}/{name}")
    for folder in folders:
        await mount.find(f"{folder}/f1")
    faults.plan(Fault(verb="delete_many", times=None, reason=Reason.UNREACHABLE))
    for folder in folders:
        await mount.unlink(f"{folder}/f1")
    for _ in range(2):
        await trio.sleep(30)
        await mount.list("w")
        for folder in folders:
            assert sorted(await mount.list(folder)) == ["f0", "f2"]
            assert not await mount.exists(f"{folder}/f1")


async def test_a_name_that_is_made_again_is_the_new_file(mount, bucket, autojump_clock):
    await bucket.put("f", b"old", metadata={"owner": "old"})
    await mount.find("f")
    await mount.unlink("f")
    await mount.write("f", b"new")
    assert await mount.list() == ["f"]
    assert await mount.read("f") == b"new"
    await trio.sleep(LATER_SECONDS)
    assert await bucket.get("f") == b"new"
    assert "owner" not in (await bucket.head("f")).metadata
    assert mount.filesystem.unsent() == []


@pytest.mark.parametrize("make", ["symlink", "rename", "fsync"])
async def test_whatever_takes_the_place_of_a_removed_file_comes_after_it(
    mount, memory, bucket, autojump_clock, make
):
    await bucket.put("f", b"old")
    await bucket.put("other", b"new")
    await mount.find("f")
    await mount.unlink("f")
    if make == "symlink":
        await mount.symlink("f", b"new")
    elif make == "rename":
        await mount.rename("other", "f")
    else:
        handle = await mount.create("f")
        await mount.descriptors.write(handle, 0, b"new")
        await mount.descriptors.fsync(handle)
        await mount.close(handle)
    assert await bucket.get("f") == b"new"
    await trio.sleep(LATER_SECONDS)
    assert await bucket.get("f") == b"new"
    assert mount.filesystem.unsent() == []


async def test_an_open_file_that_is_removed_lives_on(mount, bucket, autojump_clock):
    await bucket.put("f", b"x" * (2 * MIB))
    handle = await mount.open("f", os.O_RDWR)
    await mount.unlink("f")
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == []
    assert await mount.read_open(handle) == b"x" * (2 * MIB)
    await mount.descriptors.write(handle, 0, b"y")
    await mount.close(handle)
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == []


async def test_rmdir_waits_for_what_was_removed_below_and_leaves_no_marker_behind(
    mount, memory, bucket, autojump_clock
):
    for number in range(120):
        await bucket.put(f"d/f{number}")
    for name in await mount.list("d"):
        await mount.unlink(f"d/{name}")
    await mount.rmdir("d")
    assert await bucket.keys() == []
    assert memory.counts["put"] == 120
    assert not await mount.exists("d")


async def test_a_directory_whose_last_file_was_removed_keeps_the_one_above_from_being_removed(
    mount, bucket, autojump_clock
):
    await bucket.put("d/sub/f", b"x")
    await mount.unlink("d/sub/f")
    assert await failing(mount.rmdir, "d") is Reason.NOT_EMPTY
    assert await mount.list("d") == ["sub"]
    await mount.rmdir("d/sub")
    await mount.rmdir("d")
    assert await bucket.keys() == []


async def test_an_implicit_parent_stays_when_its_last_directory_goes(mount, bucket, autojump_clock):
    await bucket.put("p/d/f", b"x")
    await mount.find("p/d/f")
    await mount.unlink("p/d/f")
    await mount.rmdir("p/d")
    assert await mount.list("p") == []
    assert await bucket.keys() == ["p/"]


async def test_whoever_waits_for_a_removal_that_another_one_gives_up_sees_to_it(
    mount, faults, bucket, autojump_clock
):
    await bucket.put("d/f", b"x")
    await mount.find("d/f")
    await mount.unlink("d/f")
    faults.plan(Fault(verb="delete_many", delay_seconds=10))

    async def give_up():
        with trio.move_on_after(0.4):
            await sync_directory(mount, "d")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        await trio.sleep(0.2)
        await sync_directory(mount, "d")
        assert await bucket.keys() == ["d/"]


async def test_rmdir_is_still_decided_by_the_bucket(mount, bucket, autojump_clock):
    await bucket.put("d/f")
    await mount.find("d/f")
    await mount.unlink("d/f")
    await bucket.put("d/unseen")
    assert await failing(mount.rmdir, "d") is Reason.NOT_EMPTY
    assert await bucket.keys() == ["d/unseen"]


async def test_a_directory_stays_when_its_last_file_is_removed_later(mount, bucket, autojump_clock):
    await bucket.put("d/f")
    await mount.find("d/f")
    await mount.unlink("d/f")
    assert await mount.is_directory("d")
    assert await mount.list("d") == []
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["d/"]
    await trio.sleep(30)
    assert await mount.is_directory("d")


async def test_rmdir_and_fsync_of_the_directory_say_why_a_removal_failed(
    mount, faults, bucket, autojump_clock, caplog
):
    for name in ("d/f", "d/g", "e/f"):
        await bucket.put(name)
    for name in ("d/f", "d/g", "e/f"):
        await mount.find(name)
    refusal = Fault(verb="delete_many", times=None, reason=Reason.ACCESS_DENIED, code="AccessDenied")
    faults.plan(refusal)
    await mount.unlink("d/f")
    assert await failing(mount.rmdir, "d") is Reason.ACCESS_DENIED
    # What S3 does not let go is there again, and said once.
    assert sorted(await mount.list("d")) == ["f", "g"]
    await mount.unlink("e/f")
    await trio.sleep(LATER_SECONDS)
    assert await failing(sync_directory, mount, "e") is Reason.ACCESS_DENIED
    await sync_directory(mount, "e")
    assert await mount.list("e") == ["f"]
    assert caplog.text.count("S3 does not let it go") == 2
    assert waiting(mount) == (0, 0)
    faults.plan()
    await mount.unlink("e/f")
    await mount.rmdir("e")
    assert await bucket.keys() == ["d/f", "d/g"]


async def test_fsync_of_a_directory_waits_for_everything_below_it(mount, faults, bucket, autojump_clock):
    await bucket.put("d/old")
    await mount.find("d/old")
    await mount.mkdir("d/sub")
    await mount.write("d/sub/f", b"x")
    await mount.write("other", b"x")
    await mount.unlink("d/old")
    await sync_directory(mount, "d")
    assert await bucket.keys() == ["d/sub/", "d/sub/f"]
    await mount.write("d/g", b"x")
    faults.plan(Fault(verb="put", reason=Reason.UNREACHABLE))
    assert await failing(sync_directory, mount, "d") is Reason.UNREACHABLE
    await trio.sleep(LATER_SECONDS)
    assert "d/g" in await bucket.keys()


async def test_the_next_mount_removes_what_a_kill_left_and_nothing_newer(
    serve, bucket, autojump_clock, caplog
):
    for name in ("gone", "newer", "absent", "d/f"):
        await bucket.put(name, b"old")
    async with serve() as mount:
        for name in ("gone", "newer", "absent", "d/f"):
            await mount.find(name)
            await mount.unlink(name)
    await bucket.put("newer", b"theirs")
    await bucket.delete("absent")
    async with serve() as mount:
        assert await mount.list("d") == []
        assert await failing(mount.find, "gone") is Reason.NOT_FOUND
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == ["d/", "newer"]
        assert await mount.read("newer") == b"theirs"
    assert "0 files and 4 removals waited" in caplog.text
    assert "somebody else has replaced it since" in caplog.text


async def test_a_removal_and_its_successor_survive_a_kill_in_their_order(serve, bucket, autojump_clock):
    await bucket.put("f", b"old")
    async with serve() as mount:
        await mount.find("f")
        await mount.unlink("f")
        await mount.write("f", b"new")
    async with serve() as mount:
        assert await mount.list() == ["f"]
        assert await mount.read("f") == b"new"
        await trio.sleep(LATER_SECONDS)
        assert await bucket.get("f") == b"new"
        assert mount.filesystem.unsent() == []


async def test_what_is_copied_and_then_removed_is_never_at_neither_place(
    mount, faults, bucket, autojump_clock
):
    await bucket.put("old", b"content")
    faults.plan(Fault(verb="put", delay_seconds=7))
    await mount.write("new", await mount.read("old"))
    await mount.unlink("old")
    while "new" not in await bucket.keys():
        assert await bucket.keys() == ["old"]
        await trio.sleep(0.3)
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["new"]


async def test_a_file_that_was_sent_and_is_written_again_is_written_down_again(serve, bucket, autojump_clock):
    async with serve() as mount:
        handle = await mount.create("f")
        await mount.descriptors.write(handle, 0, b"1")
        await mount.descriptors.flush(handle)
        await mount.descriptors.fsync(handle)
        await mount.close(handle)
        handle = await mount.open("f", os.O_RDWR)
        for content in (b"2", b"3"):
            await mount.descriptors.write(handle, 0, content)
        await mount.close(handle)
    async with serve() as mount:
        assert await mount.read("f") == b"3"


async def test_the_move_of_a_directory_takes_along_what_waits_and_not_what_was_removed(
    mount, bucket, autojump_clock
):
    for name in ("d/gone", "d/stays"):
        await bucket.put(name)
    await mount.find("d/gone")
    await mount.find("d/stays")
    await mount.unlink("d/gone")
    await mount.write("d/new", b"new")
    await mount.rename("d", "e")
    assert sorted(await mount.list("e")) == ["new", "stays"]
    await trio.sleep(LATER_SECONDS)
    assert await bucket.keys() == ["e/", "e/new", "e/stays"]


# The end


async def test_drain_sends_and_removes_everything(mount, bucket, autojump_clock):
    await bucket.put("old")
    await mount.find("old")
    await mount.unlink("old")
    await mount.write("f", b"content")
    assert await mount.filesystem.drain(60) == []
    assert await bucket.keys() == ["f"]


async def test_drain_keeps_and_names_what_it_could_not_do_in_time(serve, faults, bucket, autojump_clock):
    await bucket.put("old")
    async with serve() as mount:
        await mount.find("old")
        await mount.unlink("old")
        await mount.write("f", b"content")
        faults.plan(Fault(times=None, delay_seconds=1000))
        left = await mount.filesystem.drain(5)
        assert sorted(kept.path for kept in left) == ["/f", "/old"]
        assert all(is_kept(kept) for kept in left)
    faults.plan()
    async with serve() as mount:
        await trio.sleep(LATER_SECONDS)
        assert await bucket.keys() == ["f"]
        assert mount.filesystem.unsent() == []
