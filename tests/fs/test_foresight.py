"""Small files are fetched before somebody opens them, and only where that is likely."""

import random
from itertools import chain

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import surveys
from s3rolefs.fs.inodes import number_of
from s3rolefs.fs.names import Kind
from s3rolefs.fs.orders import Order, Sort
from s3rolefs.model import MIB, Key, ObjectInfo
from s3rolefs.s3.faults import Fault
from tests.fs.mounted import mounted

FILES = 200
ROUND_TRIP_SECONDS = 0.02


async def put(bucket, names):
    for name in names:
        await bucket.put(name, name.encode())
    return names


@pytest.fixture
async def names(bucket):
    return await put(bucket, [f"d/{number:03}" for number in range(FILES)])


@pytest.fixture
async def tree(bucket):
    return await put(bucket, [f"tree/{number // 10:02}/{number:03}" for number in range(FILES)])


@pytest.fixture
def far(faults):
    """Let every request take a round trip."""
    verbs = ("get", "head", "list_page")
    faults.plan(*(Fault(verb=verb, times=None, delay_seconds=ROUND_TRIP_SECONDS) for verb in verbs))


async def round_trips(work, *arguments):
    """Return how many round trips lie one after the other in some work."""
    began = trio.current_time()
    await work(*arguments)
    return (trio.current_time() - began) / ROUND_TRIP_SECONDS


async def read(mount, names):
    for name in names:
        assert await mount.read(name) == name.encode()


def by_number(names):
    return sorted(names, key=lambda name: number_of(name, Kind.OBJECT))


@pytest.mark.parametrize("order", [sorted, by_number])
async def test_files_opened_in_an_order_are_there_before(mount, names, memory, far, order, autojump_clock):
    assert len(await mount.list("d")) == FILES
    memory.counts.clear()
    assert await round_trips(read, mount, order(names)) < FILES / 8
    # One GET each brings bytes and attributes; that they would be opened was not known at the first one.
    assert memory.counts["get"] == FILES
    assert memory.counts["head"] <= 2


async def test_attributes_from_the_listing_need_nothing_but_gets(
    faults, memory, names, tmp_path, far, autojump_clock
):
    async with mounted(faults, tmp_path, metadata_from_listing=True) as mount:
        await mount.list("d")
        memory.counts.clear()
        assert await round_trips(read, mount, names) < FILES / 8
        assert memory.counts == {"get": FILES}


async def test_several_workers_share_an_order_or_have_one_each(mount, names, memory, far, autojump_clock):
    async def work(share):
        async with trio.open_nursery() as nursery:
            for worker in range(8):
                nursery.start_soon(read, mount, share(worker))

    await mount.list("d")
    memory.counts.clear()
    share = FILES // 16
    half = FILES - 8 * share
    shared = iter(names[:half])

    async def take():
        for name in shared:
            await read(mount, [name])

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(take)
    took = await round_trips(work, lambda worker: names[half + worker * share :][:share])
    assert took < share
    assert memory.counts["get"] == FILES


async def test_who_reads_everything_in_no_order_finds_most_of_it_there(
    mount, names, memory, far, autojump_clock
):
    await mount.list("d")
    memory.counts.clear()
    random.Random(1).shuffle(names)
    assert await round_trips(read, mount, names) < FILES / 2
    assert memory.counts["get"] == FILES


async def test_a_few_files_opened_here_and_there_bring_no_others(mount, names, memory, autojump_clock):
    await mount.list("d")
    memory.counts.clear()
    await read(mount, names[::23])
    await read(mount, names[::23])
    assert memory.counts["get"] == len(names[::23])


async def test_a_jump_narrows_and_skipping_stops_it(mount, names, memory, autojump_clock):
    await mount.list("d")
    await read(mount, names[:8])
    await trio.sleep(0.1)
    ahead = memory.counts["get"]
    assert 8 < ahead < 8 * 5
    await read(mount, names[60:160:7])
    await trio.sleep(0.1)
    assert memory.counts["get"] == ahead + len(names[60:160:7])


