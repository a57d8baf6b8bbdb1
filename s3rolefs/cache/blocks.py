"""Cache the bytes of objects in blocks, and fetch what is missing, each block once at a time.

Invariants (checked by `BlockCache.check`): a block is either wanted (a fetch is under way) or
cached, never both; memory of both together stays within the budget, but for what a reader that
waits right now needs; what is cached for a version never changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cachetools import LRUCache

from s3rolefs.cache.buffers import BLOCK_BYTES, PIECE_BYTES, Block, BufferPool
from s3rolefs.cache.fetches import Fetch, Wanted
from s3rolefs.cache.line import Line
from s3rolefs.cache.sources import Sources
from s3rolefs.errors import FileSystemError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.disktier import DiskTier
    from s3rolefs.model import Key, ObjectInfo
    from s3rolefs.s3.store import ObjectStore

BlockName = tuple[object, int]

# A block takes 750 bytes beside its own (measured): a tiny one counts for what it costs.
_LEAST_BYTES = 1024
_SPARE_SHARE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """Pin one version of an object; `token` stays the same when a rename only moves the bytes."""

    key: Key
    etag: str
    size_bytes: int
    token: object
    block_bytes: int = BLOCK_BYTES

    def block_count(self) -> int:
        """Return how many blocks the object has."""
        return -(-self.size_bytes // self.block_bytes)

    def block_size(self, index: int) -> int:
        """Return the size in bytes of block `index` (the last one may be short)."""
        return min(self.block_bytes, self.size_bytes - index * self.block_bytes)

    def blocks_of(self, offset: int, end: int) -> tuple[int, int]:
        """Return the first block that holds some of [offset, end), and the one behind the last."""
        return offset // self.block_bytes, -(-end // self.block_bytes)

    def in_pieces(self) -> ObjectVersion:
        """Return the same version in blocks of PIECE_BYTES, which are cached beside the large ones."""
        return replace(self, token=(self.token, PIECE_BYTES), block_bytes=PIECE_BYTES)


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
        self.capacity_bytes = max(capacity_bytes, 4 * BLOCK_BYTES)
        self.line = Line()
        self._sources = Sources(store, disk, self.line)
        self._background = background
        self._pool = BufferPool(spare_blocks=min(64, self.capacity_bytes // BLOCK_BYTES // _SPARE_SHARE))
        self._cached: LRUCache[BlockName, Block] = LRUCache(self.capacity_bytes, getsizeof=_block_bytes)
        self._wanted: dict[BlockName, Wanted] = {}
        self._wanted_bytes = 0
        self._lone_reads = 0
        # Who fetches ahead now.
        self._readers: set[object] = set()

    @property
    def cached_bytes(self) -> int:
        """Return how much memory the blocks take that are not on their way."""
        return int(self._cached.currsize)

    def has(self, version: ObjectVersion, index: int) -> bool:
        """Tell whether a block is cached or on its way."""
        name = (version.token, index)
        return name in self._cached or name in self._wanted

    @property
    def has_disk(self) -> bool:
        """Tell whether blocks are kept on disk, too."""
        return self._sources.has_disk

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether bytes that nobody waits for may still be asked for."""
        return self._wanted_bytes + size_bytes <= self.capacity_bytes // 2

    def is_on_disk(self, version: ObjectVersion) -> bool:
        """Tell whether the blocks of a version were last found on disk."""
        return self._sources.is_on_disk(version)

    def room_blocks(self, reader: object) -> int:
        """Return how many blocks a reader may ask for in advance now: its share of three quarters."""
        self._readers.add(reader)
        budget = self.capacity_bytes * 3 // 4
        return min(budget // len(self._readers), budget - self._wanted_bytes) // BLOCK_BYTES

    def leave_room(self, reader: object) -> None:
        """Take note that a reader asks for nothing in advance any more."""
        self._readers.discard(reader)

    def fetch(self, version: ObjectVersion, first: int, count: int) -> Fetch:
        """Start to bring blocks `first` … `first + count - 1` with one request; none may be there yet."""
        fetch = self._want(version, first, count)
        self._background.start_soon(self._bring, fetch)
        return fetch

    def open(self, version: ObjectVersion) -> None:
        """Start to bring a file of one block, as whoever opens it reads it."""
        if 0 < version.size_bytes <= BLOCK_BYTES and not self.has(version, 0):
            self.fetch(version, 0, 1)

    async def whole(self, version: ObjectVersion) -> ObjectInfo | None:
        """Bring the one block of a small object; return what S3 said with it (None: it was here)."""
        if self.has(version, 0):
            await self.block(version, 0)
            return None
        return await self._bring_here(self._want(version, 0, 1))

    async def _bring_here(self, fetch: Fetch) -> ObjectInfo | None:
        """Fill the one block of a fetch without a task of its own."""
        told = await self._bring(fetch)
        failure = fetch.wanted[0].failure
        if failure is not None:
            raise failure
        return told

    def _want(self, version: ObjectVersion, first: int, count: int) -> Fetch:
        fetch = Fetch(version, first, count, self._pool)
        for entry in fetch.wanted:
            self._wanted[version.token, first + entry.place] = entry
        self._wanted_bytes += fetch.size_bytes
        self._make_room()
        return fetch

    def fetch_missing(self, version: ObjectVersion, first: int, end: int, run_blocks: int) -> list[Fetch]:
        """Start requests of at most `run_blocks` for every block in [first, end) that is not there.

        Return all that bring some of them, those under way already, too.
        """
        fetches: list[Fetch] = []
        index = first
        while index < end:
            entry = self._wanted.get((version.token, index))
            if entry is not None and (not fetches or fetches[-1] is not entry.fetch):
                fetches.append(entry.fetch)
            if self.has(version, index):
                index += 1
                continue
            count = 1
            while count < run_blocks and index + count < end and not self.has(version, index + count):
                count += 1
            fetches.append(self.fetch(version, index, count))
            index += count
        return fetches

    def let_go(self, fetch: Fetch, holder: object) -> None:
        """Rely on a fetch no longer: one on which nobody relies ends, and costs no further byte.

        Who waits for a block of it nevertheless asks for that again.
        """
        fetch.holders.discard(holder)
        if not fetch.holders:
            self._settle(fetch.wanted, None)
            fetch.abandon()

    def comes_soon(self, version: ObjectVersion, first: int, end: int) -> bool:
        """Tell whether blocks [first, end) are cached, or here before a request of their own would be."""
        limit_bytes = version.block_bytes + self.line.round_trip_bytes
        for index in range(first, end):
            name = (version.token, index)
            if name not in self._cached:
                entry = self._wanted.get(name)
                if entry is None or entry.bytes_before > limit_bytes:
                    return False
        return True

    def drop(self, version: ObjectVersion, index: int) -> None:
        """Let go of a block that its reader has passed, so that its memory is lent again while it is warm."""
        self._cached.pop((version.token, index), None)

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
            entry.fetch.reach(index)
            entry.waiting += 1
            await entry.arrived.wait()
            entry.waiting -= 1
            if (block := entry.block) is not None and block.filled:
                if not entry.waiting:
                    entry.block = None
                return block
            # What was asked for under another name may have failed because the object was moved here since.
            if entry.failure is not None and entry.fetch.version.key == version.key:
                raise entry.failure

    async def read(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        """Return bytes [offset, offset + size) of a version, which must lie within it.

        The answer is a view of the cache where one block has it all: valid until the next await.
        """
        first, start = divmod(offset, version.block_bytes)
        if start + size <= version.block_bytes:
            return (await self.block(version, first)).view[start : start + size]
        last = (offset + size - 1) // version.block_bytes
        self.fetch_missing(version, first, last + 1, last + 1 - first)
        pieces: list[memoryview] = []
        for index in range(first, last + 1):
            view = (await self.block(version, index)).view
            begin = start if index == first else 0
            # Copied at once: the block may be evicted and lent again while the next one is awaited.
            pieces.append(memoryview(bytes(view[begin : begin + size])))
            size -= len(pieces[-1])
        return b"".join(pieces)

    async def read_alone(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        """Read as `read` does, where nothing tells what is read next."""
        self._lone_reads += 1
        try:
            version, first, end = self._lone_run(version, offset, size, self._lone_reads)
            if end - first == 1 and not self.has(version, first):
                await self._bring_here(self._want(version, first, 1))
            self.fetch_missing(version, first, end, end - first)
            return await self.read(version, offset, size)
        finally:
            self._lone_reads -= 1

    def ask_alone(self, version: ObjectVersion, offset: int, size: int, *, at_once: int) -> None:
        """Start to fetch what is to be read as one of `at_once` reads in no order."""
        version, first, end = self._lone_run(version, offset, size, at_once)
        self.fetch_missing(version, first, end, max(1, end - first))

    def _lone_run(
        self, version: ObjectVersion, offset: int, size: int, at_once: int
    ) -> tuple[ObjectVersion, int, int]:
        """Return in which blocks to read what is read alone, and which of them to ask for.

        That is little beside a near store, and some blocks where a round trip takes as long as they do.
        """
        first, end = version.blocks_of(offset, offset + size)
        if self.has_disk or self.comes_soon(version, first, end):
            return version, first, first
        pieces = version.in_pieces()
        if self.comes_soon(pieces, *pieces.blocks_of(offset, offset + size)):
            return pieces, 0, 0
        ask_bytes = max(PIECE_BYTES, self.line.lone_bytes(at_once))
        is_large = max(ask_bytes, 2 * size) >= BLOCK_BYTES
        if is_large and not any(self.has(version, index) for index in range(first, end)):
            until = min(first + max(ask_bytes // BLOCK_BYTES, end - first), version.block_count())
            return version, first, until
        ask_bytes = min(ask_bytes, BLOCK_BYTES)
        first = offset // ask_bytes * ask_bytes // PIECE_BYTES
        end = -(-(offset + size) // ask_bytes) * ask_bytes // PIECE_BYTES
        return pieces, first, min(end, pieces.block_count())

    def insert(self, version: ObjectVersion, content: bytes) -> None:
        """Remember a small object that was just written (at most one block)."""
        if content and len(content) == version.size_bytes <= BLOCK_BYTES:
            block = Block(memoryview(content), None)
            block.filled = True
            if (version.token, 0) not in self._wanted:
                self._cached[version.token, 0] = block
            self._sources.keep(version, 0, block)

    def check(self) -> None:
        """Assert the invariants (debug builds and tests)."""
        assert not (self._wanted.keys() & set(self._cached.keys()))
        assert self._wanted_bytes == sum(entry.size_bytes for entry in self._wanted.values())
        assert self._cached.currsize <= self.capacity_bytes

    def _make_room(self) -> None:
        while self._cached and self._cached.currsize + self._wanted_bytes > self.capacity_bytes:
            self._cached.popitem()

    async def _bring(self, fetch: Fetch) -> ObjectInfo | None:
        """Fill blocks, and tell whoever waits what became of them; return what S3 said, if it was asked."""
        try:
            with fetch.scope:
                return await self._sources.fill(fetch, self._arrived, self._settle)
        finally:
            self._settle(fetch.wanted, FileSystemError(Reason.UNREACHABLE, "the read was given up"))
        return None

    def _arrived(self, entry: Wanted) -> None:
        if entry.arrived.is_set():
            return  # abandoned
        assert entry.block is not None
        entry.block.filled = True
        self._cached[self._forget(entry)] = entry.block
        if not entry.waiting:
            entry.block = None  # lent again once it leaves the cache, however long the rest takes
        entry.fetch.arrived_count += 1
        entry.arrived.set()

    def _settle(self, entries: Iterable[Wanted], failure: FileSystemError | None) -> None:
        """Tell of a failure whoever waits for what has not arrived."""
        for entry in entries:
            if not entry.arrived.is_set():
                self._forget(entry)
                entry.failure = failure
                entry.arrived.set()

    def _forget(self, entry: Wanted) -> BlockName:
        name = (entry.fetch.version.token, entry.fetch.first + entry.place)
        del self._wanted[name]
        self._wanted_bytes -= entry.size_bytes
        entry.fetch.left_bytes -= entry.size_bytes
        return name


def _block_bytes(block: Block) -> int:
    return max(len(block.view), _LEAST_BYTES)
