"""Files that are looked up to be removed take no request for that, and are themselves for everything else."""

from __future__ import annotations

import errno
import os

import pytest

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.inode import Inode
from s3rolefs.fs.names import encoded
from s3rolefs.fs.passing import Passing
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import CALLER, mounted

FILES = 30
LARGE = b"x" * 4096


@pytest.fixture
async def names(bucket):
    """Names that are not in turn: what a walk would look at next is asked for ahead of it."""
    names = [f"{number * 17 % FILES:03}" for number in range(FILES)]
    for name in names:
        await bucket.put(f"d/{name}", LARGE, metadata={"mode": "33152"})
    return names


class Remover:
    """Do what the kernel does for unlink(2): look the name up, then remove it."""

    def __init__(self, mount, directory):
        self.mount = mount
        self.number = directory.number

    async def look_up(self, name):
        return await self.mount.names.lookup(self.number, encoded(name))

    async def remove(self, name):
        found = await self.look_up(name)
        await self.mount.names.unlink(self.number, encoded(name))
        return found


@pytest.fixture
async def remover(mount, names):
    await mount.list("d")
    return Remover(mount, await mount.find("d"))


async def reason_of(call, *arguments):
    with pytest.raises(FileSystemError) as caught:
        await call(*arguments)
    return caught.value.reason


async def test_a_directory_is_cleared_with_hardly_a_head(remover, names, memory, bucket):
    memory.counts.clear()
    for name in names:
        await remover.remove(name)
    assert memory.counts["delete"] == FILES
    assert memory.counts["head"] <= 2  # of the first, and of the next that a walk would look at
    assert await bucket.keys() == ["d/"]


async def test_with_writeback_it_needs_no_request_before_they_are_gathered(faults, memory, names, tmp_path):
    async with mounted(faults, tmp_path, writeback=True) as mount:
        await mount.list("d")
        remover = Remover(mount, await mount.find("d"))
        memory.counts.clear()
        for name in names:
            await remover.remove(name)
        assert memory.counts["head"] <= 2
        assert memory.counts["delete"] == 0
        await mount.names.rmdir(1, b"d")
        assert memory.counts["delete_many"] == 1


async def test_whatever_else_is_asked_makes_the_kernel_look_it_up_again(remover, names):
    await remover.remove(names[0])
    for name, use in zip(
        names[1:],
        (
            lambda number: remover.mount.names.getattr(number),
            lambda number: remover.mount.descriptors.open(number, os.O_RDONLY, CALLER),
            lambda number: remover.mount.names.readlink(number),
        ),
        strict=False,
    ):
        shown = await remover.look_up(name)
        assert isinstance(shown, Passing)
        assert shown.listed.size_bytes == len(LARGE)
        assert (await reason_of(use, shown.number)).errno == errno.ESTALE
        real = await remover.look_up(name)
        assert isinstance(real, Inode)
        assert real.attributes.mode == 0o100600
        assert (await remover.mount.names.getattr(real.number)).number == real.number


async def test_a_few_that_are_not_removed_end_it(remover, names):
    await remover.remove(names[0])
    shown = [await remover.look_up(name) for name in names[1:]]
    passing = [isinstance(found, Passing) for found in shown]
    assert passing == [True] * 8 + [False] * (FILES - 9)
    await remover.remove(names[1])  # it goes on with those that were not shown so
    assert isinstance(await remover.look_up(names[2]), Inode)


async def test_nothing_is_shown_so_before_the_first_removal(remover, names):
    assert isinstance(await remover.look_up(names[0]), Inode)


async def test_only_what_is_surely_a_file_is_shown_so(mount, bucket):
    await bucket.put("d/000", LARGE)
    await bucket.put("d/link", b"x" * 4095)
    await bucket.put("d/both", LARGE)
    await bucket.put("d/both/x", LARGE)
    await bucket.put("d/directory/x", LARGE)
    await mount.list("d")
    remover = Remover(mount, await mount.find("d"))
    known = await remover.look_up("000")
    await remover.remove("000")
    assert isinstance(known, Inode)
    for name in ("link", "both", "directory"):
        assert isinstance(await remover.look_up(name), Inode)
    assert await reason_of(remover.look_up, "nothing") is Reason.NOT_FOUND


async def test_in_a_sticky_directory_the_owner_has_to_be_known(mount, bucket, names):
    await mount.change("d", mode=0o41777)
    await mount.list("d")
    remover = Remover(mount, await mount.find("d"))
    for name in names[:3]:
        assert isinstance(await remover.remove(name), Inode)


async def test_what_cannot_be_removed_keeps_its_own_attributes(remover, names, faults):
    await remover.remove(names[0])
    faults.plan(Fault(verb="delete", reason=Reason.ACCESS_DENIED, times=1))
    assert await reason_of(remover.remove, names[1]) is Reason.ACCESS_DENIED
    found = await remover.look_up(names[1])
    assert found.attributes.mode == 0o100600
    assert await remover.mount.read(f"d/{names[1]}") == LARGE
    await remover.remove(names[1])
    assert await reason_of(remover.look_up, names[1]) is Reason.NOT_FOUND


async def test_references_to_what_was_shown_are_given_back(remover, names):
    await remover.remove(names[0])
    shown = await remover.remove(names[1])
    remover.mount.names.forget(shown.number, 1)
    remover.mount.names.forget(shown.number, 1)
    assert await reason_of(remover.mount.names.getattr, shown.number) is Reason.PASSING
