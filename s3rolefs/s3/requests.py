"""Build the requests of each verb: method, path inside the bucket, query, headers, body.

Nothing here knows the endpoint, the region or the keys to sign with: those may change between two
attempts of one request.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import MIB
from s3rolefs.s3.headers import attribute_headers
from s3rolefs.s3.store import Body, FileSpan
from s3rolefs.s3.wire import complete_document, delete_document, tags_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from s3rolefs.model import UploadedPart
    from s3rolefs.s3.store import ObjectAttributes

MAX_KEY_BYTES = 1024
# What a service surely copies, assembles or makes durable per second; the limit on waiting for its
# answer grows so, up to what the largest single copy (5 GiB) takes.
SLOWEST_BYTES_PER_SECOND = 16 * MIB
LONGEST_ALLOWANCE_SECONDS = 320.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Describe one request to a bucket.

    `kind` is what it is counted as; `path` starts with "/" and is quoted as sent; `parameters` are
    unquoted. `answer_allowance_seconds` is added to the ordinary wait for an answer.
    `first_byte` is the start of a GET's range (None: no range asked for).
    """

    kind: str
    method: str
    key: str = ""
    path: str = "/"
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    answer_allowance_seconds: float = 0.0
    first_byte: int | None = None
    last_byte: int = 0

    @property
    def query(self) -> str:
        """Return the query as signed and sent: quoted and sorted."""
        pairs = sorted(
            (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in self.parameters.items()
        )
        return "&".join([f"{name}={value}" for name, value in pairs])

    @property
    def body_length(self) -> int:
        """Return the number of bytes to send."""
        return body_length(self.body)

    @property
    def wanted_bytes(self) -> int | None:
        """Return how many bytes of an object are asked for (None: no range is)."""
        return None if self.first_byte is None else self.last_byte + 1 - self.first_byte

    def resumed(self, *, skip_bytes: int, etag: str) -> Request:
        """Return the GET that goes on behind `skip_bytes`, of the same version if that is known."""
        first_byte = (self.first_byte or 0) + skip_bytes
        headers = dict(self.headers)
        headers["range"] = f"bytes={first_byte}-{self.last_byte}"
        if etag and "if-match" not in headers:
            headers["if-match"] = f'"{etag}"'
        return replace(self, headers=headers, first_byte=first_byte)


def body_length(body: Body) -> int:
    """Return the number of bytes of a body."""
    if isinstance(body, FileSpan):
        return body.length
    return body.nbytes if isinstance(body, memoryview) else len(body)


def quote_key(key: str) -> str:
    """Return a key as a path holds it; raise StoreError for what S3 has no name for."""
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        raise StoreError(Reason.NAME_UNREPRESENTABLE, "a key must be valid UTF-8", key=key) from None
    if not raw:
        # An empty key would address the bucket itself: DELETE would delete it.
        raise StoreError(Reason.INVALID, "an object's key is never empty")
    if len(raw) > MAX_KEY_BYTES:
        raise StoreError(Reason.NAME_TOO_LONG, f"a key has at most {MAX_KEY_BYTES} bytes", key=key)
    return quote(raw, safe="/-_.~")


def allowance_seconds(size_bytes: int) -> float:
    """Return how much longer than usual a server may take that has `size_bytes` to deal with."""
    return min(size_bytes / SLOWEST_BYTES_PER_SECOND, LONGEST_ALLOWANCE_SECONDS)


def list_objects(
    prefix: str, *, delimiter: str, token: str | None, start_after: str | None, limit: int
) -> Request:
    """Build ListObjectsV2."""
    parameters = {
        "list-type": "2",
        "encoding-type": "url",
        "max-keys": str(limit),
        "prefix": prefix,
        "delimiter": delimiter,
        "continuation-token": token or "",
        "start-after": start_after or "",
    }
    chosen = {name: value for name, value in parameters.items() if value}
    return Request(kind="LIST", method="GET", key=prefix, parameters=chosen)


def head_object(key: str) -> Request:
    """Build HeadObject."""
    return Request(kind="HEAD", method="HEAD", key=key, path="/" + quote_key(key))


def get_object(key: str, *, offset: int, length: int, if_match: str | None) -> Request:
    """Build GetObject of `length` bytes from `offset`."""
    headers = {"range": f"bytes={offset}-{offset + length - 1}"}
    if if_match:
        headers["if-match"] = f'"{if_match}"'
    return Request(
        kind="GET",
        method="GET",
        key=key,
        path="/" + quote_key(key),
        headers=headers,
        first_byte=offset,
        last_byte=offset + length - 1,
    )


def put_object(
    key: str, body: Body, attributes: ObjectAttributes, *, conditions: Mapping[str, str]
) -> Request:
    """Build PutObject."""
    return Request(
        kind="PUT",
        method="PUT",
        key=key,
        path="/" + quote_key(key),
        headers={**attribute_headers(attributes), **conditions},
        body=body,
        answer_allowance_seconds=allowance_seconds(body_length(body)),
    )


def copy_object(
    bucket: str,
    source: str,
    target: str,
    *,
    attributes: ObjectAttributes | None,
    conditions: Mapping[str, str],
    size_bytes: int,
) -> Request:
    """Build CopyObject inside one bucket."""
    headers = {"x-amz-copy-source": f"/{bucket}/{quote_key(source)}", **conditions}
    if attributes is not None:
        headers["x-amz-metadata-directive"] = "REPLACE"
        headers.update(attribute_headers(attributes))
        if "x-amz-tagging" in headers:
            headers["x-amz-tagging-directive"] = "REPLACE"
    return Request(
        kind="COPY",
        method="PUT",
        key=target,
        path="/" + quote_key(target),
        headers=headers,
        answer_allowance_seconds=allowance_seconds(size_bytes),
    )


def delete_object(key: str) -> Request:
    """Build DeleteObject."""
    return Request(kind="DELETE", method="DELETE", key=key, path="/" + quote_key(key))


def delete_objects(keys: Sequence[str]) -> Request:
    """Build DeleteObjects, which requires Content-MD5."""
    body = delete_document(keys)
    return Request(
        kind="DELETE_MANY",
        method="POST",
        key=keys[0],
        parameters={"delete": ""},
        headers=_headers_of_document(body),
        body=body,
    )


def get_tags(key: str) -> Request:
    """Build GetObjectTagging."""
    return Request(
        kind="GET_TAGS", method="GET", key=key, path="/" + quote_key(key), parameters={"tagging": ""}
    )


def put_tags(key: str, tags: str) -> Request:
    """Build PutObjectTagging, which requires Content-MD5."""
    body = tags_document(tags)
    return Request(
        kind="PUT_TAGS",
        method="PUT",
        key=key,
        path="/" + quote_key(key),
        parameters={"tagging": ""},
        headers=_headers_of_document(body),
        body=body,
    )


def create_upload(key: str, attributes: ObjectAttributes) -> Request:
    """Build CreateMultipartUpload."""
    return Request(
        kind="CREATE_MULTIPART",
        method="POST",
        key=key,
        path="/" + quote_key(key),
        parameters={"uploads": ""},
        headers=attribute_headers(attributes),
    )


def upload_part(key: str, upload_id: str, number: int, body: Body) -> Request:
    """Build UploadPart."""
    return Request(
        kind="UPLOAD_PART",
        method="PUT",
        key=key,
        path="/" + quote_key(key),
        parameters={"partNumber": str(number), "uploadId": upload_id},
        body=body,
        answer_allowance_seconds=allowance_seconds(body_length(body)),
    )


def upload_part_copy(
    bucket: str,
    source: str,
    target: str,
    upload_id: str,
    number: int,
    *,
    offset: int,
    length: int,
    if_match: str | None,
) -> Request:
    """Build UploadPartCopy."""
    headers = {
        "x-amz-copy-source": f"/{bucket}/{quote_key(source)}",
        "x-amz-copy-source-range": f"bytes={offset}-{offset + length - 1}",
    }
    if if_match:
        headers["x-amz-copy-source-if-match"] = f'"{if_match}"'
    return Request(
        kind="UPLOAD_PART_COPY",
        method="PUT",
        key=target,
        path="/" + quote_key(target),
        parameters={"partNumber": str(number), "uploadId": upload_id},
        headers=headers,
        answer_allowance_seconds=allowance_seconds(length),
    )


def complete_upload(
    key: str, upload_id: str, parts: Sequence[UploadedPart], *, size_bytes: int, conditions: Mapping[str, str]
) -> Request:
    """Build CompleteMultipartUpload."""
    return Request(
        kind="COMPLETE",
        method="POST",
        key=key,
        path="/" + quote_key(key),
        parameters={"uploadId": upload_id},
        headers={"content-type": "application/xml", **conditions},
        body=complete_document(parts),
        answer_allowance_seconds=allowance_seconds(size_bytes),
    )


def list_parts(key: str, upload_id: str) -> Request:
    """Build ListParts, for one part: it tells whether the upload is still there."""
    return Request(
        kind="LIST_PARTS",
        method="GET",
        key=key,
        path="/" + quote_key(key),
        parameters={"uploadId": upload_id, "max-parts": "1"},
    )


def abort_upload(key: str, upload_id: str) -> Request:
    """Build AbortMultipartUpload."""
    return Request(
        kind="ABORT",
        method="DELETE",
        key=key,
        path="/" + quote_key(key),
        parameters={"uploadId": upload_id},
    )


def _headers_of_document(body: bytes) -> dict[str, str]:
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return {"content-md5": digest, "content-type": "application/xml"}
