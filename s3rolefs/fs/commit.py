"""Bring what changed to S3: content with its attributes, or attributes alone; keep what fails.

Everything here runs with the inode's lock held, but for the retries, which take it themselves.
"""

from __future__ import annotations

import logging
import mimetypes
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.attributes import DIRECTORY_CONTENT_TYPE, to_metadata
from s3rolefs.fs.inodes import Inode, InodeTable, version_of
from s3rolefs.fs.parts import SINGLE_COPY_LIMIT_BYTES, plan_parts
from s3rolefs.fs.ranges import Ranges
from s3rolefs.fs.unsent import KeptVersion, Unsent, UnsentFolder
from s3rolefs.fs.upload import StreamingUpload, copy_object
from s3rolefs.fs.writer import Writer
from s3rolefs.model import Key, ObjectInfo, Stored
from s3rolefs.s3.store import ObjectAttributes, ObjectStore

if TYPE_CHECKING:
    from s3rolefs.cache.blocks import BlockCache, ObjectVersion
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.clock import Clock
    from s3rolefs.config import FileConfig

log = logging.getLogger(__name__)

_RETRY_FIRST_SECONDS = 1.0
_RETRY_LONGEST_SECONDS = 60.0
_TIMES = ("mtime", "ctime", "atime")


@dataclass(slots=True)
class _Kept:
    name: str
    unsent: Unsent


