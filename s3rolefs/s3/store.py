"""Define the object store: the few verbs everything above is built on.

Implemented by `s3.client.S3Client` (HTTP workers), `s3.memory.MemoryStore` (in-memory fake) and
`s3.faults.FaultyStore` (wraps any of them). One contract test class, tests/s3/test_contract.py,
holds all of them to what is written here. A store speaks for exactly one bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from s3rolefs.model import DeleteFailure, Key, ListPage, ObjectInfo, Stored, UploadedPart

BatchDeleteLimit = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSpan:
    """Name bytes of a local file to be sent: `length` bytes of descriptor `fd` from `offset`.

    The caller keeps `fd` open and the bytes unchanged until the request is answered.
    """

    fd: int
    offset: int
    length: int


Body = memoryview | bytes | FileSpan
"""What PUT and UploadPart send. Buffers must not change until the request is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAttributes:
    """Carry what is stored beside the bytes: user metadata (without x-amz-meta-) and headers.

    `headers` uses lower-case HTTP names (content-type, cache-control, content-encoding,
    content-disposition, content-language, expires, x-amz-storage-class, x-amz-tagging).
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Buffers(Protocol):
    """Be what a `get` fills: a list of buffers, or what makes each of them when it is first asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> memoryview: ...


def bytes_in(buffers: Buffers) -> int:
    """Return how many bytes the buffers hold, all of them made."""
    return sum(len(buffers[index]) for index in range(len(buffers)))


BlockFilled = Callable[[int], None]
"""Called on the trio loop with the index of each buffer of a `get` once it is full, in order."""


class ObjectStore(Protocol):
    """Speak to one bucket. Every method may raise `StoreError` and `CredentialsError`.

    Retrying of transient answers, renewal of a rejected session, following a wrong region and
    resolving an unknown outcome happen inside: an error that comes out is final. ETags are
    without quotes on both sides. Cancelling a call ends its request (the connection is closed).
    """

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "/",
        token: str | None = None,
        start_after: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """Return one page of ListObjectsV2 below `prefix` ("" as delimiter: flat)."""
        ...

    async def head(self, key: Key) -> ObjectInfo:
        """Return an object's attributes; NOT_FOUND, ACCESS_DENIED (403 has no body), ARCHIVED never."""
        ...

    async def tags(self, key: Key) -> str:
        """Return an object's tags in the form of x-amz-tagging (a query string), "" for none."""
        ...

    async def keep_tags(self, key: Key, tags: str) -> None:
        """Make sure of the tags of an object that was just copied or completed with x-amz-tagging.

        A request only where the service may have lost them (radosgw 16 does).
        """
        ...

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
        """Read `length` bytes from `offset` into the buffers, in order, and fill all of them.

        With `length` a buffer is asked for when its turn comes (in whatever thread fills it), so that a long
        answer takes no memory in advance; it stays the same one. None: what the buffers hold, all there now.

        The answer must be exactly that long: fewer bytes (the object ended or shrank) raise
        CORRUPT. `if_match` not met raises PRECONDITION; NOT_FOUND when it is gone; an archived
        object ARCHIVED. A body that breaks off is resumed where it broke (same If-Match).
        There must be at least one byte to read.
        """
        ...

    async def put(
        self,
        key: Key,
        body: Body,
        attributes: ObjectAttributes,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Store an object in one step. A condition that is not met raises PRECONDITION."""
        ...

    async def copy(
        self,
        source: Key,
        target: Key,
        *,
        attributes: ObjectAttributes | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Copy server-side (≤ 5 GiB); `attributes` replaces metadata and headers, None keeps them.

        `if_match` is on the source (x-amz-copy-source-if-match), `if_none_match` on the target
        where the service knows it (else checked by a HEAD just before).
        """
        ...

    async def delete(self, key: Key) -> None:
        """Delete one object; one that is not there is no error (S3 answers 204)."""
        ...

    async def delete_many(self, keys: Sequence[Key]) -> Sequence[DeleteFailure]:
        """Delete up to 1,000 objects, in one request where the keys allow it."""
        ...

    async def create_multipart(self, key: Key, attributes: ObjectAttributes) -> str:
        """Begin a multipart upload and return its id."""
        ...

    async def upload_part(self, key: Key, upload_id: str, number: int, body: Body) -> UploadedPart:
        """Send one part; the same number sent again replaces the part."""
        ...

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
        ...

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
        """Finish an upload. Where the service ignores conditions, a HEAD just before checks them."""
        ...

    async def abort_multipart(self, key: Key, upload_id: str) -> None:
        """Give an upload up and free its parts; one that is not there is no error."""
        ...
