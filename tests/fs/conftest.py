from __future__ import annotations

import pytest

from s3rolefs.s3.faults import FaultyStore
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.fs.mounted import TrioClock, mounted


class Bucket:
    """A bucket as another client sees it: it acts behind the mount's back."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def put(self, key, content=b"", *, metadata=None, headers=None):
        await self._store.put(key, content, ObjectAttributes(metadata=metadata or {}, headers=headers or {}))

    async def get(self, key):
        size = (await self._store.head(key)).size_bytes
        content = bytearray(size)
        if size:
            await self._store.get(key, [memoryview(content)])
        return bytes(content)

    async def head(self, key):
        return await self._store.head(key)

    async def delete(self, key):
        await self._store.delete(key)

    async def keys(self):
        keys, token = [], None
        while True:
            page = await self._store.list_page("", delimiter="", token=token)
            keys += [info.key for info in page.objects]
            token = page.next_token
            if token is None:
                return keys


@pytest.fixture
def memory():
    return MemoryStore(TrioClock())


@pytest.fixture
def faults(memory):
    return FaultyStore(memory)


@pytest.fixture
def bucket(memory):
    return Bucket(memory)


@pytest.fixture
async def mount(faults, tmp_path):
    async with mounted(faults, tmp_path / "spool") as made:
        yield made