def test_a_window_grows_with_each_hit_and_shrinks_with_each_wrong_guess():
    files = [
        ObjectInfo(key=Key(f"{number:03}"), size_bytes=1, etag="e", last_modified_ns=0)
        for number in range(FILES)
    ]
    order, opened = Order(files), set()

    def window_at(index):
        place = order.moves_to(files[index], lambda listed: listed.key in opened)
        opened.add(files[index].key)
        return place.window if place is not None else None

    assert [window_at(index) for index in range(20)] == [None, *range(4, 65, 4), 64, 64, 64]
    assert [window_at(index) for index in (22, 25, 28)] == [60, 56, 52]
    assert window_at(150) is None
    assert [place.window for place in order.places] == [26, 0]


async def test_what_was_looked_at_only_is_not_read(mount, names, memory, autojump_clock):
    for name in await mount.list("d"):
        await mount.stat(f"d/{name}")
    assert memory.counts["get"] == 0
    assert memory.counts["head"] == FILES + 1  # the directory's marker


async def test_a_walk_asks_ahead_across_directories(mount, tree, memory, far, autojump_clock):
    async def walk():
        for directory in await mount.list("tree"):
            for name in await mount.list(f"tree/{directory}"):
                await mount.stat(f"tree/{directory}/{name}")

    # One after the other in each of the 20 directories they would take four round trips and more in each.
    assert await round_trips(walk) < 25
    assert memory.counts["head"] <= FILES + 2


@pytest.mark.parametrize("sort", Sort)
async def test_who_reads_one_directory_after_the_other_finds_all_of_them_there(
    mount, tree, memory, far, sort, autojump_clock
):
    async def walk(directory):
        entries = [f"{directory}/{name}" for name in await mount.list(directory)]
        inner = [f"{entry}/" for entry in entries if entry not in tree]
        for entry in sorted([*inner, *(entry for entry in entries if entry in tree)], key=sort.position):
            await (walk(entry[:-1]) if entry.endswith("/") else read(mount, [entry]))

    # One after the other in each of the 20 directories they would take four round trips and more in each.
    assert await round_trips(walk, "tree") < 16
    assert memory.counts["get"] == FILES
    assert memory.counts["head"] <= 3


async def test_a_walk_goes_on_through_directories_among_files_and_below_and_above(
    mount, bucket, memory, far, autojump_clock
):
    within = ("a", "b/x", "b/y", "c", "d/e/x", "d/e/y")
    names = await put(bucket, [f"t/{number:02}/{name}" for number in range(20) for name in within])
    await mount.list("t")
    assert await round_trips(read, mount, names) < 20
    assert memory.counts["get"] == len(names)


async def test_a_walk_goes_on_when_the_listings_have_grown_old(mount, tree, memory, far, autojump_clock):
    await trio.sleep(2)  # what changed within the last second would be asked for again
    await mount.list("tree")
    await read(mount, tree[:25])
    await trio.sleep(11)  # `metadata_ttl` is 10
    await mount.list("tree")
    assert await round_trips(read, mount, tree[25:]) < 10
    assert memory.counts["get"] == FILES


async def test_files_of_directories_in_no_order_or_left_out_are_not_fetched(
    mount, tree, memory, autojump_clock
):
    await mount.list("tree")
    for _ in range(2):
        await read(mount, tree[::10])
    await trio.sleep(1)
    assert memory.counts["get"] == 20
    directories = [tree[begin : begin + 10] for begin in range(0, FILES, 10)]
    for names in directories[::-1]:
        await read(mount, names)
    await trio.sleep(1)
    assert memory.counts["get"] == FILES


@pytest.mark.parametrize(
    "rest",
    [
        lambda dirs: [names[0] for names in dirs],
        lambda dirs: [name for names in dirs[1::3] for name in names],
    ],
)
async def test_who_leaves_the_order_is_not_believed_to_go_on(mount, tree, memory, rest, autojump_clock):
    directories = [tree[begin : begin + 10] for begin in range(0, FILES, 10)]
    names = tree[:20] + rest(directories[2:])
    await mount.list("tree")
    await read(mount, names)
    await trio.sleep(1)
    # One window was believed in; what was fetched then is not asked for again.
    assert memory.counts["get"] <= len(names) + 64


