"""Hold what is known of one file or directory.

An inode is one lineage of versions: what this mount writes stays the same inode, a version that
somebody else put in its place is another inode (the kernel's page cache may then be kept for ever).
"""

from __future__ import annotations

import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from s3rolefs.cache.blocks import ObjectVersion
from s3rolefs.fs.concurrency import Lock
from s3rolefs.fs.names import Kind, Step

if TYPE_CHECKING:
    from s3rolefs.errors import FileSystemError
    from s3rolefs.fs.attributes import Attributes
    from s3rolefs.fs.writer import Writer
    from s3rolefs.model import InodeNumber, ObjectInfo


class Inode:
    """Hold what is known of one file or directory.

    `info` is what S3 last said of the object (a directory: of its marker, None without one).
    `lookups` counts the kernel's references, `handles` the open descriptors, `writable_handles`
    those of them that may write. `detached` is true when the name is gone or belongs to another
    inode; `removed` when it was this mount that took the name away: then nobody waits for the content,
    while a write to a file whose name somebody else took is STALE. `permanent`: a directory that is there
    whatever S3 says, the root or one of a map. `beside`: an object where a directory may have the plain name;
    `named_object`: it was made under that name here, and keeps it while it is known.
    `refused` is why bytes that the kernel had already taken from a program are not here, until the file is
    emptied or closed for good. `times_were_set`: utimens gave times that S3 does not have yet.
    `times_outdated`: somebody else changed them while it was open, and a kernel that keeps times shows the
    old ones. `lock` orders what changes the content, the attributes or the place.
    """

    __slots__ = (
        "attributes",
        "beside",
        "checked_at_seconds",
        "children",
        "detached",
        "handles",
        "info",
        "lock",
        "lookups",
        "named_object",
        "number",
        "parent",
        "permanent",
        "refused",
        "removed",
        "step",
        "symlink_target",
        "times_outdated",
        "times_were_set",
        "version",
        "writable_handles",
        "writer",
    )

    def __init__(
        self,
        number: InodeNumber,
        parent: Inode | None,
        step: Step,
        attributes: Attributes,
        *,
        info: ObjectInfo | None,
        checked_at_seconds: float,
        permanent: bool = False,
    ) -> None:
        self.number = number
        self.parent = parent
        self.step = step
        self.attributes = attributes
        self.info = info
        self.checked_at_seconds = checked_at_seconds
        self.permanent = permanent
        self.children: dict[Step, Inode] = {}
        self.beside = self.named_object = False
        self.lookups = 0
        self.handles = 0
        self.writable_handles = 0
        self.detached = False
        self.removed = False
        self.refused: FileSystemError | None = None
        self.writer: Writer | None = None
        self.times_were_set = self.times_outdated = False
        self.symlink_target: bytes | None = None
        self.version: ObjectVersion | None = None
        self.lock = Lock()
        if info is not None and not self.is_directory:
            self.version = version_of(info)

    @property
    def is_directory(self) -> bool:
        """Tell whether this is a directory."""
        return stat.S_ISDIR(self.attributes.mode)

    @property
    def is_part(self) -> bool:
        """Tell whether this is a directory that only holds the rest of long names: S3 knows nothing of it."""
        return self.step.kind is Kind.PART

    @property
    def size_bytes(self) -> int:
        """Return the file's size as readers of this mount see it."""
        if self.writer is not None:
            return self.writer.size_bytes
        return self.version.size_bytes if self.version is not None else 0

    @property
    def is_unsent(self) -> bool:
        """Tell whether this inode has content that S3 lacks and that its name still stands for."""
        return self.writer is not None and self.writer.dirty and not self.detached

    def is_within(self, directory: Inode) -> bool:
        """Tell whether this is `directory` or lies below it."""
        inode: Inode | None = self
        while inode is not None and inode is not directory:
            inode = inode.parent
        return inode is directory

    def took(self, **changes: Any) -> None:
        """Replace some of the attributes."""
        self.attributes = replace(self.attributes, **changes)

    def children_changed(self) -> None:
        """Note that a child came or went (kept in memory only)."""
        now_ns = time.time_ns()
        self.took(mtime_ns=now_ns, ctime_ns=now_ns)

    def stored(self, info: ObjectInfo, version: ObjectVersion | None, now_seconds: float) -> None:
        """Take over what S3 holds now, after a change of our own."""
        self.info = info
        self.version = version
        self.checked_at_seconds = now_seconds


def version_of(info: ObjectInfo) -> ObjectVersion:
    """Return the pinned version that an object's description names."""
    return ObjectVersion(
        key=info.key, etag=info.etag, size_bytes=info.size_bytes, token=(info.key, info.etag, info.size_bytes)
    )
