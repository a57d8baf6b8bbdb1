"""Fetch ahead of a reader: a window that doubles while the file is read on, and collapses on a seek."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.cache.buffers import BLOCK_BYTES

if TYPE_CHECKING:
    from s3rolefs.cache.blocks import BlockCache, ObjectVersion

_FIRST_WINDOW_BLOCKS = 2
_LARGEST_WINDOW_BLOCKS = 96
_REQUEST_BLOCKS = 8
# The kernel's own read-ahead may ask for the second piece before the first: that is no seek.
_REORDER_BYTES = 2 * BLOCK_BYTES


class Reader:
    """Follow one open descriptor's reads."""

    def __init__(self, blocks: BlockCache) -> None:
        self._blocks = blocks
        self._expected = 0
        self._window_blocks = _FIRST_WINDOW_BLOCKS // 2
        self._ahead_block = 0

    async def read(self, version: ObjectVersion, offset: int, size: int) -> memoryview | bytes:
        """Return bytes of a version, less at its end; a view is valid until the next await."""
        end = min(offset + size, version.size_bytes)
        if offset >= end:
            return b""
        self.look_ahead(version, offset, end)
        return await self._blocks.read(version, offset, end - offset)

    def look_ahead(self, version: ObjectVersion, offset: int, end: int) -> None:
        """Ask for what this read needs, and for what a sequential reader will need next."""
        first, last = offset // BLOCK_BYTES, -(-end // BLOCK_BYTES)
        if abs(offset - self._expected) > _REORDER_BYTES:
            self._window_blocks = 0
            self._ahead_block = last
        elif last + self._window_blocks // 2 >= self._ahead_block:
            self._window_blocks = min(max(1, 2 * self._window_blocks), _LARGEST_WINDOW_BLOCKS)
        self._expected = max(end, self._expected) if self._window_blocks else end
        self._blocks.fetch_missing(version, first, last, _REQUEST_BLOCKS)
        room = self._blocks.room_blocks(version)
        if self._window_blocks == 0 or room <= 0:
            return
        until = min(last + min(self._window_blocks, room), version.block_count())
        # Whole requests only (or the end of the file): many small ones would cost more than they bring.
        if until - self._ahead_block >= min(_REQUEST_BLOCKS, self._window_blocks) or (
            until == version.block_count() and until > self._ahead_block
        ):
            self._blocks.fetch_missing(version, max(last, self._ahead_block), until, _REQUEST_BLOCKS)
            self._ahead_block = until