async def test_what_is_fetched_ahead_in_all_directories_together_stays_within_the_memory(
    faults, bucket, memory, tmp_path, far
):
    names = [f"t/{number:02}/x" for number in range(60)]
    for name in names:
        await bucket.put(name, bytes(MIB))
    async with mounted(faults, tmp_path, cache_memory_bytes=16 * MIB) as mount:
        await mount.list("t")
        for name in names:
            assert len(await mount.read(name)) == MIB
    assert memory.counts["get"] <= len(names) + 2


async def test_names_below_a_directory_of_many_pages_are_asked_ahead(
    mount, tree, memory, far, monkeypatch, autojump_clock
):
    monkeypatch.setattr(surveys, "PAGE_KEYS", FILES // 4)

    async def look():
        for name in tree:  # as git does, which has listed nothing before
            await mount.stat(name)

    assert await round_trips(look) < 30
    assert memory.counts["head"] <= FILES + 3


async def test_who_reads_in_one_directory_and_then_only_looks_pays_once(mount, tree, memory, autojump_clock):
    await mount.list("tree")
    await read(mount, tree[:10])
    memory.counts.clear()
    for name in tree[10:]:
        await mount.stat(name)
    assert memory.counts["get"] == 1  # taken for the first of those that are read next


async def test_large_and_empty_files_are_not_fetched_ahead(mount, bucket, memory, autojump_clock):
    sizes = {f"{number:02}": [10, 0, MIB + 1][number % 3] for number in range(30)}
    for name, size in sizes.items():
        await bucket.put(name, bytes(size))
    await mount.list()
    for name, size in sizes.items():
        handle = await mount.open(name)
        if size == 10:
            await mount.read_open(handle)
        await mount.close(handle)
    assert memory.counts["get"] == 10


async def test_what_is_fetched_ahead_stays_within_the_memory(faults, bucket, memory, tmp_path, far):
    for number in range(40):
        await bucket.put(f"{number:02}", bytes(MIB))
    async with mounted(faults, tmp_path, cache_memory_bytes=16 * MIB) as mount:
        await mount.list()
        blocks = mount.names._core.blocks
        for number in range(40):
            assert len(await mount.read(f"{number:02}")) == MIB
            blocks.check()
            assert not any(blocks.has_room(size) for size in (9 * MIB, 16 * MIB))
        assert memory.counts["get"] == 40


async def test_what_was_fetched_ahead_is_as_fresh_as_the_listing(
    mount, names, bucket, memory, autojump_clock
):
    await mount.list("d")
    await read(mount, names[:10])
    changed = names[12]
    await bucket.put(changed, b"new")
    await trio.sleep(10)
    assert await mount.read(changed) == b"new"


async def test_an_object_that_changed_after_the_listing_is_never_mixed(mount, names, bucket, autojump_clock):
    await mount.list("d")
    await read(mount, names[:3])
    for name in names[50:60]:
        await bucket.put(name, b"another")
    await bucket.delete(names[60])
    for name in names[3:60]:
        assert await mount.read(name) == (b"another" if name in names[50:60] else name.encode())
    with pytest.raises(FileSystemError) as failure:
        await mount.read(names[60])
    assert failure.value.reason is Reason.NOT_FOUND


async def test_own_changes_win_over_what_was_fetched_ahead(mount, names, faults, autojump_clock):
    await mount.list("d")
    faults.plan(Fault(verb="get", times=None, delay_seconds=0.1))
    await read(mount, names[:6])
    for name in names[10:14]:
        await mount.write(name, b"own")
        await mount.change(name, mode=0o600)
    for name in chain(names[6:10], names[14:20]):
        assert await mount.read(name) == name.encode()
    for name in names[10:14]:
        assert await mount.read(name) == b"own"
        assert (await mount.stat(name)).attributes.mode & 0o777 == 0o600


async def test_what_may_not_be_read_is_refused_when_it_is_opened(mount, names, faults, autojump_clock):
    await mount.list("d")
    await read(mount, names[:5])
    await trio.sleep(0.1)
    faults.plan(Fault(verb="get", times=None, reason=Reason.ACCESS_DENIED))
    with pytest.raises(FileSystemError) as failure:
        await read(mount, names[5:60])
    assert failure.value.reason is Reason.ACCESS_DENIED
