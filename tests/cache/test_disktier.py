"""What the loop's side of the disk cache does while the disk is slow or fails."""

import errno
import logging
import os
import threading

import pytest
import trio

from s3rolefs.cache import disktier
from s3rolefs.cache.background import Background
from s3rolefs.cache.blockfiles import BlockFiles
from s3rolefs.cache.blocks import BlockCache, ObjectVersion
from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.cache.disktier import PAUSE_SECONDS, DiskTier
from s3rolefs.model import Key
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.bed.patience import wait_until

WAITING_BLOCKS = 4
BLOCKS = 12
CONTENT = os.urandom(BLOCKS * BLOCK_BYTES)


class ShakyFiles(BlockFiles):
    """Files on a disk that writes while `flowing` is set, and fails with `failure`."""

    def __init__(self, folder):
        super().__init__(folder, {"": ""}, limit_bytes=1 << 30)
        self.flowing = threading.Event()
        self.flowing.set()
        self.failure = 0
        self.writes = 0
        self.expected = []

    def expect(self, path):
        self.expected.append(int(path.suffix[1:]))
        super().expect(path)

    def write(self, path, block):
        self.flowing.wait(20)
        self.writes += 1
        if self.failure:
            raise OSError(self.failure, os.strerror(self.failure))
        super().write(path, block)

    def read(self, path, into):
        if self.failure == errno.EIO:
            raise OSError(self.failure, os.strerror(self.failure))
        return super().read(path, into)

    def kept(self):
        return len(list(self.folder.glob("*/*")))


@pytest.fixture
def files(tmp_path):
    return ShakyFiles(tmp_path / "blocks")


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
async def version(store):
    stored = await store.put(Key("k"), CONTENT, ObjectAttributes())
    return ObjectVersion(key=Key("k"), etag=stored.etag, size_bytes=len(CONTENT), token="k")


@pytest.fixture
def caches(files, store, clock, nursery):
    """Make memory caches of hardly any room above one disk."""
    background = Background(nursery)
    disk = DiskTier(
        files,
        store,
        background,
        clock,
        proof_seconds=10,
        waiting_limit_bytes=WAITING_BLOCKS * BLOCK_BYTES,
    )
    return lambda: BlockCache(store, background, capacity_bytes=0, disk=disk)


async def read(cache, version):
    """Read everything, block by block."""
    for index in range(BLOCKS):
        found = await cache.read(version, index * BLOCK_BYTES, BLOCK_BYTES)
        assert found == CONTENT[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
    cache.check()


async def until(condition):
    await trio.to_thread.run_sync(wait_until, condition, 10)


async def test_no_reader_waits_for_a_write_and_what_is_too_much_is_left_out(caches, files, version, store):
    files.flowing.clear()
    await read(caches(), version)  # ends although not a block was written
    assert files.kept() == 0
    files.flowing.set()
    await until(lambda: files.kept() == WAITING_BLOCKS)
    store.counts.clear()
    await read(caches(), version)
    assert store.counts["get"] == BLOCKS - WAITING_BLOCKS
    await until(lambda: files.kept() > WAITING_BLOCKS)


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
async def test_a_failing_disk_is_said_once_and_tried_again_after_a_while(
    caches, files, version, clock, caplog, failure
):
    caplog.set_level(logging.INFO)
    files.failure = failure
    for _ in range(3):
        await read(caches(), version)
    await until(lambda: files.writes > 0 or failure == errno.EIO)
    await read(caches(), version)
    tried = files.writes
    await read(caches(), version)
    assert files.writes == tried <= 2
    files.failure = 0
    clock.advance(PAUSE_SECONDS + 1)
    await read(caches(), version)
    await until(lambda: files.kept() >= WAITING_BLOCKS)
    await until(lambda: "again" in caplog.text)
    said = [record for record in caplog.records if record.name == "s3rolefs.cache.disktier"]
    assert [record.levelname for record in said] == ["WARNING", "INFO"]
    assert os.strerror(failure) in said[0].getMessage()


async def test_many_readers_ask_once_whether_they_may(caches, files, version, store, clock):
    for cache in (caches(), caches(), caches()):
        await read(cache, version)
        await trio.sleep(0.05)
    await until(lambda: files.kept() >= WAITING_BLOCKS)
    clock.advance(11)
    store.counts.clear()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(caches().read, version, 0, 10)
    assert dict(store.counts) == {"head": 1}


async def read_in_steps(disk, files, version, *, told):
    """Read a file from beginning to end, two blocks at a time; the kernel is told of the blocks `told`."""
    files.expected.clear()
    buffers = [memoryview(bytearray(BLOCK_BYTES)) for _ in range(2)]
    for first in range(0, BLOCKS, 2):
        assert await disk.read(version, first, buffers) == [True, True]
        assert buffers[0] == CONTENT[first * BLOCK_BYTES :][:BLOCK_BYTES]
    await trio.to_thread.run_sync(wait_until, lambda: len(files.expected) >= len(told), 5.0)
    assert sorted(files.expected) == list(told)


@pytest.mark.parametrize("is_slow", [True, False])
async def test_only_a_slow_disk_is_told_of_blocks_and_of_each_once_in_a_reading(
    files, store, version, clock, nursery, monkeypatch, is_slow
):
    monkeypatch.setattr(disktier, "_CACHED_BYTES_PER_SECOND", float("inf") if is_slow else 0)
    files.prepare()
    for index in range(BLOCKS):
        files.write(files.path(version, index), memoryview(CONTENT)[index * BLOCK_BYTES :][:BLOCK_BYTES])
    disk = DiskTier(files, store, Background(nursery), clock, proof_seconds=10, waiting_limit_bytes=0)
    # By the first step it is not known yet that the disk is slow.
    await read_in_steps(disk, files, version, told=range(3, BLOCKS) if is_slow else ())
    for _ in range(2):
        await read_in_steps(disk, files, version, told=range(1, BLOCKS) if is_slow else ())
