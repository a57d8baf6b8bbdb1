import os
import stat

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import names
from s3rolefs.fs.inode import Inode
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import mounted


async def failing(work, *arguments, **named):
    with pytest.raises(FileSystemError) as failure:
        await work(*arguments, **named)
    return failure.value.reason


async def view(mount, path=""):
    return mount.descriptors.opendir((await mount.find(path)).number)


async def rest(mount, handle, place):
    names = []
    while (found := await mount.descriptors.entry(handle, place)) is not None:
        entry, place = found
        names.append(entry.name)
    return names


async def test_a_thousand_names_cost_one_request(mount, bucket, memory):
    for number in range(1000):
        await bucket.put(f"{number:04}")
    memory.counts.clear()
    assert len(await mount.list()) == 1000
    assert memory.counts == {"list_page": 1}


async def test_a_walk_in_listing_order_asks_for_many_attributes_at_once(
    mount, bucket, memory, faults, autojump_clock
):
    for number in range(300):
        await bucket.put(f"{number:04}")
    names = await mount.list()
    faults.plan(Fault(verb="head", times=None, delay_seconds=0.1))
    began = trio.current_time()
    for name in names:
        await mount.stat(name)
    assert memory.counts["head"] == 300
    assert trio.current_time() - began < 5  # one after the other they would take 30 s


async def test_attributes_once_known_are_not_asked_for_again(mount, bucket, memory, autojump_clock):
    for number in range(5):
        await bucket.put(f"f{number}", metadata={"mode": str(0o100640)})
    await trio.sleep(5)
    for _ in range(3):
        for name in await mount.list():
            assert stat.S_IMODE((await mount.stat(name)).attributes.mode) == 0o640
        await trio.sleep(20)
    assert memory.counts["head"] == 5


async def test_a_change_of_attributes_within_one_second_of_another_is_seen(
    mount, bucket, memory, autojump_clock
):
    await bucket.put("f", metadata={"mode": str(0o100600)})
    assert await mount.list() == ["f"]
    assert stat.S_IMODE((await mount.stat("f")).attributes.mode) == 0o600
    await bucket.put("f", metadata={"mode": str(0o100640)})  # same ETag, same second
    await trio.sleep(11)
    assert await mount.list() == ["f"]
    assert stat.S_IMODE((await mount.stat("f")).attributes.mode) == 0o640


async def test_a_fresh_listing_answers_for_names_that_are_not_there(mount, bucket, memory, autojump_clock):
    await bucket.put("f")
    assert await mount.list() == ["f"]
    memory.counts.clear()
    assert not await mount.exists("g")
    assert not memory.counts
    await bucket.put("g")
    await trio.sleep(11)
    assert await mount.exists("g")


async def test_listing_only_means_no_heads_and_regular_files(memory, bucket, tmp_path):
    await bucket.put("d/link", b"target", metadata={"mode": str(stat.S_IFLNK | 0o777)})
    await bucket.put("d/", metadata={"mode": str(stat.S_IFDIR | 0o700)})
    async with mounted(memory, tmp_path, metadata_from_listing=True) as mount:
        assert await mount.list() == ["d"]
        assert await mount.list("d") == ["link"]
        assert stat.S_ISREG((await mount.stat("d/link")).attributes.mode)
        assert await mount.read("d/link") == b"target"
        assert memory.counts["head"] <= 1  # the walk asked for "d" before the first listing


@pytest.mark.parametrize("pages", [1, 2, 3])
async def test_objects_beside_directories_of_their_name_across_pages(mount, bucket, monkeypatch, pages):
    monkeypatch.setattr("s3rolefs.fs.surveys.PAGE_KEYS", pages)
    for key in ("a", "a!", "a-", "a/x", "a0", "b", "b/", "b/y", "c"):
        await bucket.put(key, key.encode())
    assert sorted(await mount.list()) == ["a", "a!", "a-", "a0", "b", "c", "‛object=a", "‛object=b"]
    assert await mount.is_directory("a")
    assert await mount.read("‛object=a") == b"a"
    assert await mount.read("‛object=b") == b"b"
    assert sorted(await mount.list("b")) == ["y", "‛object="]
    assert await mount.read("b/‛object=") == b"b/"


