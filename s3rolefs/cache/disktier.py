"""Read blocks from disk and write them there, without ever letting the loop or a reader wait for a write.

What is on disk may have been fetched with another role, or long ago: a block is given out when S3 has told
this mount's own role of that very version within `proof_seconds`. HEAD takes the right that GET takes
(s3:GetObject).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio
from cachetools import LRUCache

from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.errors import FileSystemError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.blockfiles import BlockFiles
    from s3rolefs.cache.blocks import ObjectVersion
    from s3rolefs.cache.buffers import Block
    from s3rolefs.clock import Clock
    from s3rolefs.model import Key
    from s3rolefs.s3.store import Buffers, ObjectStore

log = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

_BATCH_BLOCKS = 8
_READERS = 4
_STEPS_AHEAD = 4
# What is read more slowly comes from the disk, not from the kernel's cache.
_CACHED_BYTES_PER_SECOND = 2 << 30
_VERSIONS_LIMIT = 100_000
# After a failure nothing is written for so long.
PAUSE_SECONDS = 60.0
_CLOSE_SECONDS = 5.0


class DiskTier:
    """Stand between the memory cache and S3; whatever happens to the disk, no read fails."""

    def __init__(
        self,
        files: BlockFiles,
        store: ObjectStore,
        background: Background,
        clock: Clock,
        *,
        proof_seconds: float,
        waiting_limit_bytes: int,
    ) -> None:
        self._files = files
        self._store = store
        self._background = background
        self._clock = clock
        self._proof_seconds = proof_seconds
        # What waits to be written keeps its memory; what comes when so much waits is not written.
        self._waiting_limit_bytes = waiting_limit_bytes
        # When (boot clock) S3 last told this role of a version.
        self._proofs: LRUCache[tuple[Key, str], float] = LRUCache(_VERSIONS_LIMIT)
        self._asking: dict[tuple[Key, str], trio.Event] = {}
        self._waiting: deque[tuple[ObjectVersion, int, Block]] = deque()
        self._waiting_bytes = 0
        self._writing = False
        self._prepared = trio.Lock()
        self._is_prepared = False
        self._pause_until = float("-inf")
        self._failing = False
        # Of versions that were read in steps, up to where the kernel was told of them.
        self._expected: LRUCache[object, int] = LRUCache(_VERSIONS_LIMIT)
        self._is_slow = False
        self._readers = trio.CapacityLimiter(_READERS)
        self._writer = trio.CapacityLimiter(1)

    async def read(self, version: ObjectVersion, first: int, into: Buffers) -> list[bool]:
        """Fill the blocks from `first` on that are on disk and may be read; say which."""
        found = [False] * len(into)
        if await self._prepare():
            if self._is_slow and len(into) > 1:
                self._look_ahead(version, first, len(into))
            try:
                found = await self._in_thread(self._readers, self._read_files, version, first, into)
            except OSError as error:
                self._fail(error)
        if any(found) and not await self._may_read(version):
            return [False] * len(into)
        return found

    def keep(self, version: ObjectVersion, index: int, block: Block) -> None:
        """Write a filled block behind the reader's back, unless the disk is behind already."""
        size_bytes = len(block.view)
        if self._waiting_bytes + size_bytes > self._waiting_limit_bytes or self._is_paused:
            return
        self._waiting.append((version, index, block))
        self._waiting_bytes += size_bytes
        if not self._writing:
            self._writing = True
            self._background.start_soon(self._write)

    def prove(self, version: ObjectVersion) -> None:
        """Note that S3 has just given bytes of a version to this mount's role."""
        self._proofs[version.key, version.etag] = self._clock.boot_seconds()

    async def aclose(self) -> None:
        """Write what still waits, within `_CLOSE_SECONDS`."""
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._write()
            async with self._writer:
                pass  # a thread that nobody waits for any more has ended, too

    @property
    def _is_paused(self) -> bool:
        return self._clock.boot_seconds() < self._pause_until

    async def _prepare(self) -> bool:
        """Tell whether the directory can be used; it is not asked again while writing pauses."""
        async with self._prepared:
            if not self._is_prepared and not self._is_paused:
                try:
                    await self._in_thread(self._readers, self._files.prepare)
                    self._is_prepared = True
                except OSError as error:
                    self._fail(error)
            return self._is_prepared

    def _look_ahead(self, version: ObjectVersion, first: int, count: int) -> None:
        """Let the kernel fetch what comes behind a step, too: a disk does many blocks at once."""
        until = min(first + count * (1 + _STEPS_AHEAD), version.block_count())
        told = self._expected.get(version.token, 0)
        # Beyond that was another reading: the kernel may have let it go since.
        begin = told if first < told <= until else first + 1
        if begin < until:
            self._expected[version.token] = until
            self._background.start_soon(
                self._in_thread, self._readers, self._expect_files, version, begin, until
            )

    def _expect_files(self, version: ObjectVersion, begin: int, until: int) -> None:
        for index in range(begin, until):
            self._files.expect(self._files.path(version, index))

    def _read_files(self, version: ObjectVersion, first: int, into: Buffers) -> list[bool]:
        began = time.monotonic()
        found = [self._files.read(self._files.path(version, first + at), into[at]) for at in range(len(into))]
        took_seconds = time.monotonic() - began
        self._is_slow = sum(found) * BLOCK_BYTES < took_seconds * _CACHED_BYTES_PER_SECOND
        return found

    async def _may_read(self, version: ObjectVersion) -> bool:
        name = version.key, version.etag
        while (asking := self._asking.get(name)) is not None:
            await asking.wait()
        if self._clock.boot_seconds() - self._proofs.get(name, float("-inf")) < self._proof_seconds:
            return True
        asking = self._asking[name] = trio.Event()
        try:
            told = await self._store.head(version.key)
        except FileSystemError:
            return False  # GET, which comes next, says why
        finally:
            del self._asking[name]
            asking.set()
        if (told.etag, told.size_bytes) != (version.etag, version.size_bytes):
            return False
        self.prove(version)
        return True

    async def _write(self) -> None:
        try:
            while self._waiting and await self._prepare():
                # It stays there until it is written: a task that is cancelled leaves it to `aclose`.
                batch = list(islice(self._waiting, _BATCH_BLOCKS))
                try:
                    await self._in_thread(self._writer, self._write_files, batch)
                except OSError as error:
                    self._fail(error)
                    break
                self._let_go(len(batch))
                if self._failing:
                    self._failing = False
                    log.info("blocks are kept in %s again", self._files.folder)
            self._let_go(len(self._waiting))
        finally:
            self._writing = False

    def _let_go(self, count: int) -> None:
        for _ in range(count):
            _, _, block = self._waiting.popleft()
            self._waiting_bytes -= len(block.view)

    def _write_files(self, batch: Sequence[tuple[ObjectVersion, int, Block]]) -> None:
        for version, index, block in batch:
            self._files.write(self._files.path(version, index), block.view)

    def _fail(self, error: OSError) -> None:
        """Go on without for a while; said once until it works again."""
        if not self._failing:
            self._failing = True
            log.warning("blocks are not kept in %s for now: %s", self._files.folder, error.strerror or error)
        self._pause_until = self._clock.boot_seconds() + PAUSE_SECONDS

    async def _in_thread(
        self,
        limiter: trio.CapacityLimiter,
        work: Callable[[*Arguments], Result],
        *arguments: *Arguments,
    ) -> Result:
        return await trio.to_thread.run_sync(work, *arguments, abandon_on_cancel=True, limiter=limiter)
