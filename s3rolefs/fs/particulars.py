"""Ask for what a listing does not tell of an object: its metadata, and of a small one the bytes with them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.inode import version_of

if TYPE_CHECKING:
    from s3rolefs.cache.blocks import BlockCache
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.config import FileConfig
    from s3rolefs.model import Key, ObjectInfo
    from s3rolefs.s3.store import ObjectStore

log = logging.getLogger(__name__)


class Particulars:
    """Ask about each object at most once at a time; what was answered goes to the caches."""

    def __init__(
        self, store: ObjectStore, metadata: MetadataCache, blocks: BlockCache, files: FileConfig
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._blocks = blocks
        self._files = files
        self._asked: dict[Key, trio.Event] = {}

    def known(self, listed: ObjectInfo) -> ObjectInfo | None:
        """Return a listed object's full description if no request is needed for it."""
        return listed if self._files.metadata_from_listing else self._metadata.full(listed)

    def is_asked(self, listed: ObjectInfo) -> bool:
        """Tell whether an answer about an object is on its way."""
        return listed.key in self._asked

    async def full(self, listed: ObjectInfo, *, whole: bool = False) -> ObjectInfo:
        """Return what HEAD says of a listed object; `whole` lets a GET of the listed version say it.

        An object that may be listed but not read keeps what the listing said.
        """
        while True:
            known = self.known(listed)
            if known is not None:
                return known
            asked = self._asked.get(listed.key)
            if asked is None:
                break
            await asked.wait()
        asked = self._asked[listed.key] = trio.Event()
        changes = self._metadata.changes
        try:
            info = await self._get(listed) if whole else None
            if info is None:
                began_at = trio.current_time()
                info = await self._store.head(listed.key)
                self._blocks.line.told_round_trip(trio.current_time() - began_at)
        except FileSystemError as error:
            if error.reason is not Reason.ACCESS_DENIED:
                raise
            return listed
        else:
            self._metadata.remember(info, changes)
            return info
        finally:
            del self._asked[listed.key]
            asked.set()

    async def bring(self, listed: ObjectInfo) -> None:
        """Let a small object's bytes be here, and what goes with them, before somebody asks."""
        if self.known(listed) is None:
            await self.full(listed, whole=True)
        else:
            await self._get(listed)

    def is_marker_known(self, prefix: str) -> bool:
        """Tell whether a directory's marker, or that it has none, needs no request."""
        listing = self._metadata.beginning(prefix)
        return self._files.metadata_from_listing or (
            listing is not None
            and (listing.marker is None or self._metadata.full(listing.marker) is not None)
        )

    async def marker(self, key: Key) -> ObjectInfo | None:
        """Return what HEAD says of a directory's marker, if there is one."""
        if self._files.metadata_from_listing:
            return None
        listing = self._metadata.beginning(key)
        if listing is not None:
            return await self.listed_marker(listing.marker)
        changes = self._metadata.changes
        try:
            info = await self._store.head(key)
        except FileSystemError as error:
            if error.reason in (Reason.NOT_FOUND, Reason.ACCESS_DENIED):
                return None
            raise
        self._metadata.remember(info, changes)
        return info

    def known_marker(self, prefix: str) -> ObjectInfo | None:
        """Return a directory's marker where `is_marker_known`."""
        listing = None if self._files.metadata_from_listing else self._metadata.beginning(prefix)
        return self._metadata.full(listing.marker) if listing is not None and listing.marker else None

    async def listed_marker(self, listed: ObjectInfo | None) -> ObjectInfo | None:
        """Return what HEAD says of a marker that is listed; None where it is refused, or not wanted."""
        if listed is None or self._files.metadata_from_listing:
            return None
        info = await self.full(listed)
        return info if info.metadata is not None else None

    async def _get(self, listed: ObjectInfo) -> ObjectInfo | None:
        """Get the listed version with one GET; None: it is here already, or HEAD has to say what is wrong."""
        try:
            return await self._blocks.whole(version_of(listed))
        except FileSystemError as error:
            log.debug("GET of %s ahead of its reader: %s", listed.key, error)
            return None


def is_small(listed: ObjectInfo) -> bool:
    """Tell whether one GET brings all of an object, and it has something to bring."""
    return 0 < listed.size_bytes <= BLOCK_BYTES
