"""Tags of objects survive what this mount does to them."""

from __future__ import annotations

import os

import pytest

from s3rolefs.errors import Reason
from s3rolefs.model import MIB, Key
from s3rolefs.s3.faults import Fault

TAGS = "team=a%20b&kept="
TAGGED = {"x-amz-tagging": TAGS, "content-type": "text/x"}


async def edit(mount):
    await mount.write("d/f", b"Y", os.O_WRONLY)


async def rewrite(mount):
    await mount.write("d/f", b"z" * (17 * MIB))


async def append(mount):
    handle = await mount.open("d/f", os.O_WRONLY)
    await mount.descriptors.write(handle, 17 * MIB, b"end")
    await mount.close(handle)


async def truncate(mount):
    await mount.truncate("d/f", 3)


async def change_mode(mount):
    await mount.change("d/f", mode=0o600)


async def rename(mount):
    await mount.rename("d/f", "d/g")
    await mount.rename("d/g", "d/f")


async def move_directory(mount):
    await mount.rename("d", "e")
    await mount.rename("e", "d")


@pytest.mark.parametrize("storage_class", ["STANDARD", "STANDARD_IA"])
@pytest.mark.parametrize("act", [edit, rewrite, append, truncate, change_mode, rename, move_directory])
async def test_they_survive(mount, bucket, memory, act, storage_class):
    await bucket.put("d/f", b"x" * (17 * MIB), headers={**TAGGED, "x-amz-storage-class": storage_class})
    await act(mount)
    await act(mount)
    found = await bucket.head("d/f")
    assert (await memory.tags(Key("d/f")), found.tag_count, found.storage_class) == (TAGS, 2, storage_class)


async def test_an_object_without_tags_costs_no_request(mount, bucket, memory):
    await bucket.put("d/f", b"x")
    for act in (edit, truncate, change_mode, rename):
        await act(mount)
    assert memory.counts["tags"] == memory.counts["keep_tags"] == 0


async def test_a_role_that_may_not_read_tags_goes_without(mount, bucket, faults, caplog):
    for name in ("f", "g"):
        await bucket.put(name, b"x", headers=TAGGED)
    faults.plan(Fault(verb="tags", reason=Reason.ACCESS_DENIED, status=403, times=None))
    for name in ("f", "g"):
        await mount.write(name, b"y", os.O_WRONLY)
        assert (await bucket.get(name), (await bucket.head(name)).tag_count) == (b"y", 0)
    assert caplog.text.count("s3:GetObjectTagging") == 1


async def test_what_was_copied_stays_when_its_tags_are_lost(mount, bucket, faults, caplog):
    await bucket.put("f", b"x", headers=TAGGED)
    faults.plan(Fault(verb="keep_tags", reason=Reason.ACCESS_DENIED, status=403))
    await mount.change("f", mode=0o600)
    assert (await bucket.head("f")).metadata["mode"] == str(0o100600)
    assert "has lost its tags" in caplog.text
    assert await mount.read("f") == b"x"