async def test_an_object_beside_a_directory_of_its_name(mount, bucket, autojump_clock):
    await bucket.put("a", b"object")
    assert await mount.read("a") == b"object"
    number = (await mount.find("a")).number
    await bucket.put("a/f", b"file")
    await trio.sleep(11)
    # The directory takes the name; the object is the same file as before, under its escaped one.
    assert await mount.is_directory("a")
    assert (await mount.find("a")).number != number
    assert (await mount.find("‛object=a")).number == number
    await mount.write("‛object=a", b"changed")
    assert await bucket.get("a") == b"changed"
    await mount.unlink("a/f")
    await mount.rmdir("a")
    assert await mount.list() == ["a"]
    assert await mount.read("a") == b"changed"
    assert await mount.read("‛object=a") == b"changed"  # resolves, though it is not listed
    assert await failing(mount.create, "‛object=a", os.O_RDWR | os.O_EXCL) is Reason.EXISTS
    await mount.unlink("‛object=a")
    assert not await mount.exists("a")


async def test_a_directory_keeps_its_name_when_nobody_knows_it_any_more(mount, bucket, autojump_clock):
    await bucket.put("a", b"object")
    file = await mount.find("a")
    await bucket.put("a/f", b"file")
    await trio.sleep(11)
    directory = await mount.find("a")
    assert await mount.find("‛object=a") is file
    mount.names.forget(directory.number, directory.lookups)
    assert mount.names._core.table.find(directory.number) is None
    assert await mount.is_directory("a")


async def test_an_object_made_as_one_beside_a_directory_keeps_that_name_while_it_is_known(
    mount, memory, bucket, tmp_path
):
    await mount.write("‛object=a", b"x")
    await mount.write("f", b"y")
    await mount.rename("f", "‛object=b")
    assert sorted(await mount.list()) == ["‛object=a", "‛object=b"]
    assert not await mount.exists("a")
    assert await failing(mount.create, "a") is Reason.EXISTS
    await mount.write("f", b"z")
    assert await failing(mount.rename, "f", "a") is Reason.EXISTS
    await mount.mkdir("a")
    assert sorted(await mount.list()) == ["a", "f", "‛object=a", "‛object=b"]
    await mount.rename("‛object=b", "b")
    assert await mount.read("b") == b"y"
    await mount.rename("b", "‛object=b")
    assert sorted(await bucket.keys()) == ["a", "a/", "b", "f"]
    assert await failing(mount.mkdir, "‛object=c") is Reason.INVALID
    assert await failing(mount.create, "‛name=") is Reason.INVALID
    async with mounted(memory, tmp_path / "other") as again:
        assert sorted(await again.list()) == ["a", "b", "f", "‛object=a"]


async def test_moving_a_directory_leaves_the_object_beside_it(mount, bucket):
    await bucket.put("a", b"object")
    await bucket.put("a/f", b"file")
    await mount.rename("a", "b")
    assert sorted(await mount.list()) == ["a", "b"]
    assert await mount.read("a") == b"object"
    await mount.rename("a", "b/‛name=..")
    assert await bucket.keys() == ["b/", "b/..", "b/f"]


async def test_what_a_marker_holds_is_a_file_in_its_directory(mount, bucket, memory, tmp_path):
    await bucket.put("d/", b"content", metadata={"mode": str(stat.S_IFDIR | 0o750), "owner": "x"})
    await bucket.put("e/", headers={"content-type": "application/x-directory"})
    assert await mount.list("d") == ["‛object="]
    assert await mount.list("e") == []
    assert not await mount.exists("e/‛object=")
    assert await mount.read("d/‛object=") == b"content"
    assert await failing(mount.rmdir, "d") is Reason.NOT_EMPTY
    assert await failing(mount.rename, "d/‛object=", "f") is Reason.CROSS_DEVICE
    await mount.write("f", b"x")
    assert await failing(mount.rename, "f", "e/‛object=") is Reason.CROSS_DEVICE
    for name in ("d", "e"):
        await mount.write(f"{name}/‛object=", b"changed")
        assert await bucket.get(f"{name}/") == b"changed"
        await mount.change(name, mode=0o700)
        assert await mount.list(name) == ["‛object="]
        info = await bucket.head(f"{name}/")
        assert int(info.metadata["mode"]) == stat.S_IFDIR | 0o700
        assert await bucket.get(f"{name}/") == b"changed"
        await mount.write(f"{name}/‛object=", b"again")
        assert await bucket.get(f"{name}/") == b"again"
    assert (await bucket.head("d/")).metadata["owner"] == "x"
    assert (await bucket.head("e/")).headers["content-type"] == "application/x-directory"
    await mount.unlink("d/‛object=")
    assert await mount.list("d") == []
    assert await bucket.get("d/") == b""
    await mount.rmdir("d")
    assert await bucket.keys() == ["e/", "f"]


