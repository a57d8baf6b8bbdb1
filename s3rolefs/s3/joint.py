"""Show several stores as one: what each holds, below a prefix of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import DeleteFailure, Key, ListPage, ObjectInfo, Stored, UploadedPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3rolefs.s3.store import BlockFilled, Body, Buffers, ObjectAttributes, ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Say that the keys beginning with `outer` are those of `store` that begin with `inner`.

    Both are "" or end with "/".
    """

    outer: str
    store: ObjectStore
    inner: str

    def into(self, key: str) -> Key:
        """Return what the store calls a key of ours."""
        return Key(self.inner + key[len(self.outer) :])

    def out(self, key: str) -> Key:
        """Return what we call a key of the store."""
        return Key(self.outer + key[len(self.inner) :])

    def info(self, found: ObjectInfo) -> ObjectInfo:
        """Return what the store says of an object, with our key."""
        return replace(found, key=self.out(found.key))


class JointStore:
    """Pass each call on to the part that its key belongs to.

    Outside of all parts nothing is found and nothing can be stored (NOT_PERMITTED); what is above them
    lists as common prefixes, empty or not. A copy from one store to another raises CROSS_DEVICE before
    anything is asked.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(sorted(parts, key=lambda part: part.outer.encode()))

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "/",
        token: str | None = None,
        start_after: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """Return one page of a part, or the prefixes of the parts (then `delimiter` must be "/")."""
        part = self._find(prefix)
        if part is None:
            above = [part.outer for part in self._parts if part.outer.startswith(prefix)]
            if above and delimiter != "/":
                raise StoreError(Reason.UNSUPPORTED, "several buckets cannot be listed as one", key=prefix)
            return ListPage(objects=(), prefixes=tuple(above), next_token=None)
        page = await part.store.list_page(
            part.into(prefix),
            delimiter=delimiter,
            token=token,
            start_after=None if start_after is None else part.into(start_after),
            limit=limit,
        )
        return ListPage(
            objects=tuple(part.info(found) for found in page.objects),
            prefixes=tuple(part.out(found) for found in page.prefixes),
            next_token=page.next_token,
        )

    async def head(self, key: Key) -> ObjectInfo:
        """Return an object's attributes."""
        part = self._holding(key)
        return part.info(await part.store.head(part.into(key)))

    async def tags(self, key: Key) -> str:
        """Return an object's tags."""
        part = self._holding(key)
        return await part.store.tags(part.into(key))

    async def keep_tags(self, key: Key, tags: str) -> None:
        """Make sure of an object's tags."""
        part = self._holding(key)
        await part.store.keep_tags(part.into(key), tags)

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
        """Read a range."""
        part = self._holding(key)
        return part.info(
            await part.store.get(
                part.into(key), into, length=length, offset=offset, if_match=if_match, on_filled=on_filled
            )
        )

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
        part = self._taking(key)
        return await part.store.put(
            part.into(key), body, attributes, if_match=if_match, if_none_match=if_none_match
        )

    async def copy(
        self,
        source: Key,
        target: Key,
        *,
        attributes: ObjectAttributes | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Copy within one store; CROSS_DEVICE."""
        part = self._joining(source, target)
        return await part.store.copy(
            part.into(source),
            part.into(target),
            attributes=attributes,
            if_match=if_match,
            if_none_match=if_none_match,
        )

    async def delete(self, key: Key) -> None:
        """Delete one object."""
        if (part := self._find(key)) is not None:
            await part.store.delete(part.into(key))

    async def delete_many(self, keys: Sequence[Key]) -> Sequence[DeleteFailure]:
        """Delete objects, in as many requests as there are stores they lie in."""
        failures: list[DeleteFailure] = []
        for part in self._parts:
            inner = [part.into(key) for key in keys if self._find(key) is part]
            if inner:
                found = await part.store.delete_many(inner)
                failures += [replace(failure, key=part.out(failure.key)) for failure in found]
        return failures

    async def create_multipart(self, key: Key, attributes: ObjectAttributes) -> str:
        """Begin a multipart upload."""
        part = self._taking(key)
        return await part.store.create_multipart(part.into(key), attributes)

    async def upload_part(self, key: Key, upload_id: str, number: int, body: Body) -> UploadedPart:
        """Send one part."""
        part = self._taking(key)
        return await part.store.upload_part(part.into(key), upload_id, number, body)

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
        """Make a part from bytes of an object of the same store; CROSS_DEVICE."""
        part = self._joining(source, key)
        return await part.store.upload_part_copy(
            part.into(key),
            upload_id,
            number,
            source=part.into(source),
            offset=offset,
            length=length,
            if_match=if_match,
        )

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
        """Finish an upload."""
        part = self._taking(key)
        return await part.store.complete_multipart(
            part.into(key),
            upload_id,
            parts,
            size_bytes=size_bytes,
            if_match=if_match,
            if_none_match=if_none_match,
        )

    async def abort_multipart(self, key: Key, upload_id: str) -> None:
        """Give an upload up."""
        if (part := self._find(key)) is not None:
            await part.store.abort_multipart(part.into(key), upload_id)

    def _find(self, key: str) -> Part | None:
        return next((part for part in self._parts if key.startswith(part.outer)), None)

    def _holding(self, key: Key) -> Part:
        part = self._find(key)
        if part is None:
            raise StoreError(Reason.NOT_FOUND, key=key)
        return part

    def _taking(self, key: Key) -> Part:
        part = self._find(key)
        if part is None:
            raise StoreError(Reason.NOT_PERMITTED, "there is no bucket for it", key=key)
        return part

    def _joining(self, source: Key, target: Key) -> Part:
        part = self._holding(source)
        if self._taking(target) is not part:
            raise StoreError(Reason.CROSS_DEVICE, "it would lead into another bucket", key=target)
        return part
