"""Extended attributes of a mount, and what another client sees of them."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from urllib.parse import quote

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import xattrs
from s3rolefs.s3.faults import Fault

BROKEN = "%7Bbroken"


class Attributes:
    """Set and get by path."""

    def __init__(self, mount) -> None:
        self._mount = mount
        self._extended = mount.filesystem.extended

    async def set(self, path, name, value):
        await self._extended.set((await self._mount.find(path)).number, name.encode(), value)

    async def get(self, path, name):
        return await self._extended.get((await self._mount.find(path)).number, name.encode())

    async def names(self, path):
        return await self._extended.names((await self._mount.find(path)).number)

    async def remove(self, path, name):
        await self._extended.remove((await self._mount.find(path)).number, name.encode())


@pytest.fixture
def of(mount):
    return Attributes(mount)


async def failing(work, *arguments):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments)
    return failure.value.reason


async def stored(bucket, key):
    return (await bucket.head(key)).metadata.get("xattr")


async def test_they_are_stored_as_s3fs_stores_them(mount, of, bucket):
    await mount.write("f", b"x")
    await of.set("f", "user.a", b"1")
    await of.set("f", "user.b", b"\0\xff")
    assert await stored(bucket, "f") == xattrs.encode({"user.a": "MQ==", "user.b": "AP8="})
    assert await of.names("f") == [b"user.a", b"user.b"]
    assert await of.get("f", "user.b") == b"\0\xff"
    await of.remove("f", "user.a")
    assert await failing(of.get, "f", "user.a") is Reason.NO_ATTRIBUTE
    assert await failing(of.remove, "f", "user.a") is Reason.NO_ATTRIBUTE
    await of.remove("f", "user.b")
    assert await stored(bucket, "f") is None
    assert await bucket.get("f") == b"x"


async def test_they_ride_on_an_upload_that_is_due(mount, of, bucket, memory):
    handle = await mount.create("f")
    await mount.descriptors.write(handle, 0, b"x")
    await of.set("f", "user.a", b"1")
    assert await of.get("f", "user.a") == b"1"
    await mount.close(handle)
    assert (memory.counts["put"], memory.counts["copy"]) == (1, 0)
    assert await stored(bucket, "f") == xattrs.encode({"user.a": "MQ=="})


async def test_they_survive_edits_changes_and_moves(mount, of, bucket):
    await bucket.put("f", b"x", metadata={"xattr": xattrs.encode({"user.a": "MQ==", "system.acl": "Mg=="})})
    await mount.write("f", b"y", os.O_WRONLY)
    await mount.change("f", mode=0o600)
    await of.set("f", "user.b", b"3")
    await mount.rename("f", "g")
    expected = {"user.a": "MQ==", "system.acl": "Mg==", "user.b": "Mw=="}
    assert xattrs.decode(await stored(bucket, "g")) == expected
    assert await of.names("g") == [b"user.a", b"user.b"]


@pytest.mark.parametrize("dirty", [False, True])
async def test_what_has_no_room_is_no_space_and_sends_nothing(mount, of, bucket, memory, dirty):
    await mount.write("f", b"x")
    handle = await mount.open("f", os.O_WRONLY)
    if dirty:
        await mount.descriptors.write(handle, 0, b"y")
    memory.counts.clear()
    assert await failing(of.set, "f", "user.a", bytes(1500)) is Reason.NO_SPACE
    assert not memory.counts
    assert await of.names("f") == []
    await mount.close(handle)
    assert await stored(bucket, "f") is None


async def test_a_change_that_s3_refuses_is_none(mount, of, faults):
    await mount.write("f", b"x")
    faults.plan(Fault(verb="copy", reason=Reason.ACCESS_DENIED, status=403))
    assert await failing(of.set, "f", "user.a", b"1") is Reason.ACCESS_DENIED
    assert await of.names("f") == []


async def test_broken_text_counts_as_absent_and_a_chmod_keeps_it(mount, of, bucket, caplog):
    await bucket.put("f", b"x", metadata={"xattr": BROKEN})
    assert await of.names("f") == []
    assert await failing(of.get, "f", "user.a") is Reason.NO_ATTRIBUTE
    await mount.change("f", mode=0o600)
    assert await stored(bucket, "f") == BROKEN
    assert caplog.text.count("makes no sense") == 1
    await of.set("f", "user.a", b"1")
    assert await of.get("f", "user.a") == b"1"


async def test_a_value_that_is_no_base64_is_kept_beside_others(mount, of, bucket):
    await bucket.put("f", b"x", metadata={"xattr": quote('{"user.bad":"?","user.a":"MQ=="}')})
    assert await of.names("f") == [b"user.a"]
    assert await failing(of.get, "f", "user.bad") is Reason.NO_ATTRIBUTE
    await of.set("f", "user.b", b"2")
    assert xattrs.decode(await stored(bucket, "f"))["user.bad"] == "?"


async def test_those_of_a_directory_are_in_its_marker(mount, of, bucket):
    await bucket.put("d/f", b"x")
    await of.set("d", "user.a", b"1")
    assert await stored(bucket, "d/") == xattrs.encode({"user.a": "MQ=="})
    await mount.change("d", mode=0o700)
    await mount.rename("d", "e")
    assert await of.get("e", "user.a") == b"1"
    assert stat.S_IMODE((await mount.stat("e")).attributes.mode) == 0o700


async def test_what_s3_says_is_read_by_name_and_never_listed(mount, of, bucket):
    await bucket.put("f", b"x", headers={"content-type": "text/x", "x-amz-storage-class": "STANDARD_IA"})
    assert await of.get("f", "user.s3.etag") == (await bucket.head("f")).etag.encode()
    assert await of.get("f", "user.s3.content_type") == b"text/x"
    assert await of.get("f", "user.s3.storage_class") == b"STANDARD_IA"
    assert await of.get("f", "user.s3.key") == b"f"
    assert await failing(of.get, "f", "user.s3.version_id") is Reason.NO_ATTRIBUTE
    assert await of.names("f") == []
    assert await failing(of.set, "f", "user.s3.etag", b"x") is Reason.NOT_PERMITTED
    assert await failing(of.remove, "f", "user.s3.etag") is Reason.NOT_PERMITTED
    handle = await mount.open("f", os.O_WRONLY)
    await mount.descriptors.write(handle, 0, b"y")
    assert await failing(of.get, "f", "user.s3.etag") is Reason.NO_ATTRIBUTE
    await mount.close(handle)
    assert await of.get("f", "user.s3.etag") == (await bucket.head("f")).etag.encode()


async def test_they_are_read_while_their_directory_moves(mount, bucket, faults, autojump_clock):
    await bucket.put("d/f", b"x", headers={"content-type": "text/x"})
    number = (await mount.find("d/f")).number
    inode = mount.names._core.table.get(number)
    inode.info = replace(inode.info, metadata=None)
    faults.plan(Fault(verb="delete_many", delay_seconds=5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.rename, "d", "e")
        await trio.sleep(1)
        await bucket.delete("d/f")  # as the removal does one after the other
        assert await mount.filesystem.extended.get(number, b"user.s3.key") == b"e/f"
