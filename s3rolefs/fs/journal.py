"""Write down in few files, and fast, what S3 is to hear of later: so that no crash of the mount loses it.

An entry has a name; what is written later under the name takes its place, and `end` takes it out. Appending
is one system call and no sync: a killed process loses nothing, a machine without power what nobody has
brought to the disk yet. What a crash has cut off is told from the rest by a checksum.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_64_intdigest

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.model import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

_HEADER = struct.Struct("<4sIIQ")  # the magic, bytes of JSON, bytes of content, checksum of both
_MAGIC = b"s3j1"
_SEGMENT_BYTES = 32 * MIB
_SUFFIX = ".journal"
# Without looking for circles: half the time.
_ENCODER = json.JSONEncoder(check_circular=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Hold what waits under a name: `fields` (JSON) say what it is, `content` are bytes that belong to it."""

    name: str
    fields: dict[str, Any]
    content: bytes


@dataclass(slots=True, kw_only=True, eq=False)
class _Segment:
    """Follow one file: `live` are the names whose last entry is in it."""

    path: Path
    fd: int
    size_bytes: int = 0
    live: set[str] = field(default_factory=set)


class Journal:
    """Append entries to the files of one folder; a file goes when nothing in it, or before it, waits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[_Segment] = []
        self._where: dict[str, _Segment] = {}
        self._number = 0
        self._synced = True

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def write(self, name: str, fields: dict[str, Any], content: bytes = b"") -> Path:
        """Write an entry and return the file it is in; NO_SPACE when it is not written."""
        segment = self._current()
        self._append(segment, fields | {"name": name}, content)
        self._forget(name)
        segment.live.add(name)
        self._where[name] = segment
        self._remove_ended()
        return segment.path

    def end(self, name: str) -> None:
        """Take an entry out: it is done."""
        if name not in self._where:
            return
        self._forget(name)
        try:
            if self._where:
                self._append(self._current(), {"name": name, "ended": True}, b"")
            else:
                self._empty()
        except (OSError, FileSystemError) as error:
            # At worst the next mount asks S3 once more.
            log.error("what is done could not be taken out of the journal in %s: %s", self._folder, error)
        self._remove_ended()

    @property
    def is_synced(self) -> bool:
        """Tell whether the disk has everything."""
        return self._synced

    def descriptors_to_sync(self) -> list[int]:
        """Return duplicates of the open files, for a thread that syncs and closes them."""
        self._synced = True
        return [os.dup(segment.fd) for segment in self._segments]

    def close(self) -> None:
        """Free the files; those in which nothing waits are removed."""
        while self._segments:
            self._drop(self._segments[0], remove=not self._where)

    def _current(self) -> _Segment:
        if self._segments and self._segments[-1].size_bytes < _SEGMENT_BYTES:
            return self._segments[-1]
        path = self._folder / f"{self._number + 1:08}{_SUFFIX}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _no_room(error.strerror) from error
        self._number += 1
        segment = _Segment(path=path, fd=fd)
        self._segments.append(segment)
        return segment

    def _append(self, segment: _Segment, fields: dict[str, Any], content: bytes) -> None:
        text = _ENCODER.encode(fields).encode()
        checksum = xxh3_64_intdigest(content, seed=xxh3_64_intdigest(text))
        record = [_HEADER.pack(_MAGIC, len(text), len(content), checksum), text, content]
        length = sum(len(part) for part in record)
        reason: str | None = "the disk is full"
        try:
            written = os.writev(segment.fd, record)
        except OSError as error:
            written, reason = 0, error.strerror
        if written < length:
            os.ftruncate(segment.fd, segment.size_bytes)
            raise _no_room(reason)
        segment.size_bytes += length
        self._synced = False

    def _forget(self, name: str) -> None:
        segment = self._where.pop(name, None)
        if segment is not None:
            segment.live.discard(name)

    def _empty(self) -> None:
        for segment in self._segments[:-1]:
            self._drop(segment, remove=True)
        os.ftruncate(self._segments[-1].fd, 0)
        self._segments[-1].size_bytes = 0

    def _remove_ended(self) -> None:
        # Only from the front: a later file may say that an entry of an earlier one is done.
        while len(self._segments) > 1 and not self._segments[0].live:
            self._drop(self._segments[0], remove=True)

    def _drop(self, segment: _Segment, *, remove: bool) -> None:
        self._segments.remove(segment)
        os.close(segment.fd)
        if remove:
            segment.path.unlink(missing_ok=True)


def files(folder: Path) -> list[Path]:
    """Return the files of the journal in a folder, oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def left(folder: Path) -> list[Entry]:
    """Return what waits by the journal in a folder, in the order in which it was written."""
    entries: dict[str, Entry] = {}
    for path in files(folder):
        for entry in _read(path):
            entries.pop(entry.name, None)
            if "ended" not in entry.fields:
                entries[entry.name] = entry
    return list(entries.values())


def _read(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            begin = file.tell() - len(header)
            entry = None
            if len(header) == _HEADER.size:
                magic, text_bytes, content_bytes, checksum = _HEADER.unpack(header)
                if magic == _MAGIC:
                    entry = _parsed(file.read(text_bytes), file.read(content_bytes), checksum)
            if entry is None:
                cut_bytes = path.stat().st_size - begin
                log.warning("the end of %s (%d bytes) was cut off by a crash and is dropped", path, cut_bytes)
                return
            yield entry


def _parsed(text: bytes, content: bytes, checksum: int) -> Entry | None:
    if xxh3_64_intdigest(content, seed=xxh3_64_intdigest(text)) != checksum:
        return None
    fields = json.loads(text)
    return Entry(name=fields.pop("name"), fields=fields, content=content)


def _no_room(reason: str | None) -> FileSystemError:
    return FileSystemError(Reason.NO_SPACE, f"the journal cannot be written: {reason}")
