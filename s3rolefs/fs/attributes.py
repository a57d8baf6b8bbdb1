"""Turn object metadata into POSIX attributes and back, in the format of s3fs.

`x-amz-meta-mode|uid|gid|mtime|ctime|atime`: numbers in decimal, the mode with its type bits, times
as seconds with up to nine decimals (s3fs 1.90 writes and reads both spellings; rclone writes
`mtime` the same way). Garbage is treated as absent.
"""

from __future__ import annotations

import re
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.config import FileConfig
    from s3rolefs.model import ObjectInfo

DIRECTORY_CONTENT_TYPE = "application/x-directory"
SYMLINK_TARGET_LIMIT_BYTES = 4095
_TIME = re.compile(r"(-?\d{1,12})(?:\.(\d{1,9})\d*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Hold what chmod, chown and utimens change; `mode` with its type bits, times in nanoseconds."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Say who asks: what new files belong to, and the umask."""

    uid: int
    gid: int
    umask: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Say what setattr changes; None: nothing. Times in nanoseconds."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None

    def names_attributes(self) -> bool:
        """Tell whether anything but the size changes."""
        return any(
            value is not None for value in (self.mode, self.uid, self.gid, self.atime_ns, self.mtime_ns)
        )


def of_object(info: ObjectInfo, files: FileConfig) -> Attributes:
    """Return the attributes of a file or symlink; what the metadata lacks comes from the options."""
    metadata = info.metadata or {}
    mode = _number(metadata.get("mode"), 0o177777)
    kind = stat.S_IFMT(mode) if mode is not None else 0
    if kind not in (stat.S_IFREG, stat.S_IFLNK) or (
        kind == stat.S_IFLNK and not 0 < info.size_bytes <= SYMLINK_TARGET_LIMIT_BYTES
    ):
        kind = stat.S_IFREG
    bits = stat.S_IMODE(mode) if mode is not None else files.file_mode
    return _with_owner_and_times(kind | bits, metadata, info.last_modified_ns, files)


def of_directory(info: ObjectInfo | None, files: FileConfig, *, default_time_ns: int) -> Attributes:
    """Return the attributes of a directory from its marker object, or of one that has none."""
    metadata = (info.metadata if info is not None else None) or {}
    mode = _number(metadata.get("mode"), 0o177777)
    bits = stat.S_IMODE(mode) if mode is not None else files.dir_mode
    default = info.last_modified_ns if info is not None else default_time_ns
    return _with_owner_and_times(stat.S_IFDIR | bits, metadata, default, files)


def to_metadata(attributes: Attributes, kept: Mapping[str, str]) -> dict[str, str]:
    """Return the user metadata to store: what an edit has to preserve, and ours."""
    return {
        **kept,
        "mode": str(attributes.mode),
        "uid": str(attributes.uid),
        "gid": str(attributes.gid),
        "mtime": _seconds(attributes.mtime_ns),
        "ctime": _seconds(attributes.ctime_ns),
        "atime": _seconds(attributes.atime_ns),
    }


def _with_owner_and_times(
    mode: int, metadata: Mapping[str, str], default_time_ns: int, files: FileConfig
) -> Attributes:
    uid = _number(metadata.get("uid"), 2**32 - 2)
    gid = _number(metadata.get("gid"), 2**32 - 2)
    mtime_ns = _nanoseconds(metadata.get("mtime"), default_time_ns)
    return Attributes(
        mode=mode,
        uid=files.uid if uid is None else uid,
        gid=files.gid if gid is None else gid,
        mtime_ns=mtime_ns,
        ctime_ns=_nanoseconds(metadata.get("ctime"), default_time_ns),
        atime_ns=_nanoseconds(metadata.get("atime"), mtime_ns),
    )


def _number(text: str | None, largest: int) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 12:
        return None
    number = int(text)
    return number if number <= largest else None


def _nanoseconds(text: str | None, default_ns: int) -> int:
    match = _TIME.fullmatch(text) if text is not None else None
    if match is None:
        return default_ns
    fraction = int((match[2] or "0").ljust(9, "0"))
    seconds = int(match[1])
    return seconds * 10**9 + (-fraction if text is not None and text.startswith("-") else fraction)


def _seconds(time_ns: int) -> str:
    sign = "-" if time_ns < 0 else ""
    return f"{sign}{abs(time_ns) // 10**9}.{abs(time_ns) % 10**9:09d}"


def new_attributes(mode: int, caller: Caller) -> Attributes:
    """Return the attributes of a file made now; `mode` has its type bits."""
    now_ns = time.time_ns()
    return Attributes(
        mode=mode, uid=caller.uid, gid=caller.gid, mtime_ns=now_ns, ctime_ns=now_ns, atime_ns=now_ns
    )


def changed(before: Attributes, changes: Changes) -> Attributes:
    """Apply changes; ctime is now."""
    mode = before.mode if changes.mode is None else stat.S_IFMT(before.mode) | stat.S_IMODE(changes.mode)
    return Attributes(
        mode=mode,
        uid=before.uid if changes.uid is None else changes.uid,
        gid=before.gid if changes.gid is None else changes.gid,
        mtime_ns=before.mtime_ns if changes.mtime_ns is None else changes.mtime_ns,
        ctime_ns=time.time_ns(),
        atime_ns=before.atime_ns if changes.atime_ns is None else changes.atime_ns,
    )
