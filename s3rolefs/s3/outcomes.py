"""Tell from what a bucket holds whether a write whose answer was lost took effect.

A write is recognised by its content: the MD5 that a plain ETag is, the digest of the parts'
ETags that a multipart ETag is. Where ETags are something else (SSE-KMS), size and the metadata
we sent have to agree: it carries times in nanoseconds, which nobody else's write repeats.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from s3rolefs.s3.transport import body_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3rolefs.model import ObjectInfo, UploadedPart
    from s3rolefs.s3.store import Body, ObjectAttributes

_MD5 = re.compile(r"[0-9a-f]{32}")


def is_put_of_blocking(found: ObjectInfo, body: Body, length: int, attributes: ObjectAttributes) -> bool:
    """Say whether `found` is what a PUT of this body stored. Reads the body: run it in a thread."""
    if found.size_bytes != length:
        return False
    digest = hashlib.md5(usedforsecurity=False)
    for piece in body_pieces(body):
        digest.update(piece)
    return found.etag == digest.hexdigest() or _carries(found, attributes)


def is_copy_of(
    found: ObjectInfo, source: ObjectInfo, attributes: ObjectAttributes | None, *, since_ns: int
) -> bool:
    """Say whether `found` is what a COPY of `source`, begun at `since_ns`, stored."""
    if found.size_bytes != source.size_bytes or found.last_modified_ns < since_ns:
        return False
    if attributes is None:
        return found.metadata == source.metadata
    return found.metadata == attributes.metadata


def etag_of_upload(parts: Sequence[UploadedPart]) -> str:
    """Return the ETag that S3 gives an object made of these parts, "" where theirs are no MD5s."""
    ordered = sorted(parts, key=lambda part: part.number)
    if not all(_MD5.fullmatch(part.etag) for part in ordered):
        return ""
    joined = b"".join([bytes.fromhex(part.etag) for part in ordered])
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(ordered)}"


def is_upload_of(found: ObjectInfo, parts: Sequence[UploadedPart]) -> bool:
    """Say whether `found` is, by its ETag, what completing these parts stores."""
    return found.etag == etag_of_upload(parts)


def looks_like_upload_of(found: ObjectInfo, parts: Sequence[UploadedPart], *, size_bytes: int) -> bool:
    """Say whether `found` has the size and number of parts; tells only after an answer was lost."""
    return found.size_bytes == size_bytes and found.etag.endswith(f"-{len(parts)}")


def _carries(found: ObjectInfo, attributes: ObjectAttributes) -> bool:
    return bool(attributes.metadata) and found.metadata == attributes.metadata
