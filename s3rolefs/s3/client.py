"""Be the object store that a mount talks to: every verb of `ObjectStore` over HTTP workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import DeleteFailure, FirstPage, Key, ListPage, ObjectInfo, Stored, UploadedPart
from s3rolefs.s3 import outcomes, requests, wire
from s3rolefs.s3.connections import ConnectionPool
from s3rolefs.s3.copies import Copier
from s3rolefs.s3.deletion import Deleter
from s3rolefs.s3.endpoints import EndpointFinder
from s3rolefs.s3.exchange import Exchange
from s3rolefs.s3.headers import content_range, object_info, parse_http_date, stored, unquote_etag
from s3rolefs.s3.store import bytes_in
from s3rolefs.s3.tls import tls_maker
from s3rolefs.s3.writes import Write, Writer, as_stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from s3rolefs.clock import Clock
    from s3rolefs.config import StoreConfig
    from s3rolefs.s3.attempt import Answer
    from s3rolefs.s3.capabilities import Capabilities
    from s3rolefs.s3.endpoints import Endpoint
    from s3rolefs.s3.exchange import SessionProvider
    from s3rolefs.s3.store import BlockFilled, Body, Buffers, ObjectAttributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Say what the first request found: where the bucket is, and what lies in it.

    `first_page` is None when the role may not list.
    """

    endpoint: Endpoint
    first_page: FirstPage | None