class Committer:
    """Send writers' content and attributes; remember what could not be sent."""

    def __init__(
        self,
        store: ObjectStore,
        blocks: BlockCache,
        metadata: MetadataCache,
        table: InodeTable,
        nursery: trio.Nursery,
        clock: Clock,
        files: FileConfig,
        folder: UnsentFolder,
    ) -> None:
        self._store = store
        self._blocks = blocks
        self._metadata = metadata
        self._table = table
        self._nursery = nursery
        self._clock = clock
        self._files = files
        self._folder = folder
        self._kept: dict[Inode, _Kept] = {}
        self._conflicts: list[Unsent] = []

    def new_writer(self, inode: Inode, *, empty: bool) -> Writer:
        """Give an inode a writer; `empty` drops the content it has."""
        inode.writer = Writer(
            self._store,
            self._blocks,
            self._nursery,
            str(self._folder.path),
            None if empty else inode.version,
            new=inode.version is None,
        )
        return inode.writer

    def begin_stream(self, inode: Inode) -> StreamingUpload | None:
        """Begin to upload a file that is still being written, if what has to survive is known."""
        assert inode.writer is not None
        if inode.info is not None and inode.info.metadata is None:
            return None
        attributes = self._object_attributes(inode)
        # The final times are not known yet: S3's Last-Modified stands for them, unless utimens sets some.
        return StreamingUpload(
            self._store,
            self._nursery,
            self._table.key(inode),
            replace(attributes, metadata=_without_times(attributes)),
            inode.writer.spool,
        )

    async def commit(self, inode: Inode) -> None:
        """Make S3 have the inode's content and attributes; raises what close or fsync has to report."""
        writer = inode.writer
        if writer is None or not writer.dirty or inode.detached:
            return
        try:
            await self.complete_info(inode)
            key = self._table.key(inode)
            revision = writer.revision
            attributes = self._object_attributes(inode)
            stored, used = await writer.send(
                key,
                attributes,
                if_match=inode.version.etag if inode.version is not None else None,
                if_none_match=inode.version is None,
            )
        except FileSystemError as error:
            raise await self._failed(inode, error) from error
        info = _stored_info(key, stored, used, writer.size_bytes, inode.attributes.mtime_ns)
        version = version_of(info)
        writer.committed(revision, version)
        self.stored(inode, info, version)
        self._no_longer_kept(inode)
        if used is not attributes and (
            inode.times_were_set or _without_times(used) != _without_times(attributes)
        ):
            await self.store_attributes(inode)
        inode.times_were_set = False

    async def store_attributes(self, inode: Inode) -> None:
        """Make S3 have the attributes of a file whose content it has already, or of a directory."""
        if inode.detached or (inode.parent is None and self._table.key(inode) == ""):
            return
        await self.complete_info(inode)
        key = self._table.key(inode)
        attributes = self._object_attributes(inode)
        if inode.is_directory and (inode.info is None or inode.info.size_bytes == 0):
            stored = await self._store.put(key, b"", attributes)
            info = _stored_info(key, stored, attributes, 0, inode.attributes.mtime_ns)
            inode.stored(info, None, self._clock.boot_seconds())
            self._metadata.remember(info)
            return
        assert inode.info is not None
        version = inode.version or version_of(inode.info)
        try:
            stored = await self._copy(version, key, attributes)
        except FileSystemError as error:
            if error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND):
                raise FileSystemError(Reason.STALE, "the object was changed by somebody else") from error
            raise
        info = _stored_info(key, stored, attributes, version.size_bytes, inode.attributes.mtime_ns)
        if inode.is_directory:
            inode.stored(info, None, self._clock.boot_seconds())
            self._metadata.remember(info)
            return
        moved = replace(version, etag=stored.etag)
        if inode.writer is not None:
            inode.writer.committed(inode.writer.revision, moved)
        self.stored(inode, info, moved)

    async def complete_info(self, inode: Inode) -> None:
        """Ask for what only HEAD knows of an object that is about to be replaced: it has to survive."""
        if inode.info is not None and inode.info.metadata is None:
            info = await self._store.head(inode.info.key)
            if inode.version is not None and info.etag != inode.version.etag:
                raise FileSystemError(Reason.STALE, "the object was changed by somebody else")
            inode.info = info

    def stored(self, inode: Inode, info: ObjectInfo, version: ObjectVersion) -> None:
        """Enter what S3 holds now into the inode and the caches."""
        inode.stored(info, version, self._clock.boot_seconds())
        assert inode.parent is not None
        self._metadata.changed(self._table.directory_prefix(inode.parent), inode.name, info)

    async def copy_to(self, inode: Inode, target: Key, *, if_none_match: bool) -> Stored:
        """Copy an inode's object, with everything stored beside it, to another key."""
        assert inode.version is not None
        attributes = self._object_attributes(inode)
        return await self._copy(
            inode.version, target, attributes, keep_attributes=True, if_none_match=if_none_match
        )

    async def _copy(
        self,
        version: ObjectVersion,
        target: Key,
        attributes: ObjectAttributes,
        *,
        keep_attributes: bool = False,
        if_none_match: bool = False,
    ) -> Stored:
        large = version.size_bytes > SINGLE_COPY_LIMIT_BYTES
        parts = plan_parts(version.size_bytes, version.size_bytes, Ranges()) if large else None
        return await copy_object(
            self._store,
            version,
            target,
            attributes,
            parts,
            replace_attributes=not keep_attributes,
            if_none_match=if_none_match,
        )

    def _object_attributes(self, inode: Inode) -> ObjectAttributes:
        kept_metadata = (inode.info.metadata if inode.info is not None else None) or {}
        headers = dict((inode.info.headers if inode.info is not None else None) or {})
        if inode.info is not None and inode.info.storage_class not in ("", "STANDARD"):
            headers["x-amz-storage-class"] = inode.info.storage_class
        if "content-type" not in headers:
            if inode.is_directory:
                headers["content-type"] = DIRECTORY_CONTENT_TYPE
            else:
                headers["content-type"] = mimetypes.guess_type(inode.name)[0] or "application/octet-stream"
        return ObjectAttributes(metadata=to_metadata(inode.attributes, kept_metadata), headers=headers)

    # What could not be sent

    def unsent(self) -> list[Unsent]:
        """Return what S3 does not have although its program was told so, or lost the race for its key."""
        return [kept.unsent for kept in self._kept.values()] + self._conflicts

    def keep(self, inode: Inode, reason: str, *, conflict: bool = False) -> Unsent | None:
        """Save an inode's unsent content as a file; the same file when it is kept again."""
        writer = inode.writer
        if writer is None:
            return None
        known = self._kept.get(inode)
        name = known.name if known is not None else self._folder.new_name()
        data = self._folder.data_path(name)
        unsent = Unsent(path=self._table.path(inode), kept_at=str(data), reason=reason, conflict=conflict)
        try:
            if not data.exists():
                writer.spool.keep(data, writer.size_bytes)
            self._folder.describe(name, self._description(inode, writer, reason, conflict=conflict))
        except OSError as error:
            log.error("%s could not be kept on local disk: %s", unsent.path, error)
        if conflict:
            self._kept.pop(inode, None)
            self._conflicts.append(unsent)
        else:
            self._kept[inode] = _Kept(name, unsent)
        return unsent

    def adopt(self, inode: Inode, name: str, kept: KeptVersion) -> None:
        """Take over a version that an earlier mount kept, as this inode's unsent content."""
        data = self._folder.data_path(name)
        assert inode.writer is not None
        inode.writer.adopt(data, kept)
        self._kept[inode] = _Kept(
            name,
            Unsent(path=self._table.path(inode), kept_at=str(data), reason=kept.reason, conflict=False),
        )
        self._nursery.start_soon(self._retry, inode)

    def discard(self, inode: Inode) -> None:
        """Forget what was kept of an inode (its name was removed)."""
        self._no_longer_kept(inode)

    async def _failed(self, inode: Inode, error: FileSystemError) -> FileSystemError:
        if error.reason is Reason.PRECONDITION or (
            error.reason in (Reason.NOT_FOUND, Reason.STALE) and inode.version is not None
        ):
            kept = self.keep(inode, "somebody else changed the object", conflict=True)
            log.error(
                "%s was changed by somebody else; the version written here is kept as %s",
                self._table.path(inode),
                kept.kept_at if kept is not None else "nothing",
            )
            writer, inode.writer = inode.writer, None
            new = inode.version is None
            self._table.detach(inode)
            if writer is not None:
                await writer.close()
            return FileSystemError(
                Reason.EXISTS if new else Reason.STALE, "the object was changed by somebody else"
            )
        known = inode in self._kept
        kept = self.keep(inode, error.message)
        if not known:
            if kept is not None:
                log.error("%s is not in S3 yet (%s): kept as %s", kept.path, error, kept.kept_at)
            self._nursery.start_soon(self._retry, inode)
        return error

    async def _retry(self, inode: Inode) -> None:
        delay = _RETRY_FIRST_SECONDS
        while inode in self._kept:
            await trio.sleep(delay)
            delay = min(2 * delay, _RETRY_LONGEST_SECONDS)
            async with inode.lock:
                if inode not in self._kept:
                    return
                try:
                    await self.commit(inode)
                except FileSystemError as error:
                    log.info("%s is still not in S3: %s", self._table.path(inode), error)
                    continue
                log.warning("%s has reached S3", self._table.path(inode))
                await self.close_writer_if_unused(inode)

    async def close_writer_if_unused(self, inode: Inode) -> None:
        """Give a writer back when no descriptor is open and S3 has everything."""
        writer = inode.writer
        if writer is None or inode.handles or (writer.dirty and not inode.detached):
            return
        content = writer.whole_content()
        inode.writer = None
        if content is not None and inode.version is not None:
            self._blocks.insert(inode.version, content)
        await writer.close()
        self._table.drop_if_unused(inode)

    def _no_longer_kept(self, inode: Inode) -> None:
        kept = self._kept.pop(inode, None)
        if kept is not None:
            self._folder.remove(kept.name)

    def _description(self, inode: Inode, writer: Writer, reason: str, *, conflict: bool) -> KeptVersion:
        return KeptVersion(
            key=self._table.key(inode),
            size_bytes=writer.size_bytes,
            attributes=inode.attributes,
            base_etag=inode.version.etag if inode.version is not None else None,
            base_size_bytes=inode.version.size_bytes if inode.version is not None else 0,
            uses_base=bool(writer.spool.present.missing(0, writer.size_bytes)),
            present=list(writer.spool.present),
            changed=list(writer.spool.changed),
            reason=reason,
            conflict=conflict,
        )


def _stored_info(
    key: Key, stored: Stored, attributes: ObjectAttributes, size_bytes: int, time_ns: int
) -> ObjectInfo:
    headers = dict(attributes.headers)
    storage_class = headers.pop("x-amz-storage-class", "STANDARD")
    headers.pop("x-amz-tagging", None)
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=stored.etag,
        last_modified_ns=stored.last_modified_ns or time_ns,
        storage_class=storage_class,
        version_id=stored.version_id,
        metadata=dict(attributes.metadata),
        headers=headers,
    )


def _without_times(attributes: ObjectAttributes) -> dict[str, str]:
    return {name: value for name, value in attributes.metadata.items() if name not in _TIMES}