async def test_names_too_long_for_one_are_split_into_directories(mount, bucket, autojump_clock):
    long = "n" * 600
    await bucket.put(f"{long}/f", b"file")
    await bucket.put(f"{long}", b"object")
    await bucket.put("n" * 255, b"fits")
    part = f"‛part={'n' * 240}"
    assert sorted(await mount.list()) == sorted(["n" * 255, part])
    assert await mount.list(part) == [part]
    assert await mount.list(f"{part}/{part}") == ["n" * 120, f"‛object={'n' * 120}"]
    assert await mount.read(f"{part}/{part}/{'n' * 120}/f") == b"file"
    assert await mount.read(f"{part}/{part}/‛object={'n' * 120}") == b"object"
    # What is not split has one path, too.
    assert not await mount.exists(f"{part}/{'n' * 15}")
    assert await failing(mount.write, f"{part}/{'n' * 15}", b"x") is Reason.INVALID
    assert await failing(mount.rename, part, "other") is Reason.CROSS_DEVICE
    assert await failing(mount.rmdir, part) is Reason.NOT_EMPTY
    await mount.write(f"{part}/{'m' * 100}", b"new")
    assert await bucket.get("n" * 240 + "m" * 100) == b"new"
    await mount.rename(f"{part}/{'m' * 100}", f"{part}/{'o' * 100}")
    assert sorted(await mount.list(part)) == ["o" * 100, part]
    await mount.change(part, mode=0o700)  # in memory
    await mount.unlink(f"{part}/{'o' * 100}")
    await mount.unlink(f"{part}/{part}/‛object={'n' * 120}")
    await mount.unlink(f"{part}/{part}/{'n' * 120}/f")
    await mount.rmdir(f"{part}/{part}/{'n' * 120}")
    await mount.rmdir(f"{part}/{part}")
    await mount.rmdir(part)
    assert not await mount.exists(part)
    await mount.mkdir(part)
    await mount.mkdir(f"{part}/{part}")
    assert sorted(await mount.list()) == sorted(["n" * 255, part])
    await mount.write(f"{part}/{part}/‛object={'n' * 120}", b"object")
    assert await bucket.keys() == ["n" * 255, long]
    await mount.unlink(f"{part}/{part}/‛object={'n' * 120}")
    await mount.rmdir(f"{part}/{part}")
    await mount.rmdir(part)
    assert await bucket.keys() == ["n" * 255]
    assert await mount.list() == ["n" * 255]


async def test_a_tree_of_odd_keys_moves_as_it_is(mount, bucket):
    keys = ["/b", "../y", "./z", "\0", "a", "a/", "a/b", "n" * 300, "n" * 300 + "/m", "‛name=.."]
    for key in keys:
        await bucket.put(f"d/{key}", key.encode())
    await mount.list("d")
    await mount.read(f"d/‛part={'n' * 240}/‛object={'n' * 60}")
    await mount.rename("d", "‛name=")
    assert await bucket.keys() == ["/", *sorted(f"/{key}" for key in keys)]
    assert await mount.read(f"‛name=/‛part={'n' * 240}/‛object={'n' * 60}") == ("n" * 300).encode()


async def test_files_not_yet_in_s3_are_listed(mount, bucket):
    await bucket.put("stored")
    handle = await mount.create("new")
    assert sorted(await mount.list()) == ["new", "stored"]
    await mount.close(handle)
    assert sorted(await mount.list()) == ["new", "stored"]


