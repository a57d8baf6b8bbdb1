"""Compare what is listed of random sets of keys with a model, a pure function of the keys; remove all."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3rolefs.fs import directories
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
    directories._PAGE_KEYS = page_keys
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


@settings(max_examples=250, deadline=None)
@given(key_set=key_sets, page_keys=st.integers(1, 4))
def test_every_key_is_listed_read_and_removed_under_its_one_path(loop, key_set, page_keys):
    before = directories._PAGE_KEYS
    try:
        loop.run(partial(shown_and_removed, key_set, page_keys))
    finally:
        directories._PAGE_KEYS = before
