"""Bring what changed to S3: content with its attributes, or attributes alone; keep what fails.

Everything here runs with the inode's lock held, but for the retries, which take it themselves.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.listings import DIRECTORY
from s3rolefs.errors import FileSystemError, Reason, StoreError
from s3rolefs.fs.descriptions import early_attributes, is_outdated, object_attributes, stored_info
from s3rolefs.fs.inode import Inode, version_of
from s3rolefs.fs.keeping import Keeper
from s3rolefs.fs.names import CONTENT
from s3rolefs.fs.tags import Tags
from s3rolefs.fs.upload import StreamingUpload, copies_everything, copy_object
from s3rolefs.fs.writer import Writer

if TYPE_CHECKING:
    from s3rolefs.cache.background import Background
    from s3rolefs.cache.blocks import BlockCache, ObjectVersion
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.clock import Clock
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.removals import Removals
    from s3rolefs.fs.unsent import UnsentFolder
    from s3rolefs.model import Key, ObjectInfo, Stored
    from s3rolefs.s3.store import ObjectAttributes, ObjectStore

log = logging.getLogger(__name__)

_RETRY_FIRST_SECONDS = 1.0
_RETRY_LONGEST_SECONDS = 60.0


class Committer:
    """Send writers' content and attributes; remember what could not be sent."""

    def __init__(
        self,
        store: ObjectStore,
        blocks: BlockCache,
        metadata: MetadataCache,
        table: InodeTable,
        background: Background,
        clock: Clock,
        folder: UnsentFolder,
        removals: Removals,
    ) -> None:
        self._store = store
        self._blocks = blocks
        self._metadata = metadata
        self._table = table
        self._background = background
        self._clock = clock
        self._folder = folder
        self._removals = removals
        self.tags = Tags(store)
        self._retried: set[Inode] = set()
        self.keeper = Keeper(folder, table)

    def new_writer(self, inode: Inode, *, empty: bool) -> Writer:
        """Give an inode a writer; `empty` drops the content it has."""
        self._folder.restore()
        inode.writer = Writer(
            self._store,
            self._blocks,
            self._background,
            str(self._folder.path),
            None if empty else inode.version,
            new=inode.version is None,
        )
        self._table.writing.add(inode)
        return inode.writer

    def begin_stream(self, inode: Inode) -> StreamingUpload | None:
        """Begin to upload a file that is still being written, if what has to survive is known."""
        assert inode.writer is not None
        info = inode.info
        if inode.detached or (info is not None and (info.metadata is None or info.tag_count)):
            return None
        return StreamingUpload(
            self._store,
            self._background,
            self._table.key(inode),
            early_attributes(inode),
            inode.writer.spool,
        )

    async def commit(self, inode: Inode, *, keep: bool = True) -> None:
        """Make S3 have the inode's content and attributes; raises what close or fsync has to report.

        What cannot be sent is kept on local disk and tried again, unless `keep` is False: then the
        caller, who is still there to hear of it, gives the content up.
        """
        writer = inode.writer
        if writer is None or not writer.dirty or inode.removed:
            return
        if inode.detached:
            raise _lost_error(writer)
        try:
            await self.settle_attempts(inode, writer)
            if writer.dirty:
                self.keeper.write_down_again(inode, writer)
                await self._send(inode, writer)
        except FileSystemError as error:
            if not _is_conflict(inode, error):
                if keep:
                    self._keep(inode, writer, error)
                raise
            if not inode.is_directory:
                raise self._lost(inode, writer, keep=keep) from error
            # Somebody else has made the directory, too: theirs is as good, and is looked at again.
            self._doubt(inode)
            was_changed = writer.revision > 1
            await self.give_up(inode)
            if was_changed:  # as when it had been there from the beginning
                await self.store_attributes(inode)
        self.keeper.forget(inode)
        inode.times_were_set = False

    async def _send(self, inode: Inode, writer: Writer) -> None:
        key = self._table.key(inode)
        await self._removals.settle(key)
        attributes = await self._description(inode)
        before = inode.info if inode.is_directory else inode.version
        try:
            stored, used = await writer.send(
                key,
                attributes,
                if_match=before.etag if before is not None else None,
                if_none_match=before is None,
            )
        except StoreError as error:
            if not error.outcome_unknown:
                writer.attempts.clear()
            raise
        writer.attempts.clear()
        info = stored_info(key, stored, used, writer.size_bytes, inode.attributes.mtime_ns)
        version = version_of(info)
        writer.committed(version)
        self.stored(inode, info, version)
        if used is not attributes and is_outdated(inode, used.metadata):
            try:
                await self.store_attributes(inode)
            except FileSystemError as error:
                writer.touch()  # nothing but a copy is left to do
                if isinstance(error, StoreError) and error.outcome_unknown:
                    writer.attempted(attributes)
                raise

    async def settle_attempts(self, inode: Inode, writer: Writer) -> None:
        """Find out whether S3 took an attempt whose answer never came: it must not look like a conflict."""
        if not writer.attempts:
            return
        try:
            found = await self._store.head(self._table.key(inode))
        except FileSystemError as error:
            if error.reason not in (Reason.NOT_FOUND, Reason.ACCESS_DENIED):
                raise
        else:
            is_base = inode.version is not None and inode.version.etag == found.etag
            taken = {attempt.revision for attempt in writer.attempts if attempt.made(found)}
            if taken and not is_base:
                version = version_of(found)
                writer.rebase(version)
                # Of two that look the same (a kernel's clock stands still for some milliseconds) nobody knows
                # which one S3 has: what there is now is sent again.
                if taken == {writer.revision}:
                    writer.committed(version)
                    if is_outdated(inode, found.metadata or {}):
                        writer.touch()
                self.stored(inode, found, version)
                if not writer.dirty:
                    self.keeper.forget(inode)
        writer.attempts.clear()

    async def store_attributes(self, inode: Inode) -> None:
        """Make S3 have the attributes of a file whose content it has already, or of a directory."""
        of_none = inode.permanent and (self._table.is_map or self._table.key(inode) == "")
        if inode.removed or inode.is_part or of_none:
            return
        if inode.detached:
            raise _changed_elsewhere()
        key = self._table.key(inode)
        attributes = await self._description(inode)
        try:
            if inode.info is None or (inode.is_directory and not inode.info.size_bytes):
                etag = inode.info.etag if inode.info is not None else None
                stored = await self._store.put(
                    key, b"", attributes, if_match=etag, if_none_match=etag is None
                )
            else:
                version = inode.version or version_of(inode.info)
                stored = await copy_object(self._store, version, key, attributes)
        except FileSystemError as error:
            if error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND):
                self._doubt(inode)
                raise _changed_elsewhere() from error
            raise
        size_bytes = inode.info.size_bytes if inode.info is not None else 0
        info = stored_info(key, stored, attributes, size_bytes, inode.attributes.mtime_ns)
        version = version_of(info) if inode.version is None else replace(inode.version, etag=stored.etag)
        if inode.writer is not None:
            inode.writer.rebase(version)
        self.stored(inode, info, version)

    async def _description(self, inode: Inode) -> ObjectAttributes:
        """Return what is to stand beside an inode's bytes, with all that has to survive."""
        await self.complete_info(inode)
        return await self.tags.beside(object_attributes(inode), inode.info)

    async def complete_info(self, inode: Inode) -> None:
        """Ask for what only HEAD knows of an object that is about to be replaced: it has to survive."""
        if inode.info is not None and inode.info.metadata is not None:
            return
        if inode.version is None and (inode.is_unsent or not inode.is_directory):
            return  # nothing is there
        try:
            info = await self._store.head(self._table.key(inode))
        except FileSystemError as error:
            if error.reason is Reason.NOT_FOUND and inode.is_directory:
                return  # it has no marker
            raise
        if inode.version is not None and info.etag != inode.version.etag:
            self._doubt(inode)
            raise _changed_elsewhere()
        inode.info = info
        if inode.attributes.xattr is None:
            inode.took(xattr=(info.metadata or {}).get("xattr"))

    def stored(self, inode: Inode, info: ObjectInfo, version: ObjectVersion) -> None:
        """Enter what S3 holds now into the inode and the caches; a directory's object is its marker."""
        inode.stored(info, None if inode.is_directory else version, self._clock.boot_seconds())
        if inode.is_directory:
            self._metadata.changed(info.key, "", info)
            if not inode.permanent:
                self._metadata.changed(*self._table.place_of(inode), DIRECTORY)
            return
        assert inode.parent is not None
        if inode.step == CONTENT:
            inode.parent.info = info
        self._metadata.changed(*self._table.place_of(inode), info)

    async def copy_to(self, inode: Inode, target: Key, *, if_none_match: bool) -> Stored:
        """Copy an inode's object, with everything stored beside it, to another key."""
        assert inode.version is not None
        assert inode.info is not None
        return await copy_object(
            self._store,
            inode.version,
            target,
            None if copies_everything(inode.info) else await self._description(inode),
            if_none_match=if_none_match,
        )

    def _doubt(self, inode: Inode) -> None:
        assert inode.parent is not None
        inode.checked_at_seconds = float("-inf")
        self._metadata.doubt(*self._table.place_of(inode))
        if inode.is_directory:  # what was made here is taken for empty
            self._metadata.forget_listing(self._table.key(inode))

    async def give_up(self, inode: Inode) -> None:
        """Drop changes that the program was told have failed; the file is again what S3 has."""
        writer, inode.writer = inode.writer, None
        self._table.writing.discard(inode)
        self.keeper.forget(inode)
        if writer is not None:
            await writer.close()
        self._table.drop_if_unused(inode)

    def _keep(self, inode: Inode, writer: Writer, error: FileSystemError) -> None:
        known = inode in self.keeper
        kept = self.keeper.keep(inode, writer, error.message)
        if not known:
            log.error("%s is not in S3 yet (%s): kept as %s", kept.path, error, kept.kept_at)
            self.begin_retrying(inode)

    def begin_retrying(self, inode: Inode) -> None:
        """Try to send what is kept of an inode until S3 has it."""
        if inode not in self._retried:
            self._retried.add(inode)
            self._background.start_soon(self._retry, inode)

    def _lost(self, inode: Inode, writer: Writer, *, keep: bool) -> FileSystemError:
        """Take an inode whose name is somebody else's now off it; its content stays on local disk."""
        if keep and writer.size_bytes:
            kept = self.keeper.keep(inode, writer, "somebody else changed the object", conflict=True)
            log.error(
                "%s was changed by somebody else; the version written here is kept as %s",
                kept.path,
                kept.kept_at,
            )
        else:
            self.keeper.forget(inode)
        self._doubt(inode)
        self._table.detach(inode)
        return _lost_error(writer)

    async def _retry(self, inode: Inode) -> None:
        delay = _RETRY_FIRST_SECONDS
        while True:
            await trio.sleep(delay)
            delay = min(2 * delay, _RETRY_LONGEST_SECONDS)
            async with inode.lock:
                if inode not in self.keeper:
                    self._retried.discard(inode)
                    await self.close_writer_if_unused(inode)
                    return
                try:
                    await self.commit(inode)
                except FileSystemError as error:
                    log.info("%s is still not in S3: %s", self._table.path(inode), error)
                    continue
                log.warning("%s has reached S3", self._table.path(inode))
                self._retried.discard(inode)
                await self.close_writer_if_unused(inode)
                return

    async def close_writer_if_unused(self, inode: Inode) -> None:
        """Give a writer back when no descriptor is open and S3 has everything."""
        writer = inode.writer
        if writer is None or inode.handles or inode.is_unsent:
            return
        content = writer.whole_content() if not inode.detached else None
        inode.writer = None
        self._table.writing.discard(inode)
        if content is not None and inode.version is not None:
            self._blocks.insert(inode.version, content)
        await writer.close()
        self._table.drop_if_unused(inode)


def _is_conflict(inode: Inode, error: FileSystemError) -> bool:
    gone = (Reason.NOT_FOUND, Reason.STALE)
    return error.reason is Reason.PRECONDITION or (error.reason in gone and inode.version is not None)


def _changed_elsewhere() -> FileSystemError:
    return FileSystemError(Reason.STALE, "the object was changed by somebody else")


def _lost_error(writer: Writer) -> FileSystemError:
    if writer.never_stored:
        return FileSystemError(Reason.EXISTS, "somebody else has made an object of that name")
    return _changed_elsewhere()
