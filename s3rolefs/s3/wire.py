"""Read and write S3's XML documents, with expat by way of ElementTree.

Services differ in the namespace they use, or use none: tags are compared without it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import DeleteFailure, Key, ListPage, ObjectInfo
from s3rolefs.s3.headers import nanoseconds, unquote_etag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from s3rolefs.model import UploadedPart

# XML 1.0 has no place for control characters, not even as references. radosgw 16 writes them all the
# same where `encoding-type=url` does not reach: in the token of a listing and in the echo of its prefix.
# Unicode's 32 noncharacters from here on, which no key holds, stand in for them while XML is parsed.
_STAND_IN = 0xFDD0
_CONTROL = re.compile(rb"&#x(0?[0-8bcef]|1[0-9a-f]);|([\x00-\x08\x0b\x0c\x0e-\x1f])", re.IGNORECASE)
_RESTORE = {_STAND_IN + code: code for code in range(32)}

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """Hold S3's `<Error>`; `region` is what a redirecting answer names ("": nothing)."""

    code: str
    message: str
    request_id: str
    region: str


def parse_error(body: bytes) -> ErrorDocument | None:
    """Return the `<Error>` a body holds, None when it is something else (also in 200 answers)."""
    if b"<Error" not in body[:1024]:
        return None
    root = _tree(body)
    if root is None:
        return None
    # IAM-like services wrap it. A DeleteResult has <Error>s of its own, which are not meant.
    error = root.find("{*}Error") if _name(root.tag) == "ErrorResponse" else root
    if error is None or _name(error.tag) != "Error":
        return None
    texts = _texts(error)
    return ErrorDocument(
        code=texts.get("Code", ""),
        message=texts.get("Message", ""),
        request_id=texts.get("RequestId", ""),
        region=texts.get("Region", ""),
    )


def parse_listing(body: bytes, *, asked_at_ns: int) -> ListPage:
    """Return the page a ListObjectsV2 answer holds; raise StoreError REFUSED if it is none."""
    root = _document(body, "ListBucketResult")
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    # A service that does not echo it has not done it.
    unquote = _unquote if _text(root, "EncodingType") == "url" else str
    truncated = False
    token: str | None = None
    for element in root:
        name = _name(element.tag)
        if name == "Contents":
            texts = _texts(element)
            objects.append(
                ObjectInfo(
                    key=Key(unquote(texts["Key"])),
                    size_bytes=int(texts["Size"]),
                    etag=unquote_etag(texts.get("ETag")),
                    last_modified_ns=_parse_iso_date(texts["LastModified"]),
                    storage_class=texts.get("StorageClass") or "STANDARD",
                    asked_at_ns=asked_at_ns,
                )
            )
        elif name == "CommonPrefixes":
            prefixes.append(unquote(_text(element, "Prefix")))
        elif name == "IsTruncated":
            truncated = element.text == "true"
        elif name == "NextContinuationToken":
            token = (element.text or "").translate(_RESTORE)
    if truncated and not token:
        raise StoreError(Reason.REFUSED, "the service breaks its listing off without a token to go on")
    return ListPage(objects=tuple(objects), prefixes=tuple(prefixes), next_token=token if truncated else None)


def parse_delete_result(body: bytes) -> list[DeleteFailure]:
    """Return which keys a batch delete left, and why."""
    root = _document(body, "DeleteResult")
    failures = []
    for element in root:
        if _name(element.tag) == "Error":
            texts = _texts(element)
            failures.append(
                DeleteFailure(
                    key=Key(texts.get("Key", "")),
                    code=texts.get("Code", ""),
                    message=texts.get("Message", ""),
                )
            )
    return failures


def parse_upload_id(body: bytes) -> str:
    """Return the id a CreateMultipartUpload answer gives."""
    upload_id = _text(_document(body, "InitiateMultipartUploadResult"), "UploadId")
    if not upload_id:
        raise StoreError(Reason.REFUSED, "the service began an upload without naming it")
    return upload_id


def parse_written_etag(body: bytes, root_name: str) -> str:
    """Return the ETag in the answer of a copy (CopyObjectResult, CopyPartResult) or a completion."""
    return unquote_etag(_text(_document(body, root_name), "ETag"))


def complete_document(parts: Sequence[UploadedPart]) -> bytes:
    """Return the body of CompleteMultipartUpload."""
    items = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>&quot;{escape(part.etag)}&quot;</ETag></Part>"
        for part in sorted(parts, key=lambda part: part.number)
    )
    name = "CompleteMultipartUpload"
    return f'<{name} xmlns="{NAMESPACE}">{items}</{name}>'.encode()


def delete_document(keys: Iterable[str]) -> bytes:
    """Return the body of DeleteObjects; the keys must be `fit_for_xml`."""
    items = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return f'<Delete xmlns="{NAMESPACE}"><Quiet>true</Quiet>{items}</Delete>'.encode()


def parse_tags(body: bytes) -> str:
    """Return the tags in an answer of GetObjectTagging, in the form of x-amz-tagging."""
    found = _document(body, "Tagging").iterfind("{*}TagSet/{*}Tag")
    pairs = [(_text(tag, "Key"), _text(tag, "Value")) for tag in found]
    return urlencode(pairs, quote_via=quote, safe="")


def tags_document(tags: str) -> bytes:
    """Return the body of PutObjectTagging from tags in the form of x-amz-tagging."""
    items = "".join(
        f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>"
        for key, value in parse_qsl(tags, keep_blank_values=True)
    )
    return f'<Tagging xmlns="{NAMESPACE}"><TagSet>{items}</TagSet></Tagging>'.encode()


def fit_for_xml(text: str) -> bool:
    """Say whether XML 1.0 carries this text unchanged (no control characters, no non-characters)."""
    return text.isprintable() or not any(
        character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\ufffe\uffff"
        for character in text
    )


def _document(body: bytes, root_name: str) -> ET.Element:
    root = _tree(body)
    if root is None or _name(root.tag) != root_name:
        raise StoreError(
            Reason.REFUSED, "the endpoint's answer is not S3's: is its address right?", code="NotS3"
        )
    return root


def _tree(body: bytes) -> ET.Element | None:
    root = _parse(body)
    return root if root is not None else _parse(_CONTROL.sub(_stand_in, body))


def _parse(body: bytes) -> ET.Element | None:
    try:
        return ET.fromstring(body.strip())
    except ET.ParseError:
        return None


def _stand_in(match: re.Match[bytes]) -> bytes:
    code = int(match[1], 16) if match[1] else match[2][0]
    return chr(_STAND_IN + code).encode()


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _texts(element: ET.Element) -> dict[str, str]:
    return {_name(child.tag): child.text or "" for child in element}


def _unquote(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


@functools.lru_cache(maxsize=4096)
def _parse_iso_date(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
