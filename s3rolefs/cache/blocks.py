"""Cache the bytes of objects in blocks, and fetch what is missing, each block once at a time.

Invariants (checked by `BlockCache.check`): a block is either wanted (a fetch is under way) or
cached, never both; memory of both together stays within the budget, but for what a reader that
waits right now needs; what is cached for a version never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from s3rolefs.cache.buffers import BLOCK_BYTES, Block, BufferPool
from s3rolefs.errors import FileSystemError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.disktier import DiskTier
    from s3rolefs.model import Key, ObjectInfo
    from s3rolefs.s3.store import ObjectStore

BlockName = tuple[object, int]

# A block takes 750 bytes beside its own (measured): a tiny one counts for what it costs.
_LEAST_BYTES = 1024
# Enough for a disk; more would only be memory that is touched for the first time, and cold in the processor.
_DISK_WINDOW_BLOCKS = 16
_ON_DISK_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """Pin one version of an object; `token` stays the same when a rename only moves the bytes."""

    key: Key
    etag: str
    size_bytes: int
    token: object

    def block_count(self) -> int:
        """Return how many blocks the object has."""
        return -(-self.size_bytes // BLOCK_BYTES)

    def block_size(self, index: int) -> int:
        """Return the size in bytes of block `index` (the last one may be short)."""
        return min(BLOCK_BYTES, self.size_bytes - index * BLOCK_BYTES)


class _Wanted:
    """Follow one block that a fetch is bringing."""

    __slots__ = ("arrived", "block", "failure", "key")

    def __init__(self, block: Block, key: Key) -> None:
        self.block = block
        self.key = key
        self.arrived = trio.Event()
        self.failure: Exception | None = None


class BlockCache:
    """Serve blocks of object versions from memory, fetching them from `disk` or `store` in the background."""

    def __init__(
        self,
        store: ObjectStore,
        background: Background,
        *,
        capacity_bytes: int,
        disk: DiskTier | None = None,
    ) -> None:
        self._store = store
        self._background = background
        self._disk = disk
        self._capacity_bytes = max(capacity_bytes, 4 * BLOCK_BYTES)
        self._pool = BufferPool()
        self._cached: LRUCache[BlockName, Block] = LRUCache(self._capacity_bytes, getsizeof=_block_bytes)
        self._wanted: dict[BlockName, _Wanted] = {}
        self._wanted_bytes = 0
        # Versions whose blocks were last found on disk.
        self._on_disk: LRUCache[object, None] = LRUCache(_ON_DISK_LIMIT)

    @property
    def cached_bytes(self) -> int:
        """Return how much memory the blocks take that are not on their way."""
        return int(self._cached.currsize)

    def room_blocks(self, version: ObjectVersion) -> int:
        """Return how many blocks a read-ahead may still ask for."""
        room = (self._capacity_bytes // 2 - self._wanted_bytes) // BLOCK_BYTES
        return min(room, _DISK_WINDOW_BLOCKS) if version.token in self._on_disk else room

    def has(self, version: ObjectVersion, index: int) -> bool:
        """Tell whether a block is cached or on its way."""
        name = (version.token, index)
        return name in self._cached or name in self._wanted

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether bytes that nobody waits for may still be asked for."""
        return self._wanted_bytes + size_bytes <= self._capacity_bytes // 2

    def fetch(self, version: ObjectVersion, first: int, count: int) -> None:
        """Start to bring blocks `first` … `first + count - 1` with one request; none may be there yet."""
        self._background.start_soon(self._bring, version, first, self._want(version, first, count))

    async def whole(self, version: ObjectVersion) -> ObjectInfo | None:
        """Bring the one block of a small object; return what S3 said with it (None: it was here)."""
        if self.has(version, 0):
            await self.block(version, 0)
            return None
        wanted = self._want(version, 0, 1)
        told = await self._bring(version, 0, wanted)
        if wanted[0].failure is not None:
            raise wanted[0].failure
        return told

    def _want(self, version: ObjectVersion, first: int, count: int) -> list[_Wanted]:
        wanted: list[_Wanted] = []
        for index in range(first, first + count):
            size_bytes = version.block_size(index)
            entry = _Wanted(self._pool.lend(size_bytes), version.key)
            self._wanted[version.token, index] = entry
            self._wanted_bytes += size_bytes
            wanted.append(entry)
        self._make_room()
        return wanted

    def fetch_missing(self, version: ObjectVersion, first: int, end: int, run_blocks: int) -> None:
        """Start requests of at most `run_blocks` for every block in [first, end) that is not there."""
        index = first
        while index < end:
            if self.has(version, index):
                index += 1
                continue
            count = 1
            while count < run_blocks and index + count < end and not self.has(version, index + count):
                count += 1
            self.fetch(version, index, count)
            index += count

    async def block(self, version: ObjectVersion, index: int) -> Block:
        """Return a filled block, waiting for it when it is on its way, fetching it when it is not."""
        name = (version.token, index)
        while True:
            cached = self._cached.get(name)
            if cached is not None:
                return cached
            if name not in self._wanted:
                self.fetch(version, index, 1)
            entry = self._wanted[name]
            await entry.arrived.wait()
            if entry.failure is None:
                return entry.block
            # What was asked for under another name may have failed because the object was moved here since.
            if entry.key == version.key:
                raise entry.failure

    async def read(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        """Return bytes [offset, offset + size) of a version, which must lie within it.

        The answer is a view of the cache where one block has it all: valid until the next await.
        """
        first, start = divmod(offset, BLOCK_BYTES)
        if version.token in self._on_disk:
            # Read on: nobody needs the memory of what lies behind. (The kernel may ask in another order
            # within two blocks.)
            self._cached.pop((version.token, first - 2), None)
        if start + size <= BLOCK_BYTES:
            return (await self.block(version, first)).view[start : start + size]
        last = (offset + size - 1) // BLOCK_BYTES
        self.fetch_missing(version, first, last + 1, last + 1 - first)
        pieces: list[memoryview] = []
        for index in range(first, last + 1):
            view = (await self.block(version, index)).view
            begin = start if index == first else 0
            # Copied at once: the block may be evicted and lent again while the next one is awaited.
            pieces.append(memoryview(bytes(view[begin : begin + size])))
            size -= len(pieces[-1])
        return b"".join(pieces)

    def insert(self, version: ObjectVersion, content: bytes) -> None:
        """Remember a small object that was just written (at most one block)."""
        if content and len(content) == version.size_bytes <= BLOCK_BYTES:
            block = Block(memoryview(content), None, None)
            block.filled = True
            if (version.token, 0) not in self._wanted:
                self._cached[version.token, 0] = block
            if self._disk is not None:
                self._disk.keep(version, 0, block)

    def check(self) -> None:
        """Assert the invariants (debug builds and tests)."""
        assert not (self._wanted.keys() & set(self._cached.keys()))
        assert self._wanted_bytes == sum(len(entry.block.view) for entry in self._wanted.values())
        assert self._cached.currsize <= self._capacity_bytes

    def _make_room(self) -> None:
        while self._cached and self._cached.currsize + self._wanted_bytes > self._capacity_bytes:
            self._cached.popitem()

    async def _bring(
        self, version: ObjectVersion, first: int, wanted: Sequence[_Wanted]
    ) -> ObjectInfo | None:
        """Fill blocks from disk, and with one request for each run of those that are not there.

        Return what S3 said if one request brought them all.
        """
        if self._disk is None:
            return await self._get(version, first, wanted)
        settled = 0
        try:
            found = await self._disk.read(version, first, [entry.block.view for entry in wanted])
            if all(found):
                self._on_disk[version.token] = None
            else:
                self._on_disk.pop(version.token, None)
            if not any(found):
                settled = len(wanted)
                return await self._get(version, first, wanted)
            async with trio.open_nursery() as nursery:
                for on_disk, run in groupby(range(len(wanted)), found.__getitem__):
                    places = list(run)
                    settled = places[-1] + 1
                    if not on_disk:
                        nursery.start_soon(self._get, version, first + places[0], wanted[places[0] : settled])
                        continue
                    for place in places:
                        self._arrived(version, first + place, wanted[place])
        finally:
            self._failed(version, first + settled, wanted[settled:], _given_up())
        return None

    async def _get(self, version: ObjectVersion, first: int, wanted: Sequence[_Wanted]) -> ObjectInfo | None:
        """Fill blocks with one request; whoever waits for them is told of a failure."""
        done = 0

        def arrived(position: int) -> None:
            nonlocal done
            done = position + 1
            self._arrived(version, first + position, wanted[position])
            if self._disk is not None:
                self._disk.keep(version, first + position, wanted[position].block)

        told: ObjectInfo | None = None
        failure: Exception = _given_up()
        try:
            told = await self._store.get(
                version.key,
                [entry.block.view for entry in wanted],
                offset=first * BLOCK_BYTES,
                if_match=version.etag,
                on_filled=arrived,
            )
            if self._disk is not None:
                self._disk.prove(version)
        except FileSystemError as error:
            gone = error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND, Reason.CORRUPT)
            failure = FileSystemError(Reason.STALE, "the object was replaced or removed") if gone else error
        finally:
            self._failed(version, first + done, wanted[done:], failure)
        return told

    def _arrived(self, version: ObjectVersion, index: int, entry: _Wanted) -> None:
        entry.block.filled = True
        name = (version.token, index)
        del self._wanted[name]
        self._wanted_bytes -= len(entry.block.view)
        self._cached[name] = entry.block
        entry.arrived.set()

    def _failed(
        self, version: ObjectVersion, first: int, wanted: Sequence[_Wanted], failure: Exception
    ) -> None:
        for index, entry in enumerate(wanted, first):
            del self._wanted[version.token, index]
            self._wanted_bytes -= len(entry.block.view)
            entry.failure = failure
            entry.arrived.set()


def _given_up() -> FileSystemError:
    return FileSystemError(Reason.UNREACHABLE, "the read was given up")


def _block_bytes(block: Block) -> int:
    return max(len(block.view), _LEAST_BYTES)
