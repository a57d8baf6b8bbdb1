"""Whole subtrees come with one request, and nobody pays for what nobody uses."""

import pytest
import trio
import trio.lowlevel

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import surveys
from s3rolefs.model import FirstPage, Key
from s3rolefs.s3.faults import Fault
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.fs.mounted import TrioClock, mounted

PAGE_KEYS = 50


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(surveys, "PAGE_KEYS", PAGE_KEYS)


@pytest.fixture
async def listing_only(faults, tmp_path):
    """A mount whose requests are listings and nothing else."""
    async with mounted(faults, tmp_path / "listing", metadata_from_listing=True) as made:
        yield made


async def fill(bucket, *, directories, files, below="tree", deeper=""):
    keys = [
        f"{below}/d{directory:02}/{deeper}f{file:03}"
        for directory in range(directories)
        for file in range(files)
    ]
    for key in keys:
        await bucket.put(key, b"x")
    return keys


async def walk(mount, path=""):
    """Return the keys that a walk finds which reads each directory before it descends, as find does."""
    found = []
    for name in await mount.list(path):
        below = f"{path}/{name}".lstrip("/")
        found += await walk(mount, below) if await mount.is_directory(below) else [below]
    return found


async def test_a_small_tree_is_one_request(listing_only, bucket, memory):
    keys = await fill(bucket, directories=6, files=8)
    assert await walk(listing_only) == keys
    assert memory.counts["list_page"] == 1


async def test_a_large_tree_costs_the_pages_it_has(listing_only, bucket, memory):
    keys = await fill(bucket, directories=40, files=10)
    assert await walk(listing_only) == keys
    # What begins in the middle of a directory is listed flat, the directories above once by themselves.
    assert memory.counts["list_page"] <= len(keys) // PAGE_KEYS + 4


async def test_deep_trees_are_walked_as_cheaply(listing_only, bucket, memory):
    keys = sorted(
        [
            *await fill(bucket, directories=10, files=10, deeper="a/b/"),
            *await fill(bucket, directories=10, files=10, deeper="c/"),
        ]
    )
    assert await walk(listing_only) == keys
    assert memory.counts["list_page"] <= len(keys) // PAGE_KEYS + 6


async def test_nobody_pays_for_subtrees_that_are_not_walked(listing_only, bucket, memory):
    await fill(bucket, directories=30, files=PAGE_KEYS + 10, deeper="deep/")
    for number in range(30):
        assert await listing_only.list(f"tree/d{number:02}") == ["deep"]
    # Each directory has to be listed; a few times more was asked for than was needed.
    assert memory.counts["list_page"] <= 30 + 8


async def test_a_walk_that_ends_early_stops_the_survey(listing_only, bucket, memory):
    await fill(bucket, directories=40, files=10)
    names = await listing_only.list("tree")
    for name in names[:4]:
        await listing_only.list(f"tree/{name}")
    asked = memory.counts["list_page"]
    await trio.lowlevel.checkpoint()
    for name in names[4:]:
        assert await listing_only.is_directory(f"tree/{name}")
    assert memory.counts["list_page"] == asked


async def test_markers_are_asked_for_where_they_are(mount, bucket, memory):
    await fill(bucket, directories=6, files=3)
    await bucket.put("tree/d03/", metadata={"mode": str(0o040700)})
    await mount.list()
    for name in await mount.list("tree"):
        await mount.list(f"tree/{name}")
    assert (await mount.stat("tree/d03")).attributes.mode & 0o777 == 0o700
    assert memory.counts["head"] == 1


async def test_the_second_name_of_a_directory_brings_all(mount, bucket, memory, autojump_clock):
    await fill(bucket, directories=1, files=20)
    await mount.find("tree/d00")
    memory.counts.clear()
    mount.names._core.metadata.forget_below("")
    assert not await mount.exists("tree/d00/a")
    assert memory.counts == {"head": 1, "list_page": 1}
    for name in "bcdefgh":
        assert not await mount.exists(f"tree/d00/{name}")
    assert memory.counts == {"head": 1, "list_page": 2}


async def test_who_always_asks_asks_for_one_name(listing_only, bucket, memory):
    await fill(bucket, directories=1, files=20)
    await listing_only.list("tree/d00")
    inode = await listing_only.find("tree/d00/f000")
    memory.counts.clear()
    for _ in range(5):
        listing_only.names._core.tree.doubt(inode)
        await listing_only.names._core.tree.revalidate(inode)
    assert memory.counts == {"head": 5, "list_page": 5}


async def test_names_are_not_asked_for_one_by_one_once_the_listing_is_old(
    listing_only, bucket, memory, autojump_clock
):
    keys = await fill(bucket, directories=1, files=20)
    await listing_only.list("tree/d00")
    memory.counts.clear()
    for key in keys:
        await listing_only.stat(key)
        await trio.sleep(1)
    assert memory.counts["list_page"] <= 4
    assert memory.counts["head"] <= 1


async def test_a_few_names_do_not_bring_a_large_directory(listing_only, bucket, memory):
    await fill(bucket, directories=1, files=999)
    for number in range(990, 970, -2):
        await listing_only.stat(f"tree/d00/f{number:03}")
    # Two for the directories on the way; of this one a page, then each name by itself.
    assert memory.counts["list_page"] <= 2 + 10 + 2


