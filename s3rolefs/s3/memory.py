"""Be an object store in memory: the fake that tests and other rooms run against.

Behaves as Amazon S3 does where services differ: Last-Modified in whole seconds, that of a
multipart object the second its upload began, ETags by md5, parts of at least 5 MiB.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import trio

from s3rolefs.clock import Clock, SystemClock
from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import MIB, DeleteFailure, Key, ListPage, ObjectInfo, Stored, UploadedPart
from s3rolefs.s3.headers import PRESERVED
from s3rolefs.s3.holdings import HeldObject, HeldUpload, bytes_of, check_size, refusal
from s3rolefs.s3.store import BatchDeleteLimit, BlockFilled, Body, Buffers, ObjectAttributes, bytes_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MIN_PART_SIZE_BYTES = 5 * MIB
MAX_PART_NUMBER = 10_000
MAX_PAGE_LENGTH = 1000
ARCHIVED_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
DEFAULT_CONTENT_TYPE = "binary/octet-stream"


class MemoryStore:
    """Hold one bucket in memory; see `ObjectStore` for what each verb promises.

    Every verb passes a checkpoint before it acts, at one instant, and another before it answers,
    so that callers race as they do over a network. `counts` tells how often each verb was called.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock or SystemClock()
        self._objects: dict[Key, HeldObject] = {}
        self._uploads: dict[str, HeldUpload] = {}
        self._uploads_begun = 0

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "/",
        token: str | None = None,
        start_after: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """Return one page; the token is the last name given out, `start_after` is void beside it."""
        async with self._verb("list_page"):
            objects: list[ObjectInfo] = []
            prefixes: list[str] = []
            after = token or start_after or ""
            last = token or ""
            next_token = None
            # Code points sort as their UTF-8 does.
            keys = sorted(self._objects)
            for key in keys[bisect_left(keys, max(prefix, after)) :]:
                if not key.startswith(prefix):
                    break
                if key <= after:
                    continue
                end = key.find(delimiter, len(prefix)) if delimiter else -1
                name = key if end < 0 else key[: end + len(delimiter)]
                if end >= 0 and name == last:
                    continue
                if len(objects) + len(prefixes) == min(limit, MAX_PAGE_LENGTH):
                    next_token = last
                    break
                last = name
                if end < 0:
                    objects.append(self._info(key, self._objects[key], listed=True))
                else:
                    prefixes.append(name)
            return ListPage(objects=tuple(objects), prefixes=tuple(prefixes), next_token=next_token)

    async def head(self, key: Key) -> ObjectInfo:
        """Return an object's attributes."""
        async with self._verb("head"):
            return self._info(key, self._find(key))

    async def tags(self, key: Key) -> str:
        """Return an object's tags."""
        async with self._verb("tags"):
            return self._find(key).tags

    async def keep_tags(self, key: Key, tags: str) -> None:
        """Make sure of an object's tags: here they are never lost."""
        async with self._verb("keep_tags"):
            assert self._find(key).tags == tags

    async def get(
        self,
        key: Key,
        into: Buffers,
        *,
        length: int | None = None,
        offset: int = 0,
        if_match: str | None = None,
        on_filled: BlockFilled | None = None,
    ) -> ObjectInfo:
        """Read a range of one version, a checkpoint before each buffer."""
        async with self._verb("get"):
            found = self._find(key, if_match=if_match, readable=True)
            length = bytes_in(into) if length is None else length
            if length == 0:
                raise ValueError("a get needs room for at least one byte")
            if offset + length > len(found.data):
                raise StoreError(Reason.CORRUPT, f"only {len(found.data)} bytes are there", key=key)
            view = memoryview(found.data)
            for index in range(len(into)):
                await trio.lowlevel.checkpoint()
                buffer = into[index]
                buffer[:] = view[offset : offset + len(buffer)]
                offset += len(buffer)
                if on_filled is not None:
                    on_filled(index)
            return self._info(key, found)

    async def put(
        self,
        key: Key,
        body: Body,
        attributes: ObjectAttributes,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Store an object in one step."""
        async with self._verb("put"):
            self._check_target(key, if_match=if_match, if_none_match=if_none_match)
            data = bytes_of(body)
            return self._store(key, data, hashlib.md5(data).hexdigest(), attributes)

    async def copy(
        self,
        source: Key,
        target: Key,
        *,
        attributes: ObjectAttributes | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Copy an object; as in S3 the storage class is STANDARD unless `attributes` say otherwise."""
        async with self._verb("copy"):
            found = self._find(source, if_match=if_match, readable=True)
            self._check_target(target, if_none_match=if_none_match)
            if attributes is None:
                if source == target:
                    raise refusal("InvalidRequest", "a copy onto itself must change something", key=target)
                attributes = ObjectAttributes(metadata=found.metadata, headers=found.headers)
            headers = {"x-amz-tagging": found.tags, **attributes.headers}
            attributes = ObjectAttributes(metadata=attributes.metadata, headers=headers)
            return self._store(target, found.data, hashlib.md5(found.data).hexdigest(), attributes)

    async def delete(self, key: Key) -> None:
        """Delete one object."""
        async with self._verb("delete"):
            self._objects.pop(key, None)

    async def delete_many(self, keys: Sequence[Key]) -> Sequence[DeleteFailure]:
        """Delete up to 1,000 objects; here none of them ever fails."""
        async with self._verb("delete_many"):
            if len(keys) > BatchDeleteLimit:
                raise ValueError(f"at most {BatchDeleteLimit} keys at once")
            for key in keys:
                self._objects.pop(key, None)
            return ()

    async def create_multipart(self, key: Key, attributes: ObjectAttributes) -> str:
        """Begin a multipart upload and return its id."""
        async with self._verb("create_multipart"):
            check_size(key, attributes)
            self._uploads_begun += 1
            upload_id = f"upload-{self._uploads_begun}"
            self._uploads[upload_id] = HeldUpload(key=key, begun_ns=self._now_ns(), attributes=attributes)
            return upload_id

    async def upload_part(self, key: Key, upload_id: str, number: int, body: Body) -> UploadedPart:
        """Send one part."""
        async with self._verb("upload_part"):
            return self._store_part(key, upload_id, number, bytes_of(body))

    async def upload_part_copy(
        self,
        key: Key,
        upload_id: str,
        number: int,
        *,
        source: Key,
        offset: int,
        length: int,
        if_match: str | None = None,
    ) -> UploadedPart:
        """Make a part from bytes of an existing object."""
        async with self._verb("upload_part_copy"):
            found = self._find(source, if_match=if_match, readable=True)
            if offset + length > len(found.data):
                raise refusal("InvalidRange", "the source is shorter than the range", key=source, status=416)
            return self._store_part(key, upload_id, number, found.data[offset : offset + length])

    async def complete_multipart(
        self,
        key: Key,
        upload_id: str,
        parts: Sequence[UploadedPart],
        *,
        size_bytes: int,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Finish an upload; a part list or a size that is not what was sent is refused."""
        async with self._verb("complete_multipart"):
            upload = self._upload(key, upload_id)
            self._check_target(key, if_match=if_match, if_none_match=if_none_match)
            parts = sorted(parts, key=lambda part: part.number)
            numbers = [part.number for part in parts]
            if not numbers or len(set(numbers)) < len(numbers):
                raise refusal("InvalidPartOrder", "there must be parts, each of them once", key=key)
            if any(upload.parts.get(part.number, ("",))[0] != part.etag for part in parts):
                raise refusal("InvalidPart", "a part was not sent, or was replaced", key=key)
            pieces = [upload.parts[number][1] for number in numbers]
            if any(len(piece) < MIN_PART_SIZE_BYTES for piece in pieces[:-1]):
                raise refusal("EntityTooSmall", "a part before the last is below 5 MiB", key=key)
            data = b"".join(pieces)
            if len(data) != size_bytes:
                message = f"the parts hold {len(data)} bytes, {size_bytes} were announced"
                raise refusal("InvalidRequest", message, key=key)
            digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts)).hexdigest()
            etag = f"{digest}-{len(parts)}"
            del self._uploads[upload_id]
            return self._store(key, data, etag, upload.attributes, modified_ns=upload.begun_ns)

    async def abort_multipart(self, key: Key, upload_id: str) -> None:
        """Give an upload up."""
        async with self._verb("abort_multipart"):
            self._uploads.pop(upload_id, None)

    def upload_ids(self) -> frozenset[str]:
        """Return the ids of the uploads neither completed nor aborted (what a leak costs money for)."""
        return frozenset(self._uploads)

    @asynccontextmanager
    async def _verb(self, name: str) -> AsyncIterator[None]:
        self.counts[name] += 1
        await trio.lowlevel.checkpoint()
        try:
            yield
        except StoreError as error:
            error.operation = name
            raise
        await trio.lowlevel.checkpoint()

    def _now_ns(self) -> int:
        return int(self._clock.wall_seconds()) * 1_000_000_000

    def _find(self, key: Key, *, if_match: str | None = None, readable: bool = False) -> HeldObject:
        found = self._objects.get(key)
        if found is None:
            raise StoreError(Reason.NOT_FOUND, key=key, status=404, code="NoSuchKey")
        if if_match is not None and if_match != found.etag:
            raise StoreError(Reason.PRECONDITION, key=key, status=412, code="PreconditionFailed")
        if readable and found.storage_class in ARCHIVED_CLASSES:
            raise StoreError(Reason.ARCHIVED, key=key, status=403, code="InvalidObjectState")
        return found

    def _check_target(self, key: Key, *, if_match: str | None = None, if_none_match: bool = False) -> None:
        found = self._objects.get(key)
        changed = if_match is not None and (found is None or found.etag != if_match)
        if changed or (if_none_match and found is not None):
            raise StoreError(Reason.PRECONDITION, key=key, status=412, code="PreconditionFailed")

    def _info(self, key: Key, found: HeldObject, *, listed: bool = False) -> ObjectInfo:
        return ObjectInfo(
            key=key,
            size_bytes=len(found.data),
            etag=found.etag,
            last_modified_ns=found.last_modified_ns,
            storage_class=found.storage_class,
            metadata=None if listed else found.metadata,
            headers=None if listed else found.headers,
            asked_at_ns=self._now_ns(),
            tag_count=0 if listed else len(parse_qsl(found.tags, keep_blank_values=True)),
        )

    def _store(
        self, key: Key, data: bytes, etag: str, attributes: ObjectAttributes, *, modified_ns: int = 0
    ) -> Stored:
        check_size(key, attributes)
        now_ns = self._now_ns()
        headers = {"content-type": DEFAULT_CONTENT_TYPE, **attributes.headers}
        self._objects[key] = HeldObject(
            data=data,
            etag=etag,
            last_modified_ns=modified_ns or now_ns,
            storage_class=headers.get("x-amz-storage-class", "STANDARD"),
            metadata=dict(attributes.metadata),
            headers={name: headers[name] for name in PRESERVED if headers.get(name)},
            tags=headers.get("x-amz-tagging", ""),
        )
        return Stored(etag=etag, last_modified_ns=now_ns)

    def _upload(self, key: Key, upload_id: str) -> HeldUpload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise StoreError(Reason.NO_SUCH_UPLOAD, key=key, status=404, code="NoSuchUpload")
        return upload

    def _store_part(self, key: Key, upload_id: str, number: int, data: bytes) -> UploadedPart:
        upload = self._upload(key, upload_id)
        if not 1 <= number <= MAX_PART_NUMBER:
            raise refusal("InvalidArgument", f"part number {number} is out of range", key=key)
        etag = hashlib.md5(data).hexdigest()
        upload.parts[number] = (etag, data)
        return UploadedPart(number=number, etag=etag)