async def test_own_changes_during_a_listing(mount, bucket, monkeypatch, autojump_clock):
    monkeypatch.setattr("s3rolefs.fs.surveys.PAGE_KEYS", 4)
    for number in range(10):
        await bucket.put(f"{number}", b"x")
    handle = await view(mount)
    first, place = await mount.descriptors.entry(handle, 0)
    assert first.name == "0"
    await mount.unlink("2")
    await mount.unlink("9")
    await mount.write("5", b"changed")
    await mount.write("new", b"x")
    await mount.mkdir("directory")
    names = await rest(mount, handle, place)
    assert {"1", "3", "4", "5", "6", "7", "8"} <= set(names)
    assert not {"2", "9"} & set(names)
    assert len(set(names)) == len(names)
    # What the view's listing leaves behind is right, too.
    assert sorted(await mount.list()) == ["0", "1", "3", "4", "5", "6", "7", "8", "directory", "new"]
    assert not await mount.exists("2")
    assert await mount.read("5") == b"changed"


async def test_an_entry_removed_after_its_page_came_is_not_given_out(mount, bucket):
    for number in range(5):
        await bucket.put(f"{number}")
    for again in range(2):  # from S3, then from what is remembered
        handle = await view(mount)
        _, place = await mount.descriptors.entry(handle, 0)
        victim = f"{3 + again}"
        await mount.unlink(victim)
        assert victim not in await rest(mount, handle, place)


async def test_a_removed_file_does_not_come_back_through_a_view_of_a_listing(memory, bucket, tmp_path):
    await bucket.put("f")
    async with mounted(memory, tmp_path, metadata_from_listing=True) as mount:
        handle = await view(mount)
        entry, _ = await mount.descriptors.entry(handle, 0)
        await mount.unlink("f")
        assert not isinstance(mount.descriptors.listed(handle, entry), Inode)
        assert not await mount.exists("f")


async def test_rewinding_shows_the_directory_as_it_is_now(mount, bucket):
    await bucket.put("a")
    handle = await view(mount)
    assert await rest(mount, handle, 0) == ["a"]
    await mount.write("b", b"x")
    assert await rest(mount, handle, 0) == ["a"]
    mount.descriptors.rewind(handle)
    assert await rest(mount, handle, 0) == ["a", "b"]


async def test_the_first_entry_read_shows_what_was_made_after_the_opening(mount, bucket):
    await bucket.put("a")
    handle = await view(mount)
    await mount.write("b", b"x")
    assert await rest(mount, handle, 0) == ["a", "b"]


async def test_a_removal_while_a_look_up_is_on_its_way_wins(mount, bucket, faults, autojump_clock):
    await bucket.put("f", b"x")
    await mount.find("f")
    await trio.sleep(11)
    faults.plan(Fault(verb="list_page", key="f/", delay_seconds=1))
    root = await mount.find("")

    async def look_up():
        assert await failing(mount.names.lookup, root.number, b"f") is Reason.NOT_FOUND

    async def remove():
        await trio.sleep(0.5)
        await mount.names.unlink(root.number, b"f")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_up)
        nursery.start_soon(remove)
    assert not await mount.exists("f")


async def test_a_head_asked_before_an_own_change_does_not_undo_it(mount, bucket, faults, autojump_clock):
    await bucket.put("f", b"x", metadata={"mode": str(0o100600)})
    await mount.find("f")
    await trio.sleep(11)
    listed = await mount.list()
    assert listed == ["f"]
    held = mount.names._core.metadata.listing("").objects["f"]
    faults.plan(Fault(verb="head", delay_seconds=0.2))

    async def change():
        await mount.change("f", mode=0o640)

    mount.names._core.metadata._objects.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.names._core.particulars.full, held)
        nursery.start_soon(change)
    await trio.sleep(11)
    assert await mount.list() == ["f"]
    assert stat.S_IMODE((await mount.stat("f")).attributes.mode) == 0o640


async def test_an_outage_is_not_taken_for_absence(mount, bucket, faults):
    await bucket.put("d/f", b"x")
    faults.plan(Fault(verb="head", reason=Reason.UNREACHABLE))
    assert await failing(mount.find, "e") is Reason.UNREACHABLE
    for _ in range(2):  # asked for by name, then as one of several names
        faults.plan(Fault(verb="list_page", reason=Reason.UNREACHABLE))
        assert await failing(mount.find, "d") is Reason.UNREACHABLE
    assert await mount.is_directory("d")


async def test_a_role_that_may_not_list_uses_files_by_name(mount, bucket, faults, caplog):
    await bucket.put("f", b"x")
    faults.plan(Fault(verb="list_page", times=None, reason=Reason.ACCESS_DENIED))
    assert await mount.read("f") == b"x"
    assert await failing(mount.list) is Reason.ACCESS_DENIED
    await mount.unlink("f")
    assert await bucket.keys() == []


