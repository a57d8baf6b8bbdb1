"""List, make and remove directories."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from s3rolefs.cache.listings import DIRECTORY, NOTHING, Listing
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import surveys
from s3rolefs.fs.attributes import DIRECTORY_CONTENT_TYPE, Attributes, to_metadata
from s3rolefs.fs.directoryview import DirectoryView
from s3rolefs.model import Key, ListPage, ObjectInfo
from s3rolefs.s3.store import ObjectAttributes, ObjectStore

if TYPE_CHECKING:
    from s3rolefs.cache.background import Background
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.names import Step
    from s3rolefs.fs.surveys import Surveys

log = logging.getLogger(__name__)


class Directories:
    """Make, list and remove directories of one mount."""

    def __init__(
        self,
        store: ObjectStore,
        metadata: MetadataCache,
        surveys: Surveys,
        table: InodeTable,
        background: Background,
    ) -> None:
        self.store = store
        self.metadata = metadata
        self.surveys = surveys
        self.table = table
        self.background = background

    async def make(self, parent: Inode, step: Step, attributes: Attributes, now_seconds: float) -> Inode:
        """Make a directory by its marker object; EXISTS."""
        prefix, place = self.table.place(parent, step)
        info = await self._put_marker(Key(prefix + place), attributes, only_new=True)
        self.metadata.changed(prefix, place, DIRECTORY)
        return self.begin(parent, step, attributes, now_seconds, info=info)

    def begin(
        self,
        parent: Inode,
        step: Step,
        attributes: Attributes,
        now_seconds: float,
        *,
        info: ObjectInfo | None = None,
    ) -> Inode:
        """Make the inode of a directory that nothing is in; `info` is its marker, None: S3 has none yet."""
        key = self.table.directory_prefix(parent) + step.key
        empty = Listing(began_at_seconds=now_seconds, marker=info)
        self.metadata.keep_listing(key, empty, self.metadata.follow(key))
        known = parent.children.get(step)
        if known is not None:
            self.table.detach(known)
        return self.table.add(parent, step, attributes, info=info, checked_at_seconds=now_seconds)

    async def remove(self, directory: Inode) -> None:
        """Remove an empty directory; NOT_EMPTY is decided by the bucket and by files not yet in it."""
        assert directory.parent is not None
        prefix = self.table.directory_prefix(directory)
        if self.table.unsent_below(directory):
            raise FileSystemError(Reason.NOT_EMPTY)
        if directory.is_part:
            if await DirectoryView(self, directory).entry(0) is not None:
                raise FileSystemError(Reason.NOT_EMPTY)
            self.table.remove(directory)
            return
        page = await self.store.list_page(prefix, delimiter="", limit=2)
        if holds_something(page, prefix):
            raise FileSystemError(Reason.NOT_EMPTY)
        await self.stay_without(directory)
        if page.objects or directory.info is not None:
            await self.store.delete(Key(prefix))
        self.gone(directory)

    def gone(self, directory: Inode) -> None:
        """Forget a directory that was removed or moved away."""
        assert directory.parent is not None
        prefix = self.table.directory_prefix(directory)
        self.metadata.forget_listing(prefix)
        self.metadata.changed(*self.table.place_of(directory), NOTHING)
        self.table.remove(directory)

    async def stay_without(self, inode: Inode) -> None:
        """Give an implicit directory a marker before its last child goes, so that it stays."""
        assert inode.parent is not None
        await self.stay(inode.parent, *self.table.place_of(inode))

    async def stay(self, directory: Inode | None, prefix: str, place: str = "") -> None:
        """Give an implicit directory a marker if all it holds is a child that goes, or has gone."""
        emptied = await self.emptied(directory, prefix, place)
        if emptied is not None:
            await self.mark(emptied)

    async def emptied(self, directory: Inode | None, prefix: str, place: str = "") -> Inode | None:
        """Return the implicit directory that goes with a child; None when there is more, or it stays."""
        while directory is not None and directory.is_part:
            directory = directory.parent
        if directory is None or directory.permanent or directory.info is not None or directory.is_unsent:
            return None
        listing = self.metadata.listing(prefix)
        if listing is not None and listing.has_other_than(place):
            return None
        if listing is not None:
            return directory if listing.marker is None else None
        try:
            gone = {prefix + step for step in (place, *self.metadata.removals(prefix))}
            page = await self.store.list_page(prefix, limit=min(len(gone) + 2, surveys.PAGE_KEYS))
        except FileSystemError as error:
            self._say_it_goes(directory, error)
            return None
        return directory if {info.key for info in page.objects} | set(page.prefixes) <= gone else None

    async def mark(self, directory: Inode) -> None:
        """Give an implicit directory a marker, so that it stays when nothing is in it."""
        try:
            key = self.table.key(directory)
            directory.info = await self._put_marker(key, directory.attributes, only_new=True)
        except FileSystemError as error:
            if error.reason is not Reason.EXISTS:
                self._say_it_goes(directory, error)

    def _say_it_goes(self, directory: Inode, error: FileSystemError) -> None:
        # A role may remove files but not list, or not write markers: the removal was asked for.
        log.info("no marker was left for %s: %s", self.table.path(directory), error)

    async def make_marker(self, directory: Inode, key: Key) -> None:
        """Write a directory's marker object at `key`, with its attributes."""
        directory.info = await self._put_marker(key, directory.attributes, only_new=False)

    async def _put_marker(self, key: Key, attributes: Attributes, *, only_new: bool) -> ObjectInfo:
        stored_attributes = ObjectAttributes(
            metadata=to_metadata(attributes, {}), headers={"content-type": DIRECTORY_CONTENT_TYPE}
        )
        try:
            stored = await self.store.put(key, b"", stored_attributes, if_none_match=only_new)
        except FileSystemError as error:
            if error.reason is Reason.PRECONDITION:
                raise FileSystemError(Reason.EXISTS) from error
            raise
        info = ObjectInfo(
            key=key,
            size_bytes=0,
            etag=stored.etag,
            last_modified_ns=stored.last_modified_ns or attributes.mtime_ns,
            metadata=stored_attributes.metadata,
            headers=stored_attributes.headers,
        )
        self.metadata.changed(info.key, "", info)
        return info


def holds_something(page: ListPage, prefix: str) -> bool:
    """Tell from the first two objects below a prefix whether there is more than an empty marker."""
    return any(info.key != prefix or info.size_bytes for info in page.objects)
