"""Hold the changed content of one file until S3 has it.

All descriptors of an inode share its writer: what one wrote, every other reads. Bytes that nobody
changed or asked for stay in S3. The caller holds the inode's lock around everything that awaits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import ctime_text
from s3rolefs.fs.parts import LARGEST_FILE_BYTES, SINGLE_PUT_LIMIT_BYTES, STREAM_PART_BYTES, plan_parts
from s3rolefs.fs.spool import Spool
from s3rolefs.fs.upload import StreamingUpload, send_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.blocks import BlockCache, ObjectVersion
    from s3rolefs.fs.unsent import KeptVersion
    from s3rolefs.model import Key, ObjectInfo, Stored
    from s3rolefs.s3.store import ObjectAttributes, ObjectStore

_FETCH_BLOCKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Describe one attempt to store a file: its ctime, in nanoseconds, is nobody else's.

    `revision` is that of the writer; None: an earlier mount's, with something else than what there is now.
    """

    revision: int | None
    size_bytes: int
    ctime: str

    def made(self, found: ObjectInfo) -> bool:
        """Tell whether an object that S3 has (its whole HEAD) came from this attempt."""
        return (found.metadata or {}).get("ctime") == self.ctime and found.size_bytes == self.size_bytes


class Writer:
    """Collect writes over a base version (None: the file is new or was emptied).

    `revision` grows with each change of the content or of what rides on its upload;
    `committed_revision` is what S3 has (-1: nothing yet, not even an empty object). `attempts` are those
    of which nobody knows whether S3 took them.
    """

    def __init__(
        self,
        store: ObjectStore,
        blocks: BlockCache,
        background: Background,
        spool_dir: str,
        base: ObjectVersion | None,
        *,
        new: bool,
    ) -> None:
        self._store = store
        self._blocks = blocks
        self._background = background
        self._base = base
        self._base_limit = base.size_bytes if base is not None else 0
        self._stream: StreamingUpload | None = None
        self.spool = Spool(spool_dir)
        self.size_bytes = self._base_limit
        self.revision = 0
        self.committed_revision = -1 if new else 0
        self.attempts: list[Attempt] = []

    @property
    def dirty(self) -> bool:
        """Tell whether S3 lacks something."""
        return self.revision != self.committed_revision

    @property
    def never_stored(self) -> bool:
        """Tell whether S3 has no object of this file yet."""
        return self.committed_revision < 0

    def touch(self) -> None:
        """Note that something which rides on the upload changed."""
        self.revision += 1

    async def write(self, offset: int, content: bytes, stream: Callable[[], StreamingUpload | None]) -> None:
        """Put bytes in place; EFBIG and ENOSPC before any is accepted. `stream` begins an early upload."""
        end = offset + len(content)
        if end > LARGEST_FILE_BYTES:
            raise FileSystemError(Reason.TOO_LARGE, "an S3 object holds at most 5 TiB")
        if self._stream is not None:
            await self._stream.about_to_change(min(offset, self.size_bytes), max(end, offset))
        if offset > self.size_bytes:
            self.spool.extend(self.size_bytes, offset)
        self.spool.write(offset, content)
        self.size_bytes = max(self.size_bytes, end)
        self.revision += 1
        if self.size_bytes >= STREAM_PART_BYTES and not self._base_limit and end == self.size_bytes:
            if self._stream is None:
                self._stream = stream()
            if self._stream is not None:
                self._stream.advance(self.spool.present.first_gap())

    async def truncate(self, size: int) -> None:
        """Cut the file, or extend it with zeros."""
        if size > LARGEST_FILE_BYTES:
            raise FileSystemError(Reason.TOO_LARGE, "an S3 object holds at most 5 TiB")
        if size == self.size_bytes:
            return
        if self._stream is not None:
            await self._stream.about_to_change(min(size, self.size_bytes), max(size, self.size_bytes))
        if size < self.size_bytes:
            self.spool.cut(size)
            self._base_limit = min(self._base_limit, size)
        else:
            self.spool.extend(self.size_bytes, size)
        self.size_bytes = size
        self.revision += 1

    async def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file as it is now, less at its end."""
        end = min(offset + size, self.size_bytes)
        if offset >= end:
            return b""
        gaps = self.spool.present.missing(offset, end)
        if not gaps:
            return self.spool.read(offset, end - offset)
        assert self._base is not None
        content = bytearray(self.spool.read(offset, end - offset))
        for start, until in gaps:
            content[start - offset : until - offset] = await self._blocks.read(
                self._base, start, until - start
            )
        return bytes(content)

    async def bring(self, start: int, end: int) -> None:
        """Make [start, end) local, from the base version."""
        for begin, until in self.spool.present.missing(start, end):
            assert self._base is not None
            position = begin
            while position < until:
                first = position // BLOCK_BYTES
                last = min(-(-until // BLOCK_BYTES), first + 2 * _FETCH_BLOCKS)
                self._blocks.fetch_missing(self._base, first, last, _FETCH_BLOCKS)
                length = min(until, (first + 1) * BLOCK_BYTES) - position
                content = await self._blocks.read(self._base, position, length)
                self.spool.write(position, content, changed=False)
                position += length

    async def send(
        self, key: Key, attributes: ObjectAttributes, *, if_match: str | None, if_none_match: bool
    ) -> tuple[Stored, ObjectAttributes]:
        """Store the content under `key`, in the way that moves the fewest bytes.

        Returns what was stored with which attributes: an upload that began early has older ones.
        """
        if self._stream is not None:
            stream, self._stream = self._stream, None
            if self.size_bytes >= STREAM_PART_BYTES and stream.fits(self.size_bytes) and stream.key == key:
                self.attempted(stream.attributes)
                try:
                    stored = await stream.finish(
                        self.size_bytes, if_match=if_match, if_none_match=if_none_match
                    )
                except BaseException:
                    await stream.abort()
                    raise
                return stored, stream.attributes
            await stream.abort()
        self.attempted(attributes)
        if self.size_bytes < SINGLE_PUT_LIMIT_BYTES:
            await self.bring(0, self.size_bytes)
            body = self.spool.span(0, self.size_bytes)
            stored = await self._store.put(
                key, body, attributes, if_match=if_match, if_none_match=if_none_match
            )
            return stored, attributes
        base_limit = self._base_limit if self._base is not None else 0
        parts = plan_parts(self.size_bytes, base_limit, self.spool.changed)
        for part in parts:
            if not part.copied:
                await self.bring(part.offset, part.offset + part.length)
        stored = await send_parts(
            self._store,
            key,
            attributes,
            parts,
            self.spool,
            self._base,
            if_match=if_match,
            if_none_match=if_none_match,
            bring=self.bring,
        )
        return stored, attributes

    def attempted(self, attributes: ObjectAttributes) -> None:
        """Note that S3 was, or is about to be, asked to store what there is now."""
        self.attempts.append(self._attempt_with(attributes))

    def other_attempts(self, ctime: str) -> list[Attempt]:
        """Return what S3 may have taken by the time this process has died, but for what there is now."""
        now = Attempt(revision=self.revision, size_bytes=self.size_bytes, ctime=ctime)
        streamed = [] if self._stream is None else [self._attempt_with(self._stream.attributes)]
        return [attempt for attempt in [*self.attempts, *streamed] if attempt != now]

    def _attempt_with(self, attributes: ObjectAttributes) -> Attempt:
        ctime = attributes.metadata["ctime"]
        return Attempt(revision=self.revision, size_bytes=self.size_bytes, ctime=ctime)

    def committed(self, version: ObjectVersion) -> None:
        """Note that S3 has everything, as `version`."""
        self.committed_revision = self.revision
        self._base = version
        self._base_limit = version.size_bytes
        self.spool.changed.clear()

    def rebase(self, version: ObjectVersion) -> None:
        """Note that S3 has the content below the changes under another name or ETag."""
        self._base = version
        self.committed_revision = max(self.committed_revision, 0)

    def adopt(self, data: Path, kept: KeptVersion) -> None:
        """Take over what an earlier mount kept; it may have ended while S3 was taking it, or before that."""
        length = self.spool.adopt(data, kept.present, kept.changed)
        self.size_bytes = min(length, kept.size_bytes)
        self._base_limit = min(self._base_limit, self.size_bytes) if kept.uses_base else 0
        self.revision += 1
        others = [Attempt(revision=None, size_bytes=size, ctime=ctime) for ctime, size in kept.attempts]
        ctime = ctime_text(kept.attributes)
        now = Attempt(revision=self.revision, size_bytes=kept.size_bytes, ctime=ctime)
        self.attempts = [*others, now]

    def whole_content(self) -> bytes | None:
        """Return a small file's content when all of it is in memory."""
        if not self.spool.in_memory or self.spool.present.missing(0, self.size_bytes):
            return None
        return self.spool.read(0, self.size_bytes)

    async def close(self) -> None:
        """Drop everything; an upload that was begun is given up."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.abort()
        self.spool.close()
