"""Lend page-aligned memory for blocks, so that fresh pages are not faulted in for every block.

A block's memory goes back by itself when nobody refers to the block any more: a reader that still
waits for it, the fetch that fills it and the cache each hold a reference, so a buffer can never be
lent twice at once. A block whose fetch failed is not lent again: its worker may still be writing.
"""

from __future__ import annotations

import mmap

from s3rolefs.model import MIB

BLOCK_BYTES = MIB


class BufferPool:
    """Keep up to `spare_blocks` unused buffers of one block each."""

    def __init__(self, spare_blocks: int = 64) -> None:
        self._spare_blocks = spare_blocks
        self._spare: list[mmap.mmap] = []

    def lend(self, size_bytes: int) -> Block:
        """Return an unfilled block of `size_bytes` (at most BLOCK_BYTES)."""
        if size_bytes < BLOCK_BYTES:
            return Block(memoryview(bytearray(size_bytes)), None, None)
        memory = (
            self._spare.pop()
            if self._spare
            else mmap.mmap(-1, BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        )
        return Block(memoryview(memory), memory, self)

    def take_back(self, memory: mmap.mmap) -> None:
        """Keep a buffer for the next block, or let it go when enough are spare."""
        if len(self._spare) < self._spare_blocks:
            self._spare.append(memory)


class Block:
    """Hold one block of one object version; `filled` turns true once, on the trio loop."""

    __slots__ = ("_memory", "_pool", "filled", "view")

    def __init__(self, view: memoryview, memory: mmap.mmap | None, pool: BufferPool | None) -> None:
        self.view = view
        self.filled = False
        self._memory = memory
        self._pool = pool

    def __del__(self) -> None:
        if self.filled and self._pool is not None and self._memory is not None:
            self._pool.take_back(self._memory)
