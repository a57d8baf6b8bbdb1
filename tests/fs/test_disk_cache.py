"""What a mount reads from the disk cache of mounts before it. Time stands still but for `clock.advance`."""

import random

import pytest
import trio

from s3rolefs.cache.blockfiles import BlockFiles
from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.model import MIB
from s3rolefs.s3.faults import Fault
from s3rolefs.s3.memory import MemoryStore
from tests.bed.patience import wait_until
from tests.fs.mounted import mounted

LARGE = random.Random(1).randbytes(20 * BLOCK_BYTES + 7)
TTL_SECONDS = 10


@pytest.fixture
def memory(clock):
    return MemoryStore(clock)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "blocks"


@pytest.fixture
def serve(faults, tmp_path, folder, clock, mock_clock):
    """Mount the same bucket again and again, with one directory of blocks."""

    def made(origins=None, **more):
        blocks = BlockFiles(folder, origins or {"": "service\0bucket\0"}, limit_bytes=64 * MIB)
        files = {"metadata_ttl_seconds": TTL_SECONDS, "clock": clock, "blocks": blocks, **more}
        return mounted(faults, tmp_path / "spool", **files)

    return made


@pytest.fixture
async def filled(bucket, serve):
    await bucket.put("large", LARGE)
    await bucket.put("small", b"content")
    async with serve() as mount:
        assert await mount.read("large") == LARGE
        assert await mount.read("small") == b"content"


async def test_after_a_remount_no_byte_comes_from_s3(serve, filled, memory):
    memory.counts.clear()
    async with serve() as mount:
        assert await mount.read("large") == LARGE
        assert await mount.read("small") == b"content"
    assert memory.counts["get"] == 0


async def test_what_is_read_on_from_disk_does_not_fill_the_memory(serve, filled, memory):
    memory.counts.clear()
    async with serve() as mount:
        for _ in range(2):
            assert await mount.read("large") == LARGE
            assert mount.filesystem._core.blocks.cached_bytes <= 3 * BLOCK_BYTES
    assert memory.counts["get"] == 0


async def test_without_a_listing_reading_takes_one_proof_per_object(serve, filled, memory, clock):
    async with serve(metadata_from_listing=True) as mount:
        await mount.list()
        memory.counts.clear()
        for _ in range(3):
            assert await mount.read("large") == LARGE
        assert dict(memory.counts) == {"head": 1}


async def test_what_was_written_here_is_read_from_disk_by_the_next_mount(serve, memory):
    async with serve() as mount:
        await mount.write("new", b"made here")
    memory.counts.clear()
    async with serve() as mount:
        assert await mount.read("new") == b"made here"
    assert memory.counts["get"] == 0


async def test_a_role_that_may_list_but_not_read_gets_nothing(serve, filled, faults, memory):
    refused = [Fault(verb=verb, times=None, reason=Reason.ACCESS_DENIED) for verb in ("head", "get")]
    faults.plan(*refused)
    for options in ({}, {"metadata_from_listing": True}):
        async with serve(**options) as mount:
            await mount.list()
            for name in ("large", "small"):
                with pytest.raises(FileSystemError) as failure:
                    await mount.read(name)
                assert failure.value.reason is Reason.ACCESS_DENIED


async def test_a_right_that_is_taken_away_counts_within_the_time_of_metadata(serve, filled, faults, clock):
    async with serve(cache_memory_bytes=4 * BLOCK_BYTES) as mount:
        handle = await mount.open("large")
        assert await mount.read_open(handle) == LARGE
        faults.plan(*[Fault(verb=verb, times=None, reason=Reason.ACCESS_DENIED) for verb in ("head", "get")])
        clock.advance(TTL_SECONDS + 1)
        with pytest.raises(FileSystemError) as failure:
            await mount.read_open(handle)
        assert failure.value.reason is Reason.ACCESS_DENIED


