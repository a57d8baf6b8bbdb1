"""Name the things every room talks about: keys, objects, pages of a listing.

Nothing here does I/O. All records are frozen; units stand in the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from collections.abc import Mapping

Key = NewType("Key", str)
"""The full key of an object in its bucket, as S3 has it (never starts with the bucket's name)."""

InodeNumber = NewType("InodeNumber", int)
FileHandle = NewType("FileHandle", int)

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """Describe one version of one object.

    `etag` is without quotes. `metadata` holds the user metadata with lower-case names without
    `x-amz-meta-`; it is None when the source (a listing) does not tell. `headers` holds what an
    edit has to preserve beside it (content-type, cache-control, content-encoding,
    content-disposition, content-language, expires), lower-case, None from a listing.
    `asked_at_ns` is the answer's Date header (0: unknown), `tag_count` what HEAD tells of the tags
    (0: none, or not told).
    """

    key: Key
    size_bytes: int
    etag: str
    last_modified_ns: int
    storage_class: str = "STANDARD"
    version_id: str | None = None
    metadata: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    asked_at_ns: int = 0
    tag_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """Hold one answer of ListObjectsV2, in S3's order (bytes of UTF-8)."""

    objects: tuple[ObjectInfo, ...]
    prefixes: tuple[str, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPage:
    """Hold the first page of what lies below a prefix, without a delimiter, and when it was asked for.

    `asked_at_seconds` is by the boot clock.
    """

    prefix: str
    page: ListPage
    asked_at_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Say what a successful write left in the bucket.

    `last_modified_ns` is what the answer's Date says (0: unknown): PUT does not return the
    object's own LastModified.
    """

    etag: str
    version_id: str | None = None
    last_modified_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedPart:
    """Name one part of a multipart upload; numbers start at 1."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFailure:
    """Say which key of a batch delete was not deleted, and why (S3's code and sentence)."""

    key: Key
    code: str
    message: str


def address_of(key: str, origins: Mapping[str, str]) -> str | None:
    """Return the address of a key, None where `origins`, those of the beginnings of keys, has none for it."""
    return next((origins[outer] + key[len(outer) :] for outer in origins if key.startswith(outer)), None)
