"""Bring blocks from where they are: from disk what is there, the rest from the store."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.cache.fetches import Run
from s3rolefs.errors import FileSystemError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from s3rolefs.cache.blocks import ObjectVersion
    from s3rolefs.cache.buffers import Block
    from s3rolefs.cache.disktier import DiskTier
    from s3rolefs.cache.fetches import Fetch, Wanted
    from s3rolefs.cache.line import Line
    from s3rolefs.model import ObjectInfo
    from s3rolefs.s3.store import ObjectStore

    Arrived = Callable[[Wanted], None]
    Failed = Callable[[Sequence[Wanted], FileSystemError | None], None]

_ON_DISK_LIMIT = 10_000


class Sources:
    """Fill the blocks of a fetch; pieces of blocks are never on disk."""

    def __init__(self, store: ObjectStore, disk: DiskTier | None, line: Line) -> None:
        self._store = store
        self._disk = disk
        self._line = line
        # Versions whose blocks were last found on disk.
        self._on_disk: LRUCache[object, None] = LRUCache(_ON_DISK_LIMIT)

    @property
    def has_disk(self) -> bool:
        """Tell whether blocks are kept on disk."""
        return self._disk is not None

    def is_on_disk(self, version: ObjectVersion) -> bool:
        """Tell whether the blocks of a version were last found on disk."""
        return version.token in self._on_disk

    def keep(self, version: ObjectVersion, index: int, block: Block) -> None:
        """Let a filled block be found on disk from now on, where there is one."""
        if self._disk is not None and version.block_bytes == BLOCK_BYTES:
            self._disk.keep(version, index, block)

    async def fill(self, fetch: Fetch, arrived: Arrived, failed: Failed) -> ObjectInfo | None:
        """Fill blocks; return what S3 said if one request brought them all."""
        disk, version = self._disk, fetch.version
        if disk is None or version.block_bytes != BLOCK_BYTES:
            return await self._get(Run(fetch, 0, len(fetch)), arrived, failed)
        found = await disk.read(version, fetch.first, fetch)
        if all(found):
            self._on_disk[version.token] = None
        else:
            self._on_disk.pop(version.token, None)
        if not any(found):
            return await self._get(Run(fetch, 0, len(fetch)), arrived, failed)
        async with trio.open_nursery() as nursery:
            for on_disk, places in groupby(range(len(fetch)), found.__getitem__):
                place, *more = places
                run = Run(fetch, place, 1 + len(more))
                if not on_disk:
                    nursery.start_soon(self._get, run, arrived, failed)
                    continue
                for entry in run.wanted:
                    arrived(entry)
        return None

    async def _get(self, run: Run, arrived: Arrived, failed: Failed) -> ObjectInfo | None:
        """Fill a run of blocks with one request."""
        version = run.fetch.version
        flow = self._line.flow()

        def filled(index: int) -> None:
            entry = run.wanted[index]
            flow.arrived(entry.size_bytes, run.filled_at(index), held_up=run.fetch.was_held_up)
            if entry.block is not None:
                self.keep(version, run.first + index, entry.block)
            arrived(entry)

        try:
            told = await self._store.get(
                version.key,
                run,
                length=run.size_bytes,
                offset=run.first * version.block_bytes,
                if_match=version.etag,
                on_filled=filled,
            )
        except FileSystemError as error:
            if error.reason is Reason.CORRUPT:
                # It is shorter than it was said to be: what there is of it is read block by block.
                failed(run.wanted[:-1], None)
            gone = error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND, Reason.CORRUPT)
            replaced = FileSystemError(Reason.STALE, "the object was replaced or removed")
            failed(run.wanted, replaced if gone else error)
            return None
        finally:
            flow.end()
        if self._disk is not None:
            self._disk.prove(version)
        return told
