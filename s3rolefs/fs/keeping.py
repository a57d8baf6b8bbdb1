"""Keep what S3 does not have: versions that wait on local disk, and those that lost to somebody else's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import ctime_text
from s3rolefs.fs.unsent import KeptVersion, Unsent, UnsentFolder

if TYPE_CHECKING:
    from s3rolefs.fs.attributes import Attributes
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.writer import Writer

log = logging.getLogger(__name__)

WAITS = "it waits for its turn"
"""The reason of a version that nobody has tried to send yet (`writeback`)."""


class Keeper:
    """Save unsent content on local disk, each inode under one name until S3 has it.

    What could not be sent, and what a person has to decide about, are files as programs wrote them; what is
    small and waits for its turn is an entry of the journal.
    """

    def __init__(self, folder: UnsentFolder, table: InodeTable) -> None:
        self._folder = folder
        self._table = table
        self._names: dict[Inode, str] = {}
        self._written: dict[Inode, tuple[int, Attributes]] = {}
        self._waiting: dict[Inode, Unsent] = {}
        self._conflicts: list[Unsent] = []

    def __contains__(self, inode: Inode) -> bool:
        return inode in self._waiting

    def has(self, inode: Inode) -> bool:
        """Tell whether a version of an inode is on local disk, sent in vain or not yet."""
        return inode in self._names

    def is_current(self, inode: Inode, writer: Writer) -> bool:
        """Tell whether what is on local disk is what the inode has now."""
        return self._written.get(inode) == (writer.revision, inode.attributes)

    def unsent(self) -> list[Unsent]:
        """Return what S3 does not have although its program was told so, or lost the race for its key."""
        return [*self._waiting.values(), *self._conflicts]

    def write_down(self, inode: Inode, writer: Writer) -> None:
        """Make sure that what an inode has now is sent also when this process dies; NO_SPACE, OSError."""
        name = self._names.setdefault(inode, self._folder.new_name())
        tried = self._waiting.get(inode)
        reason = tried.reason if tried is not None else WAITS
        description = self._description(inode, writer, reason, conflict=False)
        if writer.spool.in_memory and tried is None:
            self._folder.journal.write(name, description.as_fields(), writer.spool.memory())
            self._written[inode] = writer.revision, inode.attributes
            return
        if not self._folder.has_room():
            raise FileSystemError(Reason.NO_SPACE, "the disk of the spool is nearly full")
        self._save(name, inode, writer, description)
        self._folder.unsynced.add(name)

    def write_down_again(self, inode: Inode, writer: Writer) -> None:
        """Bring what is on local disk of an inode up to date, if something is and the disk takes it.

        Call it after a change of an unsent file's name (which changes its ctime) or attributes, and before
        S3 is asked to take what is newer: the next mount has to know that as its own.
        """
        if self.has(inode) and not self.is_current(inode, writer):
            try:
                self.write_down(inode, writer)
            except (OSError, FileSystemError) as error:
                log.error("%s: a change is in memory only: %s", self._table.path(inode), error)

    def keep(self, inode: Inode, writer: Writer, reason: str, *, conflict: bool = False) -> Unsent:
        """Save an inode's content as a file; the same file when it is kept again."""
        name = self._names.setdefault(inode, self._folder.new_name())
        unsent = Unsent(
            path=self._table.path(inode),
            kept_at=str(self._folder.data_path(name)),
            reason=reason,
            conflict=conflict,
        )
        try:
            self._save(name, inode, writer, self._description(inode, writer, reason, conflict=conflict))
        except (OSError, FileSystemError) as error:
            log.error("%s could not be kept on local disk, it is in memory only: %s", unsent.path, error)
        if conflict:
            self._forget(inode)
            self._conflicts.append(unsent)
        else:
            self._waiting[inode] = unsent
        return unsent

    def adopt(self, inode: Inode, writer: Writer, name: str, kept: KeptVersion) -> None:
        """Take over a version that an earlier mount kept, as this inode's unsent content."""
        writer.adopt(self._folder.data_path(name), kept)
        self._names[inode] = name
        self._written[inode] = writer.revision, inode.attributes
        self._waiting[inode] = self._describe_old(name, kept)

    def note_conflict(self, name: str, kept: KeptVersion) -> None:
        """Remember a version of an earlier mount that cannot be sent any more; a person has to decide."""
        self._conflicts.append(self._describe_old(name, kept))

    def forget(self, inode: Inode) -> None:
        """Drop what is kept of an inode: S3 has it, or its name was removed."""
        name = self._forget(inode)
        if name is None:
            return
        if name in self._folder.journal:
            self._folder.journal.end(name)
        else:
            self._folder.remove(name)

    def _forget(self, inode: Inode) -> str | None:
        self._waiting.pop(inode, None)
        self._written.pop(inode, None)
        return self._names.pop(inode, None)

    def _save(self, name: str, inode: Inode, writer: Writer, description: KeptVersion) -> None:
        writer.spool.keep(self._folder.data_path(name), writer.size_bytes)
        self._folder.describe(name, description)
        self._written[inode] = writer.revision, inode.attributes
        self._folder.journal.end(name)

    def _describe_old(self, name: str, kept: KeptVersion) -> Unsent:
        return Unsent(
            path=self._table.path_of(kept.key),
            kept_at=str(self._folder.data_path(name)),
            reason=kept.reason,
            conflict=kept.conflict,
        )

    def _description(self, inode: Inode, writer: Writer, reason: str, *, conflict: bool) -> KeptVersion:
        key = self._table.key(inode)
        return KeptVersion(
            key=key,
            address=self._folder.address_of(key),
            size_bytes=writer.size_bytes,
            attributes=inode.attributes,
            base_etag=inode.version.etag if inode.version is not None else None,
            base_size_bytes=inode.version.size_bytes if inode.version is not None else 0,
            uses_base=bool(writer.spool.present.missing(0, writer.size_bytes)),
            present=list(writer.spool.present),
            changed=list(writer.spool.changed),
            attempts=[
                (attempt.ctime, attempt.size_bytes)
                for attempt in writer.other_attempts(ctime_text(inode.attributes))
            ],
            reason=reason,
            conflict=conflict,
        )
