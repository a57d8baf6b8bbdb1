"""Say what a store in memory holds, and what it accepts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import KIB, Key
from s3rolefs.s3.headers import METADATA_PREFIX, attribute_headers
from s3rolefs.s3.store import Body, FileSpan, ObjectAttributes

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldObject:
    """One version of one object."""

    data: bytes
    etag: str
    last_modified_ns: int
    storage_class: str
    metadata: Mapping[str, str]
    headers: Mapping[str, str]
    tags: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUpload:
    """One multipart upload under way; `parts` holds ETag and bytes by number."""

    key: Key
    begun_ns: int
    attributes: ObjectAttributes
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


def refusal(code: str, message: str, *, key: str = "", status: int = 400) -> StoreError:
    """Return the error of a request that S3 refuses."""
    return StoreError(Reason.REFUSED, message, key=key, status=status, code=code)


def check_size(key: Key, attributes: ObjectAttributes) -> None:
    """Raise NAME_TOO_LONG or NO_SPACE for a key or user metadata beyond S3's limits."""
    if len(key.encode()) > MAX_KEY_BYTES:
        raise StoreError(Reason.NAME_TOO_LONG, key=key, status=400, code="KeyTooLongError")
    sent = attribute_headers(attributes).items()
    metadata = [f"{name}{value}" for name, value in sent if name.startswith(METADATA_PREFIX)]
    if sum(map(len, metadata)) > MAX_METADATA_BYTES + len(METADATA_PREFIX) * len(metadata):
        raise StoreError(Reason.NO_SPACE, key=key, status=400, code="MetadataTooLarge")


def bytes_of(body: Body) -> bytes:
    """Return the bytes of a body."""
    if not isinstance(body, FileSpan):
        return bytes(body)
    data = os.pread(body.fd, body.length, body.offset)
    if len(data) != body.length:
        raise OSError(f"a spool ended after {len(data)} of {body.length} bytes")
    return data
