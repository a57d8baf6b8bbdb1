"""Serve buckets that lie or never stand still: an error or the truth, never other bytes."""

import random
import stat
from dataclasses import replace

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.model import GIB
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.fs.conftest import Bucket
from tests.fs.mounted import TrioClock, mounted

CONTENT = random.Random(1).randbytes(3_000_000)


class LyingStore(MemoryStore):
    """Add to the size of every object, in listings (and, with `head_lies`, in HEADs)."""

    def __init__(self, added_bytes, *, head_lies):
        super().__init__(TrioClock())
        self._added_bytes = added_bytes
        self._head_lies = head_lies

    def _lie(self, info):
        return replace(info, size_bytes=info.size_bytes + self._added_bytes)

    async def list_page(self, *arguments, **more):
        page = await super().list_page(*arguments, **more)
        return replace(page, objects=[self._lie(info) for info in page.objects])

    async def head(self, key):
        info = await super().head(key)
        return self._lie(info) if self._head_lies else info


class RestlessStore(MemoryStore):
    """Let somebody else replace an object before each read of it."""

    def __init__(self):
        super().__init__(TrioClock())
        self.versions = 0

    async def get(self, key, *arguments, **more):
        self.versions += 1
        await self.put(key, self.content(self.versions), ObjectAttributes())
        return await super().get(key, *arguments, **more)

    @staticmethod
    def content(version):
        return bytes([version % 256]) * 3_000_000


@pytest.mark.parametrize("added_bytes", [-1_000_000, -1, 1, 5_000_000])
async def test_a_listing_with_wrong_sizes_does_no_harm(tmp_path, added_bytes):
    store = LyingStore(added_bytes, head_lies=False)
    await Bucket(store).put("d/f", CONTENT)
    async with mounted(store, tmp_path) as mount:
        assert await mount.list("d") == ["f"]
        assert (await mount.stat("d/f")).size_bytes == len(CONTENT)
        assert await mount.read("d/f") == CONTENT
        await mount.rename("d/f", "d/g")
        assert await mount.read("d/g") == CONTENT


@pytest.mark.parametrize("from_listing", [True, False], ids=["listing", "head"])
@pytest.mark.parametrize("added_bytes", [1, 5_000_000])
async def test_what_is_said_to_be_longer_than_it_is_cannot_be_read_to_its_end(
    tmp_path, added_bytes, from_listing
):
    store = LyingStore(added_bytes, head_lies=not from_listing)
    await Bucket(store).put("f", CONTENT)
    async with mounted(store, tmp_path, metadata_from_listing=from_listing) as mount:
        assert await mount.list() == ["f"]
        for _ in range(3):
            handle = await mount.open("f")
            assert await mount.descriptors.read(handle, 0, 1000) == CONTENT[:1000]
            with pytest.raises(FileSystemError) as failure:
                await mount.descriptors.read(handle, len(CONTENT) - 10, 20)
            assert failure.value.reason is Reason.STALE
            await mount.close(handle)
        # The rest goes on: other files, and the name itself.
        await mount.write("other", b"x")
        assert await mount.read("other") == b"x"
        await mount.unlink("f")
        assert await mount.list() == ["other"]


async def test_an_object_that_changes_at_every_read_is_stale_and_never_mixed(tmp_path, autojump_clock):
    store = RestlessStore()
    await Bucket(store).put("f", store.content(0))
    reasons = set()
    async with mounted(store, tmp_path) as mount:
        for _ in range(5):
            with trio.fail_after(60):
                try:
                    content = await mount.read("f")
                except FileSystemError as error:
                    reasons.add(error.reason)
                else:
                    assert content == content[:1] * len(content)
        assert reasons == {Reason.STALE}
        assert 5 <= store.versions <= 50
        # It can still be replaced, moved and removed.
        await mount.write("f", b"mine")
        assert await mount.read("f") == b"mine"
        await mount.rename("f", "g")
        await mount.unlink("g")
        assert await mount.list() == []


async def test_symlinks_that_cannot_be_are_files(mount, bucket):
    link = {"mode": str(0o120777)}
    await bucket.put("huge", b"x" * 5_000_000, metadata=link)
    await bucket.put("empty", metadata=link)
    assert await mount.read("huge") == b"x" * 5_000_000
    assert await mount.read("empty") == b""


class VastStore(MemoryStore):
    """Say of every object that it has a gigabyte, in 10,001 parts; nobody may ask for it."""

    def _vast(self, info):
        return replace(info, size_bytes=GIB, etag="0123456789abcdef0123456789abcdef-10001")

    async def list_page(self, *arguments, **more):
        page = await super().list_page(*arguments, **more)
        return replace(page, objects=[self._vast(info) for info in page.objects])

    async def head(self, key):
        return self._vast(await super().head(key))

    async def get(self, key, into, *, if_match, on_filled, **more):
        self.counts["get"] += 1
        for index, buffer in enumerate(into):
            buffer[:] = bytes(len(buffer))
            on_filled(index)
        return await self.head(key)


async def test_a_symlink_of_a_gigabyte_is_a_file_and_nothing_is_downloaded(tmp_path, caplog):
    store = VastStore(TrioClock())
    await Bucket(store).put("l", b"x", metadata={"mode": str(0o120777)})
    async with mounted(store, tmp_path) as mount:
        for _ in range(2):
            assert await mount.list() == ["l"]
            inode = await mount.stat("l")
            assert (stat.S_IFMT(inode.attributes.mode), inode.size_bytes) == (stat.S_IFREG, GIB)
            with pytest.raises(FileSystemError) as failure:
                await mount.names.readlink(inode.number)
            assert failure.value.reason is Reason.INVALID
        assert store.counts["get"] == 0
    assert caplog.text.count("makes no sense") == 1


async def test_an_object_of_more_parts_than_there_may_be_is_read_and_removed(tmp_path):
    store = VastStore(TrioClock())
    await Bucket(store).put("f", b"x")
    async with mounted(store, tmp_path) as mount:
        handle = await mount.open("f")
        assert await mount.descriptors.read(handle, GIB - 10, 100) == bytes(10)
        await mount.close(handle)
        await mount.unlink("f")
        assert await mount.list() == []
