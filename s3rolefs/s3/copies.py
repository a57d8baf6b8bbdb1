"""Copy objects, and parts of objects, inside one bucket on the server's side.

A condition on the source is spelt `x-amz-copy-source-if-match`; radosgw 16 overlooks that, understands
`x-amz-copy-if-match` for CopyObject, and nothing for UploadPartCopy; moto overlooks all of them.
So what a service does is tried once, with an ETag that no object has, when a second copy gains by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import FileSystemError, Reason, StoreError
from s3rolefs.model import MIB, Key, ObjectInfo, Stored, UploadedPart
from s3rolefs.s3 import outcomes, requests, wire
from s3rolefs.s3.attempt import FailureKind
from s3rolefs.s3.headers import stored
from s3rolefs.s3.writes import as_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3rolefs.s3.exchange import Exchange
    from s3rolefs.s3.requests import Request
    from s3rolefs.s3.store import ObjectAttributes
    from s3rolefs.s3.writes import Writer

# A copy whose size nobody told is given the time of this many bytes, and once more after a HEAD.
PRESUMED_COPY_BYTES = 640 * MIB
IMPOSSIBLE_ETAG = "0" * 32
# S3's clock and Last-Modified count whole seconds.
_CLOCK_GRAIN_NS = 2_000_000_000


class Copier:
    """Copy inside one bucket; `writer` looks at objects and knows the service."""

    def __init__(self, exchange: Exchange, writer: Writer, *, bucket: str) -> None:
        self._exchange = exchange
        self._writer = writer
        self._bucket = bucket
        self._copied = False
        self._trying = trio.Lock()

    async def copy(
        self,
        source: Key,
        target: Key,
        *,
        attributes: ObjectAttributes | None,
        if_match: str | None,
        if_none_match: bool,
    ) -> Stored:
        """Copy one object of at most 5 GiB, as `ObjectStore.copy` says."""
        capabilities = await self._writer.capabilities()
        honours_target = capabilities.copy_honours_target_condition
        target_conditions = {"if-none-match": "*"} if if_none_match and honours_target else {}

        async def copy_if(etag: str | None) -> Stored:
            conditions = {**target_conditions, **(await self._source_conditions(etag))}
            return await self._copy(source, target, attributes, conditions)

        async def look(*, at_source: bool) -> None:
            """Hold the conditions that the service does not."""
            at_target = if_none_match and not honours_target
            found = await self._look([target] * at_target + [source] * at_source)
            if at_target and found[target] is not None:
                raise _refused(target, "an object is there already")
            if at_source:
                there = found[source]
                if there is None:
                    raise StoreError(
                        Reason.NOT_FOUND, "there is nothing to copy", operation="COPY", key=source
                    )
                if there.etag != if_match:
                    raise _refused(source, "the object has changed")

        if if_match is None or capabilities.copy_honours_source_condition is not None:
            await look(at_source=if_match is not None and not capabilities.copy_honours_source_condition)
            return await copy_if(if_match)
        first, self._copied = not self._copied, True
        if first:  # trying is worth it only if there are more
            await look(at_source=True)
            return await copy_if(if_match)
        async with self._trying:
            if capabilities.copy_honours_source_condition is None:
                await look(at_source=True)
                try:
                    result = await copy_if(IMPOSSIBLE_ETAG)
                except StoreError as error:
                    if error.reason is not Reason.PRECONDITION:
                        raise
                    capabilities.copy_honours_source_condition = True
                else:
                    capabilities.copy_honours_source_condition = False
                    return result
            else:
                await look(at_source=not capabilities.copy_honours_source_condition)
        return await copy_if(if_match)

    async def _look(self, keys: Sequence[Key]) -> dict[Key, ObjectInfo | None]:
        """Return what is at these keys, asked for at once."""
        found: dict[Key, ObjectInfo | None] = {}
        failures: list[FileSystemError] = []

        async def look(key: Key) -> None:
            try:
                found[key] = await self._writer.look(key)
            except FileSystemError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(look, key)
        if failures:
            raise failures[0]
        return found

    async def upload_part_copy(
        self,
        key: Key,
        upload_id: str,
        number: int,
        *,
        source: Key,
        offset: int,
        length: int,
        if_match: str | None,
    ) -> UploadedPart:
        """Make a part, as `ObjectStore.upload_part_copy` says."""
        request = requests.upload_part_copy(
            self._bucket, source, key, upload_id, number, offset=offset, length=length, if_match=if_match
        )
        answer = await self._exchange.perform(request)
        etag = wire.parse_written_etag(answer.body, "CopyPartResult")
        if if_match is not None and not (await self._writer.capabilities()).part_copy_honours_condition:
            # Looked at afterwards, it is exact: still this version, so this version was read.
            found = await self._writer.look(source)
            if found is None or found.etag != if_match:
                raise _refused(source, "the object has changed")
        return UploadedPart(number=number, etag=etag)

    async def _source_conditions(self, etag: str | None) -> dict[str, str]:
        if etag is None:
            return {}
        conditions = {"x-amz-copy-source-if-match": f'"{etag}"'}
        if not (await self._exchange.endpoint()).is_aws:
            conditions["x-amz-copy-if-match"] = f'"{etag}"'
        return conditions

    async def _copy(
        self, source: Key, target: Key, attributes: ObjectAttributes | None, conditions: dict[str, str]
    ) -> Stored:
        since_ns = int(self._exchange.server_seconds() * 1e9) - _CLOCK_GRAIN_NS

        def build(size_bytes: int) -> Request:
            return requests.copy_object(
                self._bucket,
                source,
                target,
                attributes=attributes,
                conditions=conditions,
                size_bytes=size_bytes,
            )

        try:
            return await self._perform(build(PRESUMED_COPY_BYTES))
        except StoreError as error:
            if error.reason is Reason.PRECONDITION and error.outcome_unknown:
                found = await self._writer.look(target)
                if found is not None and await self._is_ours(found, source, attributes, since_ns):
                    return as_stored(found)
            if error.code != FailureKind.TIMEOUT.value:
                raise
            info = await self._writer.look(source)
            if info is None or info.size_bytes <= PRESUMED_COPY_BYTES:
                raise
            return await self._perform(build(info.size_bytes))

    async def _perform(self, request: Request) -> Stored:
        answer = await self._exchange.perform(request)
        return stored(answer.headers, etag=wire.parse_written_etag(answer.body, "CopyObjectResult"))

    async def _is_ours(
        self, found: ObjectInfo, source: Key, attributes: ObjectAttributes | None, since_ns: int
    ) -> bool:
        origin = found if source == found.key else await self._writer.look(source)
        return origin is not None and outcomes.is_copy_of(found, origin, attributes, since_ns=since_ns)


def _refused(key: Key, message: str) -> StoreError:
    return StoreError(Reason.PRECONDITION, message, operation="HEAD", key=key)