async def test_an_outage_is_not_bridged(serve, filled, faults):
    async with serve(metadata_from_listing=True) as mount:
        await mount.list()
        faults.plan(Fault(times=None, reason=Reason.UNREACHABLE))
        with pytest.raises(FileSystemError) as failure:
            await mount.read("large")
        assert failure.value.reason is Reason.UNREACHABLE


async def test_another_version_is_never_mixed_with_what_is_on_disk(serve, filled, bucket):
    other = bytes(LARGE[:BLOCK_BYTES]) + random.Random(2).randbytes(len(LARGE) - BLOCK_BYTES)
    await bucket.put("large", other)
    async with serve() as mount:
        assert await mount.read("large") == other


async def test_what_is_replaced_while_it_is_open_is_stale_once_s3_was_asked(serve, filled, bucket, clock):
    async with serve(cache_memory_bytes=4 * BLOCK_BYTES) as mount:
        handle = await mount.open("large")
        assert await mount.descriptors.read(handle, 0, 10) == LARGE[:10]
        await bucket.put("large", b"other")
        clock.advance(TTL_SECONDS + 1)
        with pytest.raises(FileSystemError) as failure:
            await mount.descriptors.read(handle, 15 * BLOCK_BYTES, 10)
        assert failure.value.reason is Reason.STALE


async def test_missing_and_damaged_blocks_alone_are_fetched(serve, filled, memory, folder, caplog):
    files = sorted(folder.glob("*/*"), key=lambda path: int(path.suffix[1:]))
    files = [path for path in files if path.name.startswith(files[-1].stem)]
    assert len(files) == 21
    files[3].unlink()
    content = bytearray(files[4].read_bytes())
    content[5] ^= 1
    files[4].write_bytes(content)
    files[8].write_bytes(files[8].read_bytes()[:-1])
    files[12].write_bytes(files[13].read_bytes())  # whole, but another block's
    memory.counts.clear()
    async with serve() as mount:
        assert await mount.read("large") == LARGE
    assert memory.counts["get"] == 3  # of 3 and 4, of 8, of 12
    said = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert len(said) == 1  # of two
    assert said[0].split()[0] in {str(files[4]), str(files[12])}
    memory.counts.clear()
    async with serve() as mount:
        assert await mount.read("large") == LARGE
    assert memory.counts["get"] == 0


async def test_mounts_of_one_bucket_share_whatever_they_show_of_it(serve, bucket, memory):
    await bucket.put("dir/file", b"content")
    async with serve() as mount:
        await mount.read("dir/file")
    memory.counts.clear()
    async with serve(prefix="dir/") as mount:
        assert await mount.read("file") == b"content"
    # As the joint store of a map names it: the directory "dir" for a prefix of the same bucket.
    async with serve(origins={"dir/": "service\0bucket\0dir/"}) as mount:
        assert await mount.read("dir/file") == b"content"
    assert memory.counts["get"] == 0
    async with serve(origins={"": "service\0another\0"}) as mount:
        assert await mount.read("dir/file") == b"content"
    assert memory.counts["get"] == 1


async def test_a_directory_removed_under_the_mount_is_made_again(serve, bucket, folder, memory):
    await bucket.put("first", b"1")
    await bucket.put("second", b"2")
    async with serve() as mount:
        await mount.read("first")
        await trio.to_thread.run_sync(wait_until, lambda: len(list(folder.glob("*/*"))) == 1, 10)
        for path in sorted(folder.parent.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        await mount.read("second")
    assert len(list(folder.glob("*/*"))) == 1
    memory.counts.clear()
    async with serve() as mount:
        assert await mount.read("second") == b"2"
    assert memory.counts["get"] == 0


async def test_a_directory_of_others_is_not_believed_and_said_once(serve, filled, folder, memory, caplog):
    folder.chmod(0o770)
    memory.counts.clear()
    async with serve() as mount:
        assert await mount.read("large") == LARGE
        assert await mount.read("small") == b"content"
    assert memory.counts["get"]
    assert len([record for record in caplog.records if "others may write" in record.getMessage()]) == 1