async def test_a_role_that_may_not_read_still_sees_names_and_sizes(mount, bucket, faults):
    await bucket.put("f", b"abc")
    faults.plan(Fault(verb="head", times=None, reason=Reason.ACCESS_DENIED))
    assert (await mount.stat("f")).size_bytes == 3
    assert await mount.list() == ["f"]
    assert (await mount.stat("f")).size_bytes == 3
    assert not await mount.exists("g")


async def test_a_role_that_may_only_write_can_make_and_remove_files(mount, bucket, faults):
    denied = [
        Fault(verb=verb, times=None, reason=Reason.ACCESS_DENIED) for verb in ("list_page", "head", "get")
    ]
    faults.plan(*denied)
    await mount.write("f", b"x")
    handle = await mount.create("g")
    await mount.descriptors.write(handle, 0, b"y")
    await mount.close(handle)
    reader = await mount.open("g", os.O_WRONLY)
    await mount.unlink("g")
    await mount.close(reader)
    faults.plan()
    assert await bucket.get("f") == b"x"
    assert await bucket.keys() == ["f"]


async def test_implicit_directories_stay_when_their_last_entry_is_removed_here(mount, bucket):
    await bucket.put("d/f")
    await bucket.put("e/sub/g")
    await mount.unlink("d/f")
    await mount.unlink("e/sub/g")
    await mount.rmdir("e/sub")
    assert await mount.list("d") == []
    assert await mount.list("e") == []
    assert sorted(await bucket.keys()) == ["d/", "e/"]
    info = await bucket.head("d/")
    assert info.headers["content-type"] == "application/x-directory"


async def test_an_implicit_directory_that_somebody_else_empties_is_gone(mount, bucket, autojump_clock):
    await bucket.put("d/f")
    assert await mount.list("d") == ["f"]
    await bucket.delete("d/f")
    await trio.sleep(11)
    assert await mount.list() == []
    assert not await mount.exists("d")


async def test_rmdir_is_decided_by_the_bucket(mount, bucket):
    await mount.mkdir("d")
    assert await mount.list("d") == []
    await bucket.put("d/theirs")
    assert await failing(mount.rmdir, "d") is Reason.NOT_EMPTY
    await bucket.delete("d/theirs")
    handle = await mount.create("d/unsent")
    assert await failing(mount.rmdir, "d") is Reason.NOT_EMPTY
    await mount.close(handle)
    await mount.unlink("d/unsent")
    await mount.rmdir("d")
    assert await bucket.keys() == []


async def test_mkdir_is_atomic_across_mounts(mount, bucket):
    assert not await mount.exists("d")
    await bucket.put("d/")
    assert await failing(mount.mkdir, "d") is Reason.EXISTS


async def test_attributes_of_directories_are_kept_in_their_marker(mount, memory, bucket, tmp_path):
    await mount.mkdir("made", mode=0o750)
    await bucket.put("implicit/f")
    await bucket.put("content/", b"somebody's bytes", metadata={"owner": "x"})
    for name in ("made", "implicit", "content"):
        await mount.change(name, mode=0o711, uid=5, mtime_ns=10**18)
    async with mounted(memory, tmp_path / "other") as again:
        for name in ("made", "implicit", "content"):
            attributes = (await again.stat(name)).attributes
            assert (attributes.mode, attributes.uid) == (stat.S_IFDIR | 0o711, 5)
            assert attributes.mtime_ns == 10**18
    assert await bucket.get("content/") == b"somebody's bytes"
    assert (await bucket.head("content/")).metadata["owner"] == "x"


async def test_a_prefix_is_served_as_the_root_and_nothing_outside_is_touched(memory, bucket, tmp_path):
    await bucket.put("team/f", b"x")
    await bucket.put("teammate", b"x")
    async with mounted(memory, tmp_path, prefix="team/") as mount:
        assert await mount.list() == ["f"]
        await mount.write("g", b"y")
        await mount.unlink("f")
        await mount.unlink("g")
        assert await mount.list() == []
    assert await bucket.keys() == ["teammate"]


# The kernel's references


