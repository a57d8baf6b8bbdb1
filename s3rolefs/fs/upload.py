"""Send large files in parts: all at once when they are closed, or while they are still written."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import FileSystemError, Reason, StoreError
from s3rolefs.fs.concurrency import for_each
from s3rolefs.fs.parts import SINGLE_COPY_LIMIT_BYTES, Part, plan_parts, stream_part, stream_part_at
from s3rolefs.fs.ranges import Ranges
from s3rolefs.fs.tags import keep_tags

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.blocks import ObjectVersion
    from s3rolefs.fs.spool import Spool
    from s3rolefs.model import Key, ObjectInfo, Stored, UploadedPart
    from s3rolefs.s3.store import ObjectAttributes, ObjectStore

PARTS_AT_ONCE = 8
_ABORT_SECONDS = 10.0
# radosgw 16 asks no policy of a role for the source of such a copy; some services know none.
_NO_PART_COPIES = (Reason.ACCESS_DENIED, Reason.UNSUPPORTED)


async def send_parts(
    store: ObjectStore,
    key: Key,
    attributes: ObjectAttributes,
    parts: Iterable[Part],
    spool: Spool | None,
    base: ObjectVersion | None,
    *,
    if_match: str | None,
    if_none_match: bool,
    bring: Callable[[int, int], Awaitable[None]] | None = None,
) -> Stored:
    """Store an object from parts in the spool and parts copied from `base`; aborted if it fails.

    `bring` makes bytes of `base` local, for where the service does not let them be copied.
    """
    upload_id = await store.create_multipart(key, attributes)
    sent: list[UploadedPart] = []
    size_bytes = 0
    # What is copied onto itself is proved by the condition of the completion.
    proved = base is not None and base.key == key and base.etag == if_match

    async def copy(part: Part) -> UploadedPart | None:
        assert base is not None
        try:
            return await store.upload_part_copy(
                key,
                upload_id,
                part.number,
                source=base.key,
                offset=part.offset,
                length=part.length,
                if_match=None if proved else base.etag,
            )
        except StoreError as error:
            if bring is None or error.reason not in _NO_PART_COPIES:
                raise
            await bring(part.offset, part.offset + part.length)
            return None

    async def send(part: Part) -> None:
        nonlocal size_bytes
        size_bytes += part.length
        uploaded = await copy(part) if part.copied else None
        if uploaded is None:
            assert spool is not None
            uploaded = await store.upload_part(
                key, upload_id, part.number, spool.span(part.offset, part.length)
            )
        sent.append(uploaded)

    try:
        await for_each(parts, send, limit=PARTS_AT_ONCE)
        stored = await store.complete_multipart(
            key,
            upload_id,
            sorted(sent, key=lambda part: part.number),
            size_bytes=size_bytes,
            if_match=if_match,
            if_none_match=if_none_match,
        )
    except BaseException:
        await _abort(store, key, upload_id)
        raise
    await keep_tags(store, key, attributes)
    return stored


class _Running:
    """Follow one part that is on its way."""

    __slots__ = ("done", "scope")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.scope = trio.CancelScope()


class StreamingUpload:
    """Send full parts of a file while a sequential writer is still adding to it.

    A part that is written again later is sent again under the same number. Invariant: a number in
    `_sent` holds exactly what the spool holds, unless it is in `_stale`.
    """

    def __init__(
        self, store: ObjectStore, background: Background, key: Key, attributes: ObjectAttributes, spool: Spool
    ) -> None:
        self.key = key
        self.attributes = attributes
        self._store = store
        self._background = background
        self._spool = spool
        self._upload_id: str | None = None
        self._begun = trio.Lock()
        self._sent: dict[int, UploadedPart] = {}
        self._stale: set[int] = set()
        self._running: dict[int, _Running] = {}
        self._next = 1
        self._available_bytes = 0
        self._closing = False

    def advance(self, available_bytes: int) -> None:
        """Start to send every further part that is complete; the rest waits for its turn."""
        self._available_bytes = available_bytes
        while len(self._running) < PARTS_AT_ONCE and not self._closing:
            part = stream_part(self._next)
            if part.offset + part.length > available_bytes:
                return
            self._next += 1
            self._running[part.number] = _Running()
            self._background.start_soon(self._send_early, part)

    async def about_to_change(self, start: int, end: int) -> None:
        """Wait until no part with these bytes is on its way, and remember that it must be sent again."""
        number = stream_part_at(start)
        # More parts may be started while one is waited for: `_next` is asked each time.
        while number < self._next and stream_part(number).offset < end:
            running = self._running.get(number)
            if running is not None:
                await running.done.wait()
            self._stale.add(number)
            number += 1

    def fits(self, size_bytes: int) -> bool:
        """Tell whether no part lies beyond a file of that size: radosgw wants every sent part completed."""
        return self._next - 1 <= stream_part_at(size_bytes - 1)

    async def finish(self, size_bytes: int, *, if_match: str | None, if_none_match: bool) -> Stored:
        """Send what is missing and complete the object."""
        await self._settle()
        missing: list[Part] = []
        numbers = range(1, stream_part_at(size_bytes - 1) + 1)
        for number in numbers:
            part = stream_part(number)
            length = min(part.length, size_bytes - part.offset)
            if number not in self._sent or number in self._stale or length < part.length:
                missing.append(Part(number=number, offset=part.offset, length=length))
        await for_each(missing, self._send, limit=PARTS_AT_ONCE)
        assert self._upload_id is not None
        return await self._store.complete_multipart(
            self.key,
            self._upload_id,
            [self._sent[number] for number in numbers],
            size_bytes=size_bytes,
            if_match=if_match,
            if_none_match=if_none_match,
        )

    async def abort(self) -> None:
        """Give the upload up."""
        with trio.CancelScope(shield=True):
            for running in self._running.values():
                running.scope.cancel()
            await self._settle()
            if self._upload_id is not None:
                await _abort(self._store, self.key, self._upload_id)

    async def _settle(self) -> None:
        self._closing = True
        while self._running:
            await next(iter(self._running.values())).done.wait()

    async def _send_early(self, part: Part) -> None:
        try:
            with self._running[part.number].scope:
                await self._send(part)
        except FileSystemError:
            # Not reported here: `finish` sends the part again and reports what it meets.
            self._stale.add(part.number)
        finally:
            self._running.pop(part.number).done.set()
        self.advance(self._available_bytes)

    async def _send(self, part: Part) -> None:
        async with self._begun:
            if self._upload_id is None:
                self._upload_id = await self._store.create_multipart(self.key, self.attributes)
        self._stale.discard(part.number)
        self._sent[part.number] = await self._store.upload_part(
            self.key, self._upload_id, part.number, self._spool.span(part.offset, part.length)
        )


def copies_everything(info: ObjectInfo) -> bool:
    """Tell whether S3 copies by itself what stands beside an object's bytes.

    It does not copy the storage class, nor anything with a copy in parts.
    """
    return info.storage_class in ("", "STANDARD") and info.size_bytes <= SINGLE_COPY_LIMIT_BYTES


async def copy_object(
    store: ObjectStore,
    source: ObjectVersion,
    target: Key,
    attributes: ObjectAttributes | None,
    *,
    if_none_match: bool = False,
) -> Stored:
    """Copy a version server-side, in parts where it is too large for one COPY.

    `attributes` None keeps what stands beside the bytes, where S3 `copies_everything`.
    """
    if source.size_bytes > SINGLE_COPY_LIMIT_BYTES:
        assert attributes is not None
        return await send_parts(
            store,
            target,
            attributes,
            plan_parts(source.size_bytes, source.size_bytes, Ranges()),
            None,
            source,
            if_match=source.etag if source.key == target else None,
            if_none_match=if_none_match,
        )
    stored = await store.copy(
        source.key, target, attributes=attributes, if_match=source.etag, if_none_match=if_none_match
    )
    if attributes is not None:
        await keep_tags(store, target, attributes)
    return stored


async def _abort(store: ObjectStore, key: Key, upload_id: str) -> None:
    # Parts left behind cost storage until a lifecycle rule removes them; the file itself is not affected.
    with (
        trio.CancelScope(deadline=trio.current_time() + _ABORT_SECONDS, shield=True),
        contextlib.suppress(FileSystemError),
    ):
        await store.abort_multipart(key, upload_id)
