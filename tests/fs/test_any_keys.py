"""Compare what is listed of random sets of keys with a model, a pure function of the keys; remove all."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import surveys
from s3rolefs.model import Key
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.fs.loops import Loop
from tests.fs.mounted import TrioClock, mounted
from tests.fs.test_names import keys, tree

# Keys that have much to do with each other, beside those that could be anything.
WORDS = ["a", "a-", "a!", "", ".", "..", "\0", "‛", "‛E9", "‛object=a", "n" * 250, "n" * 300]
neighbours = (
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda key: 0 < len(key) < 1000)
)
key_sets = st.sets(neighbours | keys, min_size=1, max_size=10)


@pytest.fixture(scope="module")
def loop():
    made = Loop()
    yield made
    made.close()


async def walked(mount, directory=""):
    """Return (path → content of every file, path of every directory) as a walk finds them."""
    files, found = {}, []
    for name in await mount.list(directory):
        path = f"{directory}/{name}" if directory else name
        if await mount.is_directory(path):
            below, more = await walked(mount, path)
            files |= below
            found += [*more, path]
        else:
            files[path] = await mount.read(path)
    return files, found


async def shown_and_removed(key_set, page_keys):
    store = MemoryStore(TrioClock())
    for key in key_set:
        # An empty marker is a directory and no more; others hold something.
        await store.put(Key(key), key.encode(), ObjectAttributes())
    expected = {"/".join(path): key.encode() for path, key in tree(key_set).items()}
    surveys.PAGE_KEYS = page_keys
    with tempfile.TemporaryDirectory() as spool:
        async with mounted(store, Path(spool)) as mount:
            files, found = await walked(mount)
            assert files == expected
            assert set(found) == {
                "/".join(path.split("/")[:depth])
                for path in expected
                for depth in range(1, path.count("/") + 1)
            }
            for path in files:
                await mount.unlink(path)
            for path in found:
                assert await mount.list(path) == []
                await mount.rmdir(path)
            assert await mount.list() == []
    assert (await store.list_page("", delimiter="")).objects == ()


@settings(max_examples=150, deadline=None)
@given(key_set=key_sets, page_keys=st.integers(1, 4))
def test_every_key_is_listed_read_and_removed_under_its_one_path(loop, key_set, page_keys):
    before = surveys.PAGE_KEYS
    try:
        loop.run(partial(shown_and_removed, key_set, page_keys))
    finally:
        surveys.PAGE_KEYS = before


# What an object beside a directory, and what a marker holds, go through when two clients are at work.
FEW = ["a", "a/", "a/b", "a/b/", "a/b/c", "a-", "a//", "a//b", ".."]
PLACES = ["a", "a-", "‛object=a", "a/b", "a/‛object=b", "a/‛object=", "a/b/c", "‛name=..", "a/‛name=/b"]
ACTIONS = ["put", "put_empty", "delete", "write", "create", "unlink", "rmdir", "mkdir", "rename"]
histories = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=15
)


async def stored(store):
    page = await store.list_page("", delimiter="")
    found = {}
    for info in page.objects:
        content = bytearray(info.size_bytes)
        if content:
            await store.get(info.key, [memoryview(content)])
        found[info.key] = bytes(content)
    return found


async def model(store):
    """Return what a mount has to show of the bucket: (content by path of every file, directories)."""
    keys = await stored(store)
    paths = {"/".join(path): key for path, key in tree(set(keys)).items()}
    files = {path: keys[key] for path, key in paths.items() if keys[key] or not key.endswith("/")}
    above = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
    return files, above


async def compare(mount, store):
    files, found = await walked(mount)
    assert (files, set(found)) == await model(store)
    assert len(found) == len(set(found))


async def act(mount, store, action, first, second):
    if second % 2:  # else what is done next has to ask for itself
        await compare(mount, store)
    files, above = await model(store)
    key, path = FEW[first % len(FEW)], PLACES[first % len(PLACES)]
    some = sorted(files)[first % len(files)] if files else None
    parent = path.rpartition("/")[0]
    if action in ("put", "put_empty"):
        await store.put(Key(key), b"" if action == "put_empty" else f"{second}".encode(), ObjectAttributes())
    elif action == "delete":
        await store.delete(Key(key))
    elif action == "write" and some:
        await mount.write(some, b"written")
    elif action == "create" and (not parent or parent in above) and path not in above:
        await mount.write(path, b"made")
        assert await mount.read(path) == b"made"
    elif action == "unlink" and some:
        await mount.unlink(some)
        assert not (await mount.exists(some) and not await mount.is_directory(some))
    elif action == "rmdir" and above:
        directory = sorted(above)[first % len(above)]
        if any(other.startswith(directory + "/") for other in {*files, *above}):
            with pytest.raises(FileSystemError) as failure:
                await mount.rmdir(directory)
            assert failure.value.reason is Reason.NOT_EMPTY
        else:
            await mount.rmdir(directory)
    elif action == "mkdir" and path not in {*files, *above} and "object=" not in path:
        if not parent or parent in above:
            await mount.mkdir(path)
    elif action == "rename" and some and not some.endswith("="):
        target = PLACES[second % len(PLACES)]
        if target not in above and target.rpartition("/")[0] in {"", *above} and not target.endswith("="):
            await mount.rename(some, target)
            assert await mount.read(target) == files[some]
    for inode in mount.names._core.table.below(mount.names._core.table.root):
        inode.named_object = False  # the model knows nothing of names that last as long as an inode
    if action in ("put", "put_empty", "delete"):
        await trio.sleep(11)  # what others do is seen once the metadata is old


async def lived(history):
    store = MemoryStore(TrioClock())
    with tempfile.TemporaryDirectory() as spool:
        async with mounted(store, Path(spool)) as mount:
            for action, first, second in history:
                await act(mount, store, action, first, second)
            await compare(mount, store)


@settings(max_examples=600, deadline=None)
@given(history=histories)
def test_two_clients_and_objects_beside_directories(loop, history):
    loop.run(partial(lived, history))