async def test_a_listed_number_that_is_forgotten_does_not_take_a_real_reference(
    mount, bucket, autojump_clock
):
    await bucket.put("f")
    inode = await mount.find("f")  # one reference
    await trio.sleep(11)
    handle = await view(mount)
    entry, _ = await mount.descriptors.entry(handle, 0)
    number = mount.descriptors.listed(handle, entry)
    if isinstance(number, Inode):
        number = number.number
    mount.descriptors.promise(number)
    mount.names.forget(number, 1)
    assert mount.names._core.table.get(inode.number) is inode
    mount.names.forget(inode.number, 1)
    assert mount.names._core.table.find(inode.number) is None


async def test_a_number_listed_before_its_look_up_may_be_forgotten_after_it(mount, bucket):
    await bucket.put("f")
    handle = await view(mount)
    entry, _ = await mount.descriptors.entry(handle, 0)
    number = mount.descriptors.listed(handle, entry)
    assert not isinstance(number, Inode)
    mount.descriptors.promise(number)
    inode = await mount.find("f")
    assert inode.number == number
    mount.names.forget(number, 1)
    assert mount.names._core.table.get(number) is inode
    mount.names.forget(number, 1)
    assert mount.names._core.table.find(number) is None
    assert not mount.names._core.table._promised


async def test_inodes_nobody_refers_to_are_dropped_with_those_above_them(mount, bucket):
    await bucket.put("a/b/c")
    inodes = [await mount.find("a"), await mount.find("a/b"), await mount.find("a/b/c")]
    for inode in inodes:
        mount.names.forget(inode.number, inode.lookups)
    assert mount.names._core.table.below(mount.names._core.table.root) == []


async def test_an_unsent_file_removed_while_its_directory_is_listed(mount, bucket, faults, autojump_clock):
    await bucket.put("d/a")
    handle = await mount.create("d/unsent")
    await mount.descriptors.write(handle, 0, b"x")
    await trio.sleep(11)
    await mount.find("d")
    mount.names._core.metadata.forget_listing("d/")
    faults.plan(Fault(verb="list_page", delay_seconds=2))
    names = []

    async def listing():
        names.extend(await mount.list("d"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listing)
        await trio.sleep(1)
        await mount.unlink("d/unsent")
    assert names == ["a"]
    await mount.close(handle)


async def test_a_key_of_a_thousand_directories(mount, bucket):
    key = "/" * 1000 + "x"
    await bucket.put(key, b"x")
    path = "/".join(names.path(key))
    assert await mount.read(path) == b"x"
    way = [mount.names._core.table.root]
    for name in names.path(key):
        way.append(await mount.names.lookup(way[-1].number, names.encoded(name)))
    for inode in reversed(way[1:]):
        mount.names.forget(inode.number, inode.lookups)
    assert mount.names._core.table.below(mount.names._core.table.root) == []


async def test_what_a_listing_said_is_as_old_as_the_listing(mount, bucket, autojump_clock):
    await bucket.put("f", b"old")
    await trio.sleep(5)
    inode = await mount.find("f")
    mount.names.forget(inode.number, inode.lookups)
    handle = mount.descriptors.opendir(1)
    assert await mount.descriptors.entry(handle, 0)  # by names alone, as readdir without attributes
    await bucket.put("f", b"newer")
    await trio.sleep(9.5)
    assert (await mount.find("f")).size_bytes == 3  # the listing says so, which is still fresh
    await trio.sleep(1)
    assert (await mount.find("f")).size_bytes == 5


async def test_what_a_page_said_is_as_old_as_the_page_before_it(
    memory, bucket, tmp_path, monkeypatch, autojump_clock
):
    monkeypatch.setattr("s3rolefs.fs.surveys.PAGE_KEYS", 3)
    for number in range(12):
        await bucket.put(f"{number:02}", b"x")
    async with mounted(memory, tmp_path, metadata_from_listing=True) as mount:
        handle = mount.descriptors.opendir(1)
        fresh_seconds = []
        for place in range(12):
            found = await mount.descriptors.entry(handle, place)
            assert found is not None
            inode = mount.descriptors.listed(handle, found[0])
            fresh_seconds.append(mount.names.fresh_seconds(inode))
            await trio.sleep(1)
        # A page is read in three seconds, and comes while the one before is: no entry is out of date.
        assert min(fresh_seconds) >= 10 - 3 * 3
        assert (await mount.find("11")).size_bytes == 1
        assert memory.counts["head"] == 0
