"""Describe an inode's object: what is stored beside its bytes, and what S3 will say of it then."""

from __future__ import annotations

import mimetypes
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import DIRECTORY_CONTENT_TYPE, to_metadata
from s3rolefs.fs.names import CONTENT
from s3rolefs.fs.tags import TAGGING
from s3rolefs.model import Key, ObjectInfo, Stored
from s3rolefs.s3.store import ObjectAttributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.fs.inode import Inode

# Amazon S3 user guide, "Working with object metadata": 2 KB of user metadata, names and values.
METADATA_LIMIT_BYTES = 2048
_TIMES = ("mtime", "ctime", "atime")


def object_attributes(inode: Inode) -> ObjectAttributes:
    """Return what to store beside an inode's bytes: its attributes, and what its object has already.

    NO_SPACE when the object's own metadata leaves no room.
    """
    info = inode.info
    headers = dict((info.headers if info is not None else None) or {})
    if info is not None and info.storage_class not in ("", "STANDARD"):
        headers["x-amz-storage-class"] = info.storage_class
    if "content-type" not in headers:
        if inode.is_directory or inode.step == CONTENT:
            headers["content-type"] = DIRECTORY_CONTENT_TYPE
        else:
            headers["content-type"] = mimetypes.guess_type(inode.step.text)[0] or "application/octet-stream"
    attributes = inode.attributes
    if inode.step == CONTENT and inode.parent is not None:  # a directory's marker, whatever it holds
        above = inode.parent.attributes
        attributes = replace(attributes, mode=above.mode, xattr=above.xattr)
    metadata = to_metadata(attributes, (info.metadata if info is not None else None) or {})
    if sum(len(f"{name}{value}".encode()) for name, value in metadata.items()) > METADATA_LIMIT_BYTES:
        raise FileSystemError(Reason.NO_SPACE, "the object's user metadata leaves no room for attributes")
    return ObjectAttributes(metadata=metadata, headers=headers)


def early_attributes(inode: Inode) -> ObjectAttributes:
    """Return what to store with an upload that begins while the file is still being written.

    The final times are not known yet: S3's Last-Modified stands for them, unless utimens sets some. The ctime
    tells our own upload from somebody else's.
    """
    attributes = object_attributes(inode)
    metadata = _without_times(attributes.metadata) | {"ctime": attributes.metadata["ctime"]}
    return replace(attributes, metadata=metadata)


def is_outdated(inode: Inode, metadata: Mapping[str, str]) -> bool:
    """Tell whether attributes have to follow the content: an upload that began early has older ones."""
    wanted = object_attributes(inode).metadata
    if wanted == metadata:
        return False
    return inode.times_were_set or _without_times(wanted) != _without_times(metadata)


def _without_times(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name not in _TIMES}


def stored_info(
    key: Key, stored: Stored, attributes: ObjectAttributes, size_bytes: int, time_ns: int
) -> ObjectInfo:
    """Return what S3 will say of an object that was just stored."""
    headers = dict(attributes.headers)
    storage_class = headers.pop("x-amz-storage-class", "STANDARD")
    tags = headers.pop(TAGGING, "")
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=stored.etag,
        last_modified_ns=stored.last_modified_ns or time_ns,
        storage_class=storage_class,
        version_id=stored.version_id,
        metadata=dict(attributes.metadata),
        headers=headers,
        tag_count=len(parse_qsl(tags, keep_blank_values=True)),
    )
