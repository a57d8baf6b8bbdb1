"""What a mount remembers is bounded, however many names programs have asked for."""

from __future__ import annotations

import gc
import os
import stat
import sys
from dataclasses import replace

import pytest

from s3rolefs.cache import metadata
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.model import ObjectInfo
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.bed.effort import EFFORT
from tests.fs.mounted import CALLER, TrioClock, mounted

LOOK_UPS = 5_000 if EFFORT == 1 else 1_000_000
CONTENT = bytes(range(256)) * 64
# What is left behind takes a hundred bytes and more, if it is only a number in a dictionary.
GROWTH_LIMIT_BYTES = 4 * LOOK_UPS


class EndlessStore(MemoryStore):
    """Have an object at every key below `there/`, so many that no page comes to one that is asked for."""

    async def list_page(self, prefix, **named):
        page = await super().list_page(prefix, **named)
        return replace(page, next_token="more") if "there/".startswith(prefix) else page

    async def head(self, key):
        if not key.startswith("there/"):
            return await super().head(key)
        self.counts["head"] += 1
        metadata = {"mode": str(stat.S_IFREG | 0o644), "uid": "0", "gid": "0", "mtime": "1700000000"}
        return ObjectInfo(
            key=key,
            size_bytes=len(CONTENT),
            etag=f"{hash(key)}",
            last_modified_ns=0,
            metadata=metadata,
            headers={},
        )

    async def get(self, key, into, *, on_filled=None, **more):
        into[0][:] = CONTENT
        if on_filled is not None:
            on_filled(0)
        return await self.head(key)


async def use(mount, directory, number):
    """Look a name up, as the kernel does before it opens, and let the kernel forget it."""
    inode = await mount.names.lookup(directory.number, b"f%d" % number)
    if number % 4 == 0:
        handle = await mount.descriptors.open(inode.number, os.O_RDONLY, CALLER)
        assert await mount.descriptors.read(handle, 0, 10) == CONTENT[:10]
        await mount.descriptors.release(handle)
    if number % 4 == 1:
        with pytest.raises(FileSystemError) as absent:
            await mount.names.lookup(1, b"absent-%d" % number)
        assert absent.value.reason is Reason.NOT_FOUND
    if number % 4 == 2:  # a listing gave out its number, too
        mount.descriptors.promise(inode.number)
        mount.descriptors.promise(inode.number + 1)
        mount.names.forget(inode.number, 1)
        mount.names.forget(inode.number + 1, 1)
    mount.names.forget(inode.number, 1)


def held_bytes():
    """Return how much everything takes that the collector knows of: objects, and the tables they are in."""
    gc.collect()
    return sum(sys.getsizeof(known) for known in gc.get_objects())


@pytest.mark.timeout(120 if EFFORT == 1 else 3000)
async def test_memory_stays_the_same_however_many_names_are_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "OBJECTS_LIMIT", 1000)
    monkeypatch.setattr(metadata, "LISTED_NAMES_LIMIT", 1000)
    store = EndlessStore(TrioClock())
    await store.put("there/", b"", ObjectAttributes())
    async with mounted(store, tmp_path / "spool", cache_memory_bytes=1 << 20) as mount:
        directory = await mount.find("there")
        used_bytes = []
        for numbers in (range(LOOK_UPS // 2), range(LOOK_UPS // 2, LOOK_UPS)):
            for number in numbers:
                await use(mount, directory, number)
            used_bytes.append(held_bytes())
        assert used_bytes[1] - used_bytes[0] < GROWTH_LIMIT_BYTES
        assert store.counts["head"] >= LOOK_UPS  # each was asked for
        table = mount.names._core.table
        assert table.below(table.root) == [directory]