class S3Client:
    """Speak to one bucket, and to nothing outside the configured prefix.

    `broker` gives the session to sign with (None: unsigned requests); `environ` is where the
    proxy, CA, region and endpoint variables are looked up; `profile` names the AWS profile to
    read settings from. `counts` tells how many requests of each kind were sent, repeats included.
    Raise UserError when the configuration cannot be used. Make it anywhere, use it on one trio loop.
    """

    def __init__(
        self,
        store: StoreConfig,
        broker: SessionProvider | None,
        clock: Clock,
        *,
        environ: Mapping[str, str],
        profile: str | None = None,
    ) -> None:
        finder = EndpointFinder(store, profile=profile, environ=environ)
        self.endpoint_url = finder.endpoint_url_blocking()
        tls = tls_maker(finder.ca_bundle_blocking())
        self.counts: Counter[str] = Counter()
        self._prefix = store.prefix
        self._clock = clock
        self._pool = ConnectionPool(limit=store.connections, tls=tls, environ=environ)
        self._exchange = Exchange(
            store, sessions=broker, clock=clock, finder=finder, transport=self._pool, counts=self.counts
        )
        self._writer = Writer(self._exchange, self.head, self.list_page)
        self._copier = Copier(self._exchange, self._writer, bucket=store.bucket)
        self._deleter = Deleter(self._exchange)

    async def aclose(self) -> None:
        """End all requests and threads; never hangs."""
        await self._pool.aclose()

    async def address(self) -> str:
        """Return the address of the bucket, once the service has said where it is."""
        endpoint = await self._exchange.endpoint()
        return f"{endpoint.origin.scheme}://{endpoint.origin.authority}{endpoint.base_path}"

    @property
    def clock_error_seconds(self) -> float | None:
        """Return how far this machine's clock is ahead of the service's (None: no answer told yet)."""
        return self._exchange.clock_error_seconds

    async def capabilities(self) -> Capabilities:
        """Return what is known of the service's conditional writes so far."""
        return await self._writer.capabilities()

    async def check_ready(self, *, patience_seconds: float | None = None) -> Readiness:
        """Ask what lies below the prefix; transient failures are retried for `patience_seconds`.

        A role that may not list (403) is no error: it may be write-only. The StoreError of what is
        one has S3's code, or "NameNotResolved", "ConnectionRefused", "TlsFailed", "TimedOut",
        "ConnectionBroken", "ProxyRefused", "NotS3".
        """
        # The first look-ups are answered from a page, which costs no more than one key.
        request = requests.list_objects(self._prefix, delimiter="", token=None, start_after=None, limit=1000)
        asked_at_seconds = self._clock.boot_seconds()
        first_page = None
        try:
            answer = await self._exchange.perform(request, patience_seconds=patience_seconds)
            page = _page_of(answer)
            first_page = FirstPage(prefix=self._prefix, page=page, asked_at_seconds=asked_at_seconds)
        except StoreError as error:
            if error.code != "AccessDenied":
                raise
        return Readiness(endpoint=await self._exchange.endpoint(), first_page=first_page)

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "/",
        token: str | None = None,
        start_after: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """Return one page of ListObjectsV2 below `prefix`."""
        self._guard(prefix)
        request = requests.list_objects(
            prefix, delimiter=delimiter, token=token, start_after=start_after, limit=limit
        )
        return _page_of(await self._exchange.perform(request))

    async def head(self, key: Key) -> ObjectInfo:
        """Return an object's attributes."""
        self._guard(key)
        answer = await self._exchange.perform(requests.head_object(key))
        return object_info(key, answer.headers, size_bytes=int(answer.headers.get("content-length", "0")))

    async def tags(self, key: Key) -> str:
        """Return an object's tags."""
        self._guard(key)
        return wire.parse_tags((await self._exchange.perform(requests.get_tags(key))).body)

    async def keep_tags(self, key: Key, tags: str) -> None:
        """Make sure of the tags of an object that was just copied or completed with them."""
        self._guard(key)
        if not (await self._exchange.endpoint()).is_aws:
            await self._exchange.perform(requests.put_tags(key, tags))

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
        """Fill the buffers with the object's bytes from `offset`."""
        self._guard(key)
        wanted = bytes_in(into) if length is None else length
        request = requests.get_object(key, offset=offset, length=wanted, if_match=if_match)
        answer = await self._exchange.perform(request, into=into, on_filled=on_filled)
        if answer.filled_bytes != wanted:
            if if_match and unquote_etag(answer.headers.get("etag")) != if_match:
                raise StoreError(Reason.PRECONDITION, "the object has changed", operation="GET", key=key)
            message = f"the object does not hold {wanted} bytes from {offset}, or the range was ignored"
            raise StoreError(Reason.CORRUPT, message, operation="GET", key=key, status=answer.status)
        found = content_range(answer.headers)
        size = found[1] if found is not None else None
        if size is None:
            size = int(answer.headers.get("content-length", offset + wanted))
        return object_info(key, answer.headers, size_bytes=size)

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
        self._guard(key)
        length = requests.body_length(body)

        async def is_ours(found: ObjectInfo, lost: bool) -> bool:
            return lost and await trio.to_thread.run_sync(
                outcomes.is_put_of_blocking, found, body, length, attributes
            )

        write = Write(
            key=key,
            build=lambda conditions: requests.put_object(key, body, attributes, conditions=conditions),
            is_ours=is_ours,
            if_match=if_match,
            if_none_match=if_none_match,
        )
        capabilities = await self._writer.capabilities()
        result = await self._writer.perform(write, honoured=capabilities.put_honours_conditions)
        return result if isinstance(result, Stored) else stored(result.headers)

    async def copy(
        self,
        source: Key,
        target: Key,
        *,
        attributes: ObjectAttributes | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Copy server-side."""
        self._guard(source)
        self._guard(target)
        return await self._copier.copy(
            source, target, attributes=attributes, if_match=if_match, if_none_match=if_none_match
        )

    async def delete(self, key: Key) -> None:
        """Delete one object; one that is not there is no error."""
        self._guard(key)
        await self._deleter.delete(key)

    async def delete_many(self, keys: Sequence[Key]) -> Sequence[DeleteFailure]:
        """Delete up to 1,000 objects, in one request where the keys allow it."""
        for key in keys:
            self._guard(key)
        return await self._deleter.delete_many(keys)

    async def create_multipart(self, key: Key, attributes: ObjectAttributes) -> str:
        """Begin a multipart upload and return its id."""
        self._guard(key)
        answer = await self._exchange.perform(requests.create_upload(key, attributes))
        return wire.parse_upload_id(answer.body)

    async def upload_part(self, key: Key, upload_id: str, number: int, body: Body) -> UploadedPart:
        """Send one part."""
        self._guard(key)
        answer = await self._exchange.perform(requests.upload_part(key, upload_id, number, body))
        return UploadedPart(number=number, etag=unquote_etag(answer.headers.get("etag")))

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
        """Make a part from bytes of an existing object, server-side."""
        self._guard(key)
        self._guard(source)
        return await self._copier.upload_part_copy(
            key, upload_id, number, source=source, offset=offset, length=length, if_match=if_match
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
        self._guard(key)

        async def is_ours(found: ObjectInfo, lost: bool) -> bool:
            return outcomes.is_upload_of(found, parts) or (
                lost and outcomes.looks_like_upload_of(found, parts, size_bytes=size_bytes)
            )

        async def is_gone() -> bool:
            # radosgw 16 answers 500 to the completion of an upload that was given up.
            try:
                await self._exchange.perform(requests.list_parts(key, upload_id))
            except StoreError as error:
                if error.reason not in {Reason.NO_SUCH_UPLOAD, Reason.ACCESS_DENIED}:
                    raise
                return error.reason is Reason.NO_SUCH_UPLOAD
            return False

        write = Write(
            key=key,
            build=lambda conditions: requests.complete_upload(
                key, upload_id, parts, size_bytes=size_bytes, conditions=conditions
            ),
            is_ours=is_ours,
            is_gone=is_gone,
            if_match=if_match,
            if_none_match=if_none_match,
        )
        capabilities = await self._writer.capabilities()
        result = await self._writer.perform(write, honoured=capabilities.complete_honours_conditions)
        if isinstance(result, Stored):
            return result
        etag = wire.parse_written_etag(result.body, "CompleteMultipartUploadResult")
        return stored(result.headers, etag=etag) if etag else await self._look_at_upload(key, result, parts)

    async def _look_at_upload(self, key: Key, answer: Answer, parts: Sequence[UploadedPart]) -> Stored:
        """Find out the ETag where the answer does not tell (radosgw 16 leaves it empty)."""
        try:
            return as_stored(await self.head(key))
        except StoreError as error:
            if error.reason is not Reason.ACCESS_DENIED:
                raise
            return stored(answer.headers, etag=outcomes.etag_of_upload(parts))

    async def abort_multipart(self, key: Key, upload_id: str) -> None:
        """Give an upload up and free its parts."""
        self._guard(key)
        try:
            await self._exchange.perform(requests.abort_upload(key, upload_id))
        except StoreError as error:
            if error.reason not in {Reason.NO_SUCH_UPLOAD, Reason.NOT_FOUND}:
                raise

    def _guard(self, name: str) -> None:
        """Refuse what lies outside the mounted prefix: least privilege, whatever the caller does."""
        if not name.startswith(self._prefix):
            raise StoreError(Reason.NOT_PERMITTED, f"outside of {self._prefix!r}", key=name)


def _page_of(answer: Answer) -> ListPage:
    return wire.parse_listing(answer.body, asked_at_ns=parse_http_date(answer.headers.get("date")))
