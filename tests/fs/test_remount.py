"""What a mount knows of objects from the mount before it. Time stands still but for `clock.advance`."""

import logging
import stat
from functools import partial

import pytest

from s3rolefs.errors import Reason
from s3rolefs.s3.faults import Fault
from s3rolefs.s3.memory import MemoryStore
from tests.fs.mounted import mounted

SETTLED_SECONDS = 5
FILES = [f"f{number}" for number in range(5)]


@pytest.fixture
def records(tmp_path):
    return tmp_path / "cache" / "attributes" / "records.sqlite"


@pytest.fixture
def memory(clock):
    return MemoryStore(clock)


@pytest.fixture
def serve(faults, tmp_path, records, clock, mock_clock):
    """Mount the same bucket again and again, with one file of records; no patience ends by itself."""
    return partial(mounted, faults, tmp_path / "spool", records=records, clock=clock)


@pytest.fixture
async def filled(bucket, clock):
    for name in FILES:
        await bucket.put(name, b"x", metadata={"mode": str(0o100640), "uid": "7"})
    clock.advance(SETTLED_SECONDS)


async def modes(mount):
    """Do what `ls -l` does: list, with the attributes that come along, and ask for the others."""
    found = {}
    for name in await mount.list():
        found[name] = (await mount.find(name)).attributes.mode
    return found


async def heads(mount, memory):
    """Return what `ls -l` shows, and how many HEADs and listings it took."""
    memory.counts.clear()
    found = await modes(mount)
    return found, memory.counts["head"], memory.counts["list_page"]


async def test_after_a_remount_attributes_cost_the_listing_alone(serve, filled, memory):
    async with serve() as mount:
        first, asked, _ = await heads(mount, memory)
        assert asked == len(FILES)
    async with serve() as mount:
        assert await heads(mount, memory) == (first, 0, 1)
        assert first == dict.fromkeys(FILES, 0o100640)
        assert (await mount.stat("f0")).attributes.uid == 7


async def test_everything_that_attributes_need_is_remembered(serve, bucket, memory, clock):
    xattr = '{"user.a":"Yg=="}'
    metadata = {"mode": str(0o104751), "uid": "1", "gid": "2", "mtime": "5.000000009", "xattr": xattr}
    await bucket.put("file", b"12345", metadata=metadata, headers={"content-type": "text/x-special"})
    await bucket.put("link", b"file", metadata={"mode": str(stat.S_IFLNK | 0o777)})
    await bucket.put("fifo", b"", metadata={"mode": str(stat.S_IFIFO | 0o600)})
    clock.advance(SETTLED_SECONDS)
    shown = []
    for _ in range(2):
        async with serve(xattr=True) as mount:
            memory.counts.clear()
            assert await mount.list() == ["fifo", "file", "link"]
            inodes = [await mount.find(name) for name in ("fifo", "file", "link")]
            shown.append([(inode.attributes, inode.size_bytes, inode.info) for inode in inodes])
            asked = memory.counts["head"]
            number = inodes[1].number
            assert await mount.filesystem.extended.get(number, b"user.s3.content_type") == b"text/x-special"
            assert await mount.names.readlink(inodes[2].number) == b"file"
    assert asked == 0
    assert shown[0] == shown[1]
    assert shown[1][1][0].mode == 0o104751
    assert shown[1][1][0].mtime_ns == 5 * 10**9 + 9


async def test_what_changed_behind_the_back_of_both_is_noticed(serve, filled, bucket, memory, clock):
    async with serve() as mount:
        await modes(mount)
    await bucket.put("f0", b"x", metadata={"mode": str(0o100600)})  # the same ETag, another Last-Modified
    await bucket.put("f1", b"other content", metadata={"mode": str(0o100611)})
    await bucket.delete("f2")
    clock.advance(SETTLED_SECONDS)
    async with serve() as mount:
        found, asked, _ = await heads(mount, memory)
    assert found == {"f0": 0o100600, "f1": 0o100611, "f3": 0o100640, "f4": 0o100640}
    assert asked == 2


