"""Turn object metadata into POSIX attributes and back, in the format of s3fs.

`x-amz-meta-mode|uid|gid|mtime|ctime|atime`: numbers in decimal, the mode with its type bits, times
as seconds with up to nine decimals (s3fs 1.90 writes and reads both spellings; rclone writes
`mtime` the same way); `x-amz-meta-xattr` as fs/xattrs.py says. Garbage is treated as absent.
"""

from __future__ import annotations

import re
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from s3rolefs.fs import xattrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from s3rolefs.config import FileConfig
    from s3rolefs.model import ObjectInfo

DIRECTORY_CONTENT_TYPE = "application/x-directory"
SYMLINK_TARGET_LIMIT_BYTES = 4095
# Device nodes are not among them: a role that may write objects must not make devices.
_EMPTY_KINDS = (stat.S_IFIFO, stat.S_IFSOCK)
_XATTR = "xattr"
_SHOWN_CHARACTERS = 80
_LARGEST_MODE = 0o177777
_LARGEST_OWNER = 2**32 - 2
_TIME = re.compile(r"(-?\d{1,12})(?:\.(\d{1,9})\d*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Hold what chmod, chown, utimens and setxattr change; `mode` with its type bits, times in nanoseconds.

    `xattr` is the text that stands in the metadata, readable or not, so that nothing gets lost.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int
    xattr: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Say who asks: what new files belong to, and the umask."""

    uid: int
    gid: int
    umask: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Say what setattr changes; None: nothing. Times in nanoseconds.

    `ctime_ns` comes from a kernel that gathers writes, and so keeps the times of files itself.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None

    def names_attributes(self) -> bool:
        """Tell whether anything but the size changes."""
        return any(
            value is not None for value in (self.mode, self.uid, self.gid, self.atime_ns, self.mtime_ns)
        )

    def only_restates(self, before: Attributes, *, through_handle: bool) -> bool:
        """Tell whether the kernel only says what a file's times are by now: it was written to, or moved.

        utimensat(2) never comes with a handle (fs/fuse/dir.c: only `fuse_flush_times` and ftruncate do).
        """
        others = (self.mode, self.uid, self.gid, self.atime_ns)
        if self.ctime_ns is None or any(value is not None for value in others):
            return False
        return through_handle or self.size_bytes is not None or self.mtime_ns == before.mtime_ns


def of_object(info: ObjectInfo, files: FileConfig) -> Attributes:
    """Return the attributes of what is no directory; what the metadata lacks comes from the options."""
    metadata = info.metadata or {}
    mode = _number(metadata.get("mode"), _LARGEST_MODE)
    kind = _kind(mode, info.size_bytes) or stat.S_IFREG
    bits = stat.S_IMODE(mode) if mode is not None else files.file_mode
    return _with_owner_and_times(kind | bits, metadata, info.last_modified_ns, files)


def of_directory(info: ObjectInfo | None, files: FileConfig, *, default_time_ns: int) -> Attributes:
    """Return the attributes of a directory from its marker object, or of one that has none."""
    metadata = (info.metadata if info is not None else None) or {}
    mode = _number(metadata.get("mode"), _LARGEST_MODE)
    bits = stat.S_IMODE(mode) if mode is not None else files.dir_mode
    default = info.last_modified_ns if info is not None else default_time_ns
    return _with_owner_and_times(stat.S_IFDIR | bits, metadata, default, files)


def to_metadata(attributes: Attributes, kept: Mapping[str, str]) -> dict[str, str]:
    """Return the user metadata to store: what an edit has to preserve, and ours."""
    metadata = {
        **kept,
        "mode": str(attributes.mode),
        "uid": str(attributes.uid),
        "gid": str(attributes.gid),
        "mtime": _seconds(attributes.mtime_ns),
        "ctime": ctime_text(attributes),
        "atime": _seconds(attributes.atime_ns),
    }
    metadata.pop(_XATTR, None)
    return metadata if attributes.xattr is None else {**metadata, _XATTR: attributes.xattr}


def ctime_text(attributes: Attributes) -> str:
    """Return the ctime as the user metadata has it: it tells one upload from all others."""
    return _seconds(attributes.ctime_ns)


def nonsense(info: ObjectInfo, *, directory: bool) -> Iterator[str]:
    """Yield the metadata that counts as absent because it makes no sense, as `name=value`."""
    metadata = info.metadata or {}
    mode = _number(metadata.get("mode"), _LARGEST_MODE)
    understood = {
        "mode": mode is not None and (directory or _kind(mode, info.size_bytes) is not None),
        "uid": _number(metadata.get("uid"), _LARGEST_OWNER) is not None,
        "gid": _number(metadata.get("gid"), _LARGEST_OWNER) is not None,
        **{name: _TIME.fullmatch(metadata.get(name, "")) for name in ("mtime", "ctime", "atime")},
        _XATTR: xattrs.is_readable(metadata.get(_XATTR)),
    }
    for name, sense in understood.items():
        if name in metadata and not sense:
            yield f"{name}={metadata[name][:_SHOWN_CHARACTERS]!r}"


def _kind(mode: int | None, size_bytes: int) -> int | None:
    """Return the type bits of a mode that an object of that size can have, None for others."""
    kind = stat.S_IFMT(mode or 0) or stat.S_IFREG
    if (
        kind == stat.S_IFREG
        or (kind == stat.S_IFLNK and 0 < size_bytes <= SYMLINK_TARGET_LIMIT_BYTES)
        or (kind in _EMPTY_KINDS and not size_bytes)
    ):
        return kind
    return None


def _with_owner_and_times(
    mode: int, metadata: Mapping[str, str], default_time_ns: int, files: FileConfig
) -> Attributes:
    uid = _number(metadata.get("uid"), _LARGEST_OWNER)
    gid = _number(metadata.get("gid"), _LARGEST_OWNER)
    mtime_ns = _nanoseconds(metadata.get("mtime"), default_time_ns)
    return Attributes(
        mode=mode,
        uid=files.uid if uid is None else uid,
        gid=files.gid if gid is None else gid,
        mtime_ns=mtime_ns,
        ctime_ns=_nanoseconds(metadata.get("ctime"), default_time_ns),
        atime_ns=_nanoseconds(metadata.get("atime"), mtime_ns),
        xattr=metadata.get(_XATTR),
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


def new_attributes(mode: int, caller: Caller, directory: Attributes) -> Attributes:
    """Return the attributes of what is made now in a directory; `mode` has its type bits.

    In a set-group-id directory the group is the directory's, and directories inherit the bit.
    """
    inherits = directory.mode & stat.S_ISGID
    if not stat.S_ISLNK(mode):
        mode &= ~caller.umask
    if stat.S_ISDIR(mode):
        mode |= inherits
    now_ns = time.time_ns()
    return Attributes(
        mode=mode,
        uid=caller.uid,
        gid=directory.gid if inherits else caller.gid,
        mtime_ns=now_ns,
        ctime_ns=now_ns,
        atime_ns=now_ns,
    )


def changed(before: Attributes, changes: Changes) -> Attributes:
    """Apply changes; ctime is now, if the kernel does not say when it was."""
    mode = before.mode if changes.mode is None else stat.S_IFMT(before.mode) | stat.S_IMODE(changes.mode)
    return replace(
        before,
        mode=mode,
        uid=before.uid if changes.uid is None else changes.uid,
        gid=before.gid if changes.gid is None else changes.gid,
        mtime_ns=before.mtime_ns if changes.mtime_ns is None else changes.mtime_ns,
        ctime_ns=time.time_ns() if changes.ctime_ns is None else changes.ctime_ns,
        atime_ns=before.atime_ns if changes.atime_ns is None else changes.atime_ns,
    )


def without_privileges(mode: int) -> int:
    """Take set-user-id, and set-group-id of an executable, off a mode: its content is somebody else's now."""
    dropped = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
    return mode & ~dropped
