"""Turn HTTP headers into our records and back: attributes, times, ETags, user metadata.

User metadata travels as ASCII. Text beyond that is sent as one RFC 2047 word, which is also how S3
answers metadata that another tool sent as UTF-8.
"""

from __future__ import annotations

import base64
import functools
import re
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import Key, ObjectInfo, Stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.s3.store import ObjectAttributes

METADATA_PREFIX = "x-amz-meta-"
PRESERVED = (
    "content-type",
    "cache-control",
    "content-encoding",
    "content-disposition",
    "content-language",
    "expires",
)
_SETTABLE = frozenset((*PRESERVED, "x-amz-storage-class", "x-amz-tagging"))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_VALUE = re.compile(r"(?:[\x21-\x7e]+(?: [\x21-\x7e]+)*)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def nanoseconds(moment: datetime) -> int:
    """Return an aware datetime as nanoseconds since the epoch, exactly."""
    delta = moment - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000


@functools.lru_cache(maxsize=1024)
def parse_http_date(text: str | None) -> int:
    """Return an HTTP date ("Wed, 21 Oct 2015 07:28:00 GMT") in nanoseconds, 0 for none or nonsense."""
    if not text:
        return 0
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0
    return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def unquote_etag(text: str | None) -> str:
    """Return an ETag without its quotes ("" for none)."""
    return (text or "").strip().removeprefix("W/").strip('"')


def attribute_headers(attributes: ObjectAttributes) -> dict[str, str]:
    """Return the request headers that store `attributes`; raise StoreError INVALID for unusable ones."""
    headers: dict[str, str] = {}
    for name, value in attributes.headers.items():
        if name not in _SETTABLE or not _HEADER_VALUE.fullmatch(value):
            raise StoreError(Reason.INVALID, f"the header {name!r} cannot be stored with an object")
        if value:
            headers[name] = value
    for name, value in attributes.metadata.items():
        if not _TOKEN.fullmatch(name):
            raise StoreError(Reason.INVALID, f"{name!r} cannot be the name of user metadata")
        headers[METADATA_PREFIX + name] = encode_metadata(value)
    return headers


def encode_metadata(value: str) -> str:
    """Return a value as HTTP can carry it unchanged: itself, or one RFC 2047 word."""
    if _PLAIN_VALUE.fullmatch(value) and "=?" not in value:
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode('utf-8', 'surrogateescape')).decode()}?="


def decode_metadata(value: str) -> str:
    """Return a value as it was meant: raw UTF-8 and RFC 2047 words are both understood."""
    if not value.isascii():
        # Headers are read as Latin-1; servers that answer raw bytes mean UTF-8.
        try:
            value = value.encode("latin-1").decode("utf-8")
        except UnicodeError:
            return value
    if "=?" not in value:
        return value
    try:
        ours = re.fullmatch(r"=\?UTF-8\?B\?([A-Za-z0-9+/=]*)\?=", value)
        if ours:
            return base64.b64decode(ours[1]).decode("utf-8", "surrogateescape")
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


def object_info(key: Key, headers: Mapping[str, str], *, size_bytes: int) -> ObjectInfo:
    """Return what the headers of a HEAD or GET answer say about an object."""
    skip = len(METADATA_PREFIX)
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=unquote_etag(headers.get("etag")),
        last_modified_ns=parse_http_date(headers.get("last-modified")),
        storage_class=headers.get("x-amz-storage-class") or "STANDARD",
        version_id=version_id(headers),
        metadata={
            name[skip:]: decode_metadata(value)
            for name, value in headers.items()
            if name.startswith(METADATA_PREFIX)
        },
        headers={name: headers[name] for name in PRESERVED if name in headers},
        asked_at_ns=parse_http_date(headers.get("date")),
        tag_count=int(headers.get("x-amz-tagging-count") or 0),
    )


def stored(headers: Mapping[str, str], *, etag: str | None = None) -> Stored:
    """Return what the headers of a write's answer say; `etag` where the body had it."""
    return Stored(
        etag=etag if etag is not None else unquote_etag(headers.get("etag")),
        version_id=version_id(headers),
        last_modified_ns=parse_http_date(headers.get("date")),
    )


def version_id(headers: Mapping[str, str]) -> str | None:
    """Return the version an answer names; None without versioning ("null" is no version either)."""
    version = headers.get("x-amz-version-id")
    return version if version and version != "null" else None


def content_range(headers: Mapping[str, str]) -> tuple[int, int | None] | None:
    """Return (first byte, whole size) of a 206 answer; None as size when the server hides it."""
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        return None
    return int(match[1]), None if match[3] == "*" else int(match[3])
