"""A root whose directories are those of a map: each of them has a bucket of its own."""

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.s3.faults import Fault, FaultyStore
from s3rolefs.s3.joint import JointStore, Part
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.fs.mounted import TrioClock, is_kept, mounted

PREFIXES = {"a": "", "b": "deep/"}


@pytest.fixture
def stores():
    return {name: FaultyStore(MemoryStore(TrioClock())) for name in PREFIXES}


@pytest.fixture
def serve(stores, tmp_path):
    def serve(prefixes=PREFIXES, stores=stores):
        buckets = list(stores.values())
        parts = [
            Part(outer=f"{name}/", store=stores[name], inner=prefix) for name, prefix in prefixes.items()
        ]
        return mounted(
            JointStore(parts),
            tmp_path / "spool",
            source="map://office",
            directories=prefixes,
            origins={f"{name}/": f"s3://{buckets.index(stores[name])}/{prefixes[name]}" for name in prefixes},
        )

    return serve


async def keys(store):
    return [info.key for info in (await store.list_page("", delimiter="")).objects]


async def refused(reason, call):
    with pytest.raises(FileSystemError) as caught:
        await call
    assert caught.value.reason is reason


async def test_a_rename_across_stores_nothing(serve, stores):
    async with serve() as mount:
        await mount.mkdir("a/d")
        handle = await mount.create("a/d/f")
        await mount.descriptors.write(handle, 0, b"not sent yet")
        for old, new in (("a/d/f", "b/f"), ("a/d", "b/d"), ("a/d/f", "b/deep")):
            await refused(Reason.CROSS_DEVICE, mount.rename(old, new))
        assert (await keys(stores["a"]), await keys(stores["b"])) == (["d/"], [])
        await mount.close(handle)
        assert await keys(stores["a"]) == ["d/", "d/f"]


async def test_what_is_one_object_under_two_names_is_not_moved_onto_itself(serve, stores):
    # As for mv the answer is "done", it removes nothing.
    both = {"a": stores["a"], "b": stores["a"]}
    async with serve(stores=both) as mount:
        await mount.mkdir("a/deep")
        await mount.mkdir("a/deep/d")
        await mount.write("a/deep/f", b"x")
        await mount.rename("a/deep/f", "b/f")
        await mount.rename("b/d", "a/deep/d")
        await refused(Reason.INVALID, mount.rename("a/deep/d", "b/d/e"))
        await refused(Reason.CROSS_DEVICE, mount.rename("a/deep/d", "b/e"))
        await refused(Reason.CROSS_DEVICE, mount.rename("a/deep/f", "b/g"))
        assert await mount.read("b/f") == b"x"
    assert await keys(stores["a"]) == ["deep/", "deep/d/", "deep/f"]


async def test_the_directories_stay_whatever_the_buckets_say(serve, stores):
    for store in stores.values():
        store.plan(Fault(times=None, reason=Reason.SESSION_EXPIRED))
    async with serve() as mount:
        assert await mount.list() == ["a", "b"]
        assert (await mount.find("a")).is_directory
        assert not await mount.exists("c")
        await refused(Reason.SESSION_EXPIRED, mount.find("a/f"))
        stores["b"].plan()
        await mount.write("b/f", b"x")
        assert await keys(stores["b"]) == ["deep/f"]
        await mount.unlink("b/f")
        # A directory that is always there needs no marker.
        assert await keys(stores["b"]) == []
        assert await mount.list("b") == []
        before = await mount.stat("a")
        await mount.change("a", mode=0o40700)
        assert (await mount.stat("a")).attributes.mode == 0o40700
        assert before is await mount.stat("a")


async def test_what_belongs_to_a_directory_that_left_the_map_stays_on_disk(serve, stores, autojump_clock):
    stores["b"].plan(Fault(verb="put", times=None, reason=Reason.ACCESS_DENIED))
    async with serve() as mount:
        await refused(Reason.ACCESS_DENIED, mount.write("b/f", b"kept"))
    async with serve({"a": ""}) as mount:
        assert await mount.list() == ["a"]
        [unsent] = mount.filesystem.unsent()
        assert (unsent.path, is_kept(unsent)) == ("/b/f", True)
        assert "s3://1/deep/" in unsent.reason


async def test_nothing_is_sent_to_what_took_the_place_of_a_bucket(serve, stores, autojump_clock, caplog):
    async with serve() as mount:
        await mount.mkdir("b/d")
        await mount.write("b/d/f", b"stored")
        stores["b"].plan(Fault(verb="put", times=None, reason=Reason.ACCESS_DENIED))
        await refused(Reason.ACCESS_DENIED, mount.write("b/f", b"kept"))
    async with serve({"a": "", "b": "other/"}) as mount:
        # The record of a move that was broken off.
        mount.filesystem._folder.begin_move("b/d/", "b/e/", 1)
    stores["b"].plan()
    await stores["b"].put("deep/e/f", b"", ObjectAttributes())
    before = await keys(stores["b"])
    for prefix in ("third/", "deep/"):
        caplog.clear()
        async with serve({"a": "", "b": prefix}) as mount:
            await trio.sleep(60)
            if prefix == "third/":
                [unsent] = mount.filesystem.unsent()
                assert (unsent.path, unsent.conflict, is_kept(unsent)) == ("/b/f", True, True)
                assert unsent.reason == (
                    "it belongs to s3://1/deep/f; a mount that has this there and may write sends it"
                )
                assert await mount.list("b") == []
                assert await keys(stores["b"]) == before
            else:
                assert mount.filesystem.unsent() == []
                assert await mount.list("b") == ["d", "e", "f"]
        assert (
            "0 of 1 files were copied, and none was removed; a mount that may write to s3://1/other/d/"
            in (caplog.text)
        )


@pytest.mark.parametrize(("directory", "longest"), [("a", 1024), ("b", 1019)])
async def test_a_key_may_be_as_long_as_in_its_bucket(serve, stores, directory, longest):
    folders = "/".join(["n" * 200] * 4)
    rest = longest - len(folders) - 1
    async with serve() as mount:
        path = directory
        for folder in folders.split("/"):
            path = f"{path}/{folder}"
            await mount.mkdir(path)
        await refused(Reason.NAME_TOO_LONG, mount.create(f"{path}/{'x' * (rest + 1)}"))
        await mount.write(f"{path}/{'x' * rest}", b"x")
    assert max(len(key) for key in await keys(stores[directory])) == 1024