async def test_what_was_said_right_after_a_change_is_not_remembered(serve, bucket, memory, clock):
    await bucket.put("f", b"x", metadata={"mode": str(0o100600)})
    async with serve() as mount:
        assert await modes(mount) == {"f": 0o100600}
    await bucket.put("f", b"x", metadata={"mode": str(0o100644)})  # the same ETag, the same second
    clock.advance(SETTLED_SECONDS)
    async with serve() as mount:
        assert await heads(mount, memory) == ({"f": 0o100644}, 1, 1)
    async with serve() as mount:
        assert await heads(mount, memory) == ({"f": 0o100644}, 0, 1)


async def test_own_changes_replace_what_was_remembered(serve, filled, memory, clock):
    async with serve() as mount:
        await modes(mount)
        await mount.change("f0", mode=0o604)
        await mount.write("f1", b"new content")
        await mount.rename("f2", "moved")
        await mount.unlink("f3")
        await mount.write("made", b"here")
        clock.advance(SETTLED_SECONDS)
        expected = await modes(mount)
    async with serve() as mount:
        assert await heads(mount, memory) == (expected, 0, 1)
    assert expected == {"f0": 0o100604, **dict.fromkeys(("f1", "f4", "moved"), 0o100640), "made": 0o100644}


async def test_two_own_changes_within_one_second_leave_the_second(serve, filled, memory, clock):
    async with serve() as mount:
        await modes(mount)
        for mode in (0o604, 0o606):
            await mount.change("f0", mode=mode)
    clock.advance(SETTLED_SECONDS)
    async with serve() as mount:
        found, _, _ = await heads(mount, memory)
        assert found["f0"] == 0o100606


async def test_with_metadata_from_the_listing_nothing_is_read_or_written(serve, filled, memory, records):
    async with serve(metadata_from_listing=True) as mount:
        await modes(mount)
    assert not records.exists()
    async with serve() as mount:
        await modes(mount)
    async with serve(metadata_from_listing=True) as mount:
        found, asked, _ = await heads(mount, memory)
        assert found == dict.fromkeys(FILES, 0o100644)
        assert asked == 0


async def test_a_refusal_is_not_remembered(serve, filled, faults, memory):
    faults.plan(Fault(verb="head", times=None, reason=Reason.ACCESS_DENIED))
    async with serve() as mount:
        assert await modes(mount) == dict.fromkeys(FILES, 0o100644)
    faults.plan()
    async with serve() as mount:
        assert await modes(mount) == dict.fromkeys(FILES, 0o100640)


async def test_a_read_only_mount_remembers_too(serve, filled, memory):
    async with serve(read_only=True) as mount:
        await modes(mount)
    async with serve(read_only=True) as mount:
        assert (await heads(mount, memory))[1:] == (0, 1)


async def test_a_broken_file_costs_what_was_known_and_a_line_in_the_log(
    serve, filled, memory, records, caplog
):
    async with serve() as mount:
        await modes(mount)
    records.write_bytes(b"no database" * 1000)
    async with serve() as mount:
        assert await heads(mount, memory) == (dict.fromkeys(FILES, 0o100640), len(FILES), 1)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert str(records) in warnings[0].getMessage()
    async with serve() as mount:
        assert (await heads(mount, memory))[1:] == (0, 1)


async def test_two_mounts_at_once_remember_in_one_file(serve, bucket, memory, clock, filled):
    async with serve() as one, serve() as other:
        assert await modes(one) == await modes(other) == dict.fromkeys(FILES, 0o100640)
        await one.change("f0", mode=0o604)
    clock.advance(SETTLED_SECONDS)
    async with serve() as mount:
        found, _, _ = await heads(mount, memory)
        assert found == {**dict.fromkeys(FILES, 0o100640), "f0": 0o100604}


async def test_the_directories_of_a_map_are_told_apart(serve, bucket, memory, clock):
    await bucket.put("one/f", b"x", metadata={"mode": str(0o100640)})
    await bucket.put("two/f", b"x", metadata={"mode": str(0o100604)})
    clock.advance(SETTLED_SECONDS)
    for asked in (2, 0):
        memory.counts.clear()
        async with serve(directories={"one": "", "two": ""}) as mount:
            for name, mode in (("one", 0o100640), ("two", 0o100604)):
                assert await mount.list(name) == ["f"]
                assert (await mount.find(f"{name}/f")).attributes.mode == mode
        assert memory.counts["head"] == asked
