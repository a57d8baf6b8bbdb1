"""Lend page-aligned memory for blocks, so that fresh pages are not faulted in for every block.

A block's memory goes back by itself when nobody refers to the block any more: a reader that still
waits for it, the fetch that fills it and the cache each hold a reference, so a buffer can never be
lent twice at once. A block whose fetch failed is not lent again: its worker may still be writing.
What went back last is lent first, as the processor's caches may still hold it.
"""

from __future__ import annotations

import mmap

from s3rolefs.model import KIB, MIB

BLOCK_BYTES = MIB
# What a lone read is worth at least, where a whole block is too much.
PIECE_BYTES = 64 * KIB

# Shared memory, Python's default, costs more where it is touched first (and huge pages, on some virtual
# machines, much more).
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class BufferPool:
    """Keep up to `spare_blocks` unused buffers of one block each. Any thread may lend."""

    def __init__(self, spare_blocks: int = 64) -> None:
        self._spare_blocks = spare_blocks
        self._spare: list[memoryview] = []

    def lend(self, size_bytes: int) -> Block:
        """Return an unfilled block of `size_bytes` (at most BLOCK_BYTES)."""
        if size_bytes < BLOCK_BYTES:
            return Block(memoryview(bytearray(size_bytes)), None)
        try:
            return Block(self._spare.pop(), self)
        except IndexError:
            return Block(memoryview(mmap.mmap(-1, BLOCK_BYTES, flags=_PRIVATE)), self)

    def take_back(self, memory: memoryview) -> None:
        """Keep a buffer for the next block, or let it go when enough are spare."""
        if len(self._spare) < self._spare_blocks:
            self._spare.append(memory)


class Block:
    """Hold one block of one object version; `filled` turns true once, on the trio loop."""

    __slots__ = ("_pool", "filled", "view")

    def __init__(self, view: memoryview, pool: BufferPool | None) -> None:
        self.view = view
        self.filled = False
        self._pool = pool

    def __del__(self) -> None:
        if self.filled and self._pool is not None:
            self._pool.take_back(self.view)