async def test_names_in_order_bring_the_next_pages(listing_only, bucket, memory):
    keys = await fill(bucket, directories=1, files=400)
    for key in keys:
        await listing_only.stat(key)
    assert memory.counts["list_page"] <= 400 // PAGE_KEYS + 3
    assert memory.counts["head"] <= 3


async def test_several_workers_in_one_tree_share_its_pages(listing_only, bucket, memory, autojump_clock):
    keys = await fill(bucket, directories=40, files=10)

    async def work(share):
        for key in share:
            await listing_only.stat(key)

    async with trio.open_nursery() as nursery:
        for worker in range(4):
            nursery.start_soon(work, keys[worker * 100 : worker * 100 + 100])
    # At the places where they begin the four may each have a directory listed, or ask by name.
    assert memory.counts["list_page"] + memory.counts["head"] < 40


async def test_a_page_that_was_asked_for_at_mount_answers_the_first_walk(memory, bucket, tmp_path):
    keys = await fill(bucket, directories=4, files=10)
    page = await memory.list_page("", delimiter="", limit=PAGE_KEYS)
    first = FirstPage(prefix="", page=page, asked_at_seconds=trio.current_time())
    memory.counts.clear()
    async with mounted(memory, tmp_path, first_pages=[first], metadata_from_listing=True) as mount:
        assert await walk(mount) == keys
    assert memory.counts == {}


class Late(MemoryStore):
    """A bucket whose listings say what was there `delay_seconds` before they arrive."""

    delay_seconds = 0.0

    async def list_page(self, prefix, **named):
        page = await super().list_page(prefix, **named)
        await trio.sleep(self.delay_seconds)
        return page


@pytest.fixture
def memory():
    return Late(TrioClock())


@pytest.mark.parametrize("files", [10, 40])
async def test_own_changes_win_over_a_page_that_is_on_its_way(mount, bucket, memory, autojump_clock, files):
    keys = await fill(bucket, directories=3, files=files)
    for name in ("d00", "d01", "d02"):
        await mount.find(f"tree/{name}/f000")
    mount.names._core.metadata.forget_below("tree/")
    memory.delay_seconds = 0.5

    async def change():
        await trio.sleep(0.1)
        await mount.unlink("tree/d00/f001")
        await mount.write("tree/d00/new", b"new")
        await mount.mkdir("tree/made")
        await mount.write("tree/made/f", b"made")
        await mount.rename("tree/d01", "tree/moved")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.list, "tree")
        nursery.start_soon(change)
    memory.delay_seconds = 0.0
    expected = {key.replace("/d01/", "/moved/") for key in keys if key != "tree/d00/f001"}
    assert set(await walk(mount)) == expected | {"tree/d00/new", "tree/made/f"}
    assert not await mount.exists("tree/d00/f001")
    assert not await mount.exists("tree/d01")


async def test_what_is_doubted_is_not_answered_by_a_page_asked_for_before(
    mount, bucket, memory, autojump_clock
):
    await fill(bucket, directories=1, files=3)
    inode = await mount.find("tree/d00/f000")
    mount.names._core.metadata.forget_below("tree/")
    memory.delay_seconds = 0.5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mount.list, "tree")
        await trio.sleep(0.1)
        mount.names._core.tree.doubt(inode)
    assert mount.names._core.metadata.beginning("tree/d00/") is None
    assert mount.names._core.metadata.listing("tree/") is not None


class Particular(MemoryStore):
    """A bucket whose policy wants a delimiter, or lets nobody list."""

    accepted = "/"

    async def list_page(self, prefix, *, delimiter="/", **named):
        if delimiter != self.accepted:
            self.counts["refused"] += 1
            raise FileSystemError(Reason.ACCESS_DENIED)
        return await super().list_page(prefix, delimiter=delimiter, **named)


async def test_a_role_that_may_list_with_a_delimiter_only(tmp_path):
    store = Particular(TrioClock())
    for number in range(3 * PAGE_KEYS):
        await store.put(Key(f"d{number % 3}/{number:03}"), b"x", ObjectAttributes())
    async with mounted(store, tmp_path) as mount:
        assert len(await walk(mount)) == 3 * PAGE_KEYS
        assert store.counts["refused"] == 1


async def test_a_role_that_may_not_list_is_not_asked_to_again_and_again(tmp_path):
    store = Particular(TrioClock())
    store.accepted = "none"
    for name in "abcdefgh":
        await store.put(Key(name), b"x", ObjectAttributes())
    async with mounted(store, tmp_path) as mount:
        for name in "abcdefgh":
            assert await mount.read(name) == b"x"
    # Each name with its HEAD, and twice for all of them.
    assert store.counts["refused"] <= 8 + 2


async def test_many_who_ask_at_once_pay_for_no_more_pages_than_are_due(mount, bucket, faults, autojump_clock):
    await fill(bucket, directories=1, files=20 * PAGE_KEYS)
    directory = await mount.find("tree/d00")
    names = [f"f{number:03}".encode() for number in range(20 * PAGE_KEYS)]
    for name in names[:4]:
        await mount.names.lookup(directory.number, name)
    faults.plan(*(Fault(verb=verb, times=None, delay_seconds=0.1) for verb in ("list_page", "head")))
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in names[2 * PAGE_KEYS :: PAGE_KEYS]:
            nursery.start_soon(mount.names.lookup, directory.number, name)
    assert all(survey.credit >= 0 for survey in mount.names._core.surveys._surveys.values())
    assert trio.current_time() - began < 0.5
