"""Decide how a large file is cut into the parts of a multipart upload.

S3's limits (Amazon S3 user guide, "Amazon S3 multipart upload limits"): 10,000 parts, every part
but the last at least 5 MiB, a part at most 5 GiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s3rolefs.model import GIB, MIB

if TYPE_CHECKING:
    from s3rolefs.fs.ranges import Ranges

SINGLE_PUT_LIMIT_BYTES = 16 * MIB
SINGLE_COPY_LIMIT_BYTES = 5 * GIB
PART_BYTES = 8 * MIB
# Of a file that is still being written: each part is a request that costs as much, whatever its size.
STREAM_PART_BYTES = 16 * MIB
LARGEST_FILE_BYTES = 5 * 1024 * GIB
# Every copied piece may have a changed one behind it: twice as many parts, and those of long copied pieces.
_PARTS_PLANNED = 3_500
_COPIES_PLANNED = 2_500
# S3 copies each range at the speed of one stream (radosgw all of them at that of one): so many at once, but
# each is a request that costs as much, whatever its size.
_COPIES_AT_ONCE = 8
_SMALLEST_COPY_BYTES = 256 * MIB
_LARGEST_COPY_BYTES = 512 * MIB
_STREAM_TIER_PARTS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Name one part: bytes [offset, offset + length); `copied` says S3 has them in the base version."""

    number: int
    offset: int
    length: int
    copied: bool = False


def stream_part(number: int) -> Part:
    """Return the full part `number` of an upload whose final size is not known.

    Sizes double every 1,000 parts: 16 MiB up to 4 GiB, which is more than S3's 5 TiB in 10,000 parts.
    """
    tier, place = divmod(number - 1, _STREAM_TIER_PARTS)
    length = STREAM_PART_BYTES << tier
    offset = STREAM_PART_BYTES * _STREAM_TIER_PARTS * ((1 << tier) - 1) + place * length
    return Part(number=number, offset=offset, length=length)


def stream_part_at(offset: int) -> int:
    """Return the number of the streamed part that holds a byte."""
    tier = (offset // (STREAM_PART_BYTES * _STREAM_TIER_PARTS) + 1).bit_length() - 1
    start = STREAM_PART_BYTES * _STREAM_TIER_PARTS * ((1 << tier) - 1)
    return tier * _STREAM_TIER_PARTS + (offset - start) // (STREAM_PART_BYTES << tier) + 1


def plan_parts(size: int, base_size: int, changed: Ranges) -> list[Part]:
    """Cut [0, size) into parts, copying what is unchanged of a base version of `base_size` bytes."""
    part_bytes = max(PART_BYTES, _share(size, _PARTS_PLANNED))
    at_once = min(max(_share(size, _COPIES_AT_ONCE), _SMALLEST_COPY_BYTES), _LARGEST_COPY_BYTES)
    copy_part_bytes = max(at_once, _share(size, _COPIES_PLANNED))
    smallest = part_bytes * 5 // 8
    pieces = _widen(_pieces(size, base_size, changed, part_bytes), smallest)
    parts: list[Part] = []
    for start, end, copied in pieces:
        length = copy_part_bytes if copied else part_bytes
        for position in range(start, max(start + 1, end - length + 1), length):
            # What is left over joins the last part, which may be nearly twice as long as the others.
            last = position + 2 * length > end
            parts.append(
                Part(
                    number=len(parts) + 1,
                    offset=position,
                    length=(end if last else position + length) - position,
                    copied=copied,
                )
            )
    return parts


def _share(size: int, count: int) -> int:
    """Return the size in whole MiB of one of `count` parts that together hold `size` bytes."""
    return -(-size // (count * MIB)) * MIB


def _pieces(size: int, base_size: int, changed: Ranges, worth_copying: int) -> list[tuple[int, int, bool]]:
    pieces: list[tuple[int, int, bool]] = []
    position = 0
    for start, end in changed.missing(0, min(size, base_size)):
        if end - start >= worth_copying:
            if start > position:
                pieces.append((position, start, False))
            pieces.append((start, end, True))
            position = end
    if position < size:
        pieces.append((position, size, False))
    return pieces


def _widen(pieces: list[tuple[int, int, bool]], smallest: int) -> list[tuple[int, int, bool]]:
    """Let a changed piece that is too small to be a part take bytes from the copied one behind it."""
    widened: list[tuple[int, int, bool]] = []
    for start, end, copied in pieces:
        begin = start
        if copied and widened and not widened[-1][2]:
            before, until, _ = widened[-1]
            lacking = smallest - (until - before)
            if lacking > 0:
                begin = until + lacking
                if end - begin < smallest:
                    begin = end
                widened[-1] = (before, begin, False)
        if begin == end:
            continue
        if not copied and widened and not widened[-1][2]:
            widened[-1] = (widened[-1][0], end, False)
        else:
            widened.append((begin, end, copied))
    return widened
