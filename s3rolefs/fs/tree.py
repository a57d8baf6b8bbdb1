"""Find out what a name is: from what is known, from a fresh listing, or by asking S3."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.decoding import Decoder
from s3rolefs.model import Key, ListPage, ObjectInfo

if TYPE_CHECKING:
    from s3rolefs.cache.background import Background
    from s3rolefs.cache.metadata import Listing, MetadataCache
    from s3rolefs.clock import Clock
    from s3rolefs.config import FileConfig
    from s3rolefs.fs.attributes import Attributes
    from s3rolefs.fs.inodes import Inode, InodeTable
    from s3rolefs.s3.store import ObjectStore

log = logging.getLogger(__name__)

_HEADS_AT_ONCE = 32
_LARGEST_WALK = 128


class Tree:
    """Resolve names to inodes and keep what is known about them as fresh as the options say."""

    def __init__(
        self,
        store: ObjectStore,
        metadata: MetadataCache,
        table: InodeTable,
        background: Background,
        clock: Clock,
        files: FileConfig,
        *,
        mounted_at_ns: int,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._table = table
        self._background = background
        self._clock = clock
        self._files = files
        self._decoder = Decoder(files, default_time_ns=mounted_at_ns)
        self._asked: dict[Key, trio.Event] = {}
        self._places = trio.CapacityLimiter(_HEADS_AT_ONCE)
        self._said_list_denied = False

    def is_fresh(self, inode: Inode) -> bool:
        """Tell whether nothing needs to be asked about an inode: local changes always win."""
        return inode.permanent or inode.detached or inode.is_unsent or self.fresh_seconds(inode) > 0

    def fresh_seconds(self, inode: Inode) -> float:
        """Return for how long what is known of an inode may still be believed."""
        if inode.permanent or inode.removed or inode.is_unsent:
            return self._files.metadata_ttl_seconds
        if inode.detached:
            return 0.0
        age_seconds = self._clock.boot_seconds() - inode.checked_at_seconds
        return max(0.0, self._files.metadata_ttl_seconds - age_seconds)

    async def lookup(self, parent: Inode, name: str) -> Inode:
        """Return the inode of a name; NOT_FOUND."""
        while True:
            known = parent.children.get(name)
            if known is not None and self.is_fresh(known):
                return known
            began_at_seconds = self._clock.boot_seconds()
            prefix = self._table.directory_prefix(parent)
            changes = self._metadata.follow(prefix)
            try:
                found = await self._resolve(prefix, name)
            except FileSystemError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
                found = None
            if changes.get(name) is not None or self._table.directory_prefix(parent) != prefix:
                continue  # the answer is older than what this mount did meanwhile
            if found is not None:
                directory, info = found
                return self.adopt(
                    parent, name, info, directory=directory, checked_at_seconds=began_at_seconds
                )
            known = parent.children.get(name)
            if known is None:
                raise FileSystemError(Reason.NOT_FOUND)
            if known.is_unsent or self._table.unsent_below(known):
                return known
            self._table.detach(known)
            raise FileSystemError(Reason.NOT_FOUND)

    async def revalidate(self, inode: Inode) -> None:
        """Make sure an inode is still what its name stands for; STALE when it is not.

        The kernel answers STALE from an open by looking the name up again, once.
        """
        if inode.parent is None or inode.removed:
            return
        if not self.is_fresh(inode):
            try:
                await self.lookup(inode.parent, inode.name)
            except FileSystemError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
        if inode.detached and not inode.removed:
            raise FileSystemError(Reason.STALE, "the object was replaced or removed by somebody else")

    def doubt(self, inode: Inode) -> None:
        """Make the next look-up of an inode's name ask S3, whatever is remembered."""
        if inode.parent is not None:
            inode.checked_at_seconds = float("-inf")
            self._metadata.doubt(self._table.directory_prefix(inode.parent), inode.name)

    def adopt(
        self,
        parent: Inode,
        name: str,
        info: ObjectInfo | None,
        *,
        directory: bool,
        checked_at_seconds: float,
    ) -> Inode:
        """Return the inode for what S3 says a name is: the known one, or another when it is another."""
        known = parent.children.get(name)
        if known is not None and (known.is_unsent or known.checked_at_seconds > checked_at_seconds):
            return known  # written or stored here while S3 was being asked
        decoded = self._decoder.attributes(info, directory=directory)
        if known is not None:
            if self._is_same(known, info, decoded):
                self._refresh(known, info, decoded, checked_at_seconds)
                return known
            self._table.detach(known)
        return self._table.add(parent, name, decoded, info=info, checked_at_seconds=checked_at_seconds)

    async def full(self, listed: ObjectInfo) -> ObjectInfo:
        """Return what HEAD says of a listed object, asking at most once at a time.

        An object that may be listed but not read keeps what the listing said.
        """
        if self._files.metadata_from_listing:
            return listed
        while True:
            known = self._metadata.full(listed)
            if known is not None:
                return known
            asked = self._asked.get(listed.key)
            if asked is None:
                break
            await asked.wait()
        asked = self._asked[listed.key] = trio.Event()
        changes = self._metadata.changes
        try:
            info = await self._store.head(listed.key)
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

    def known_attributes(self, listed: ObjectInfo) -> ObjectInfo | None:
        """Return a listed object's full description if no request is needed for it."""
        return listed if self._files.metadata_from_listing else self._metadata.full(listed)

    def _is_same(self, known: Inode, info: ObjectInfo | None, decoded: Attributes) -> bool:
        if known.attributes.mode >> 12 != decoded.mode >> 12:  # another type of file
            return False
        if known.is_directory:
            return True
        return info is not None and known.version is not None and known.version.etag == info.etag

    def _refresh(
        self, known: Inode, info: ObjectInfo | None, decoded: Attributes, checked_at_seconds: float
    ) -> None:
        known.checked_at_seconds = checked_at_seconds
        if info is None or info.metadata is None:
            return
        if "mtime" not in info.metadata and not (known.is_directory and known.info is None):
            # Times that only this mount knows: of a streamed upload, of a directory whose children changed.
            decoded = replace(
                decoded,
                mtime_ns=known.attributes.mtime_ns,
                ctime_ns=known.attributes.ctime_ns,
                atime_ns=known.attributes.atime_ns,
            )
        known.info = info
        if not known.is_directory:
            known.attributes = decoded
        else:
            known.took(mode=decoded.mode, uid=decoded.uid, gid=decoded.gid, xattr=decoded.xattr)

    async def _resolve(self, prefix: str, name: str) -> tuple[bool, ObjectInfo | None]:
        """Return (is a directory, its object or marker); NOT_FOUND."""
        listing = self._metadata.listing(prefix)
        if listing is None:
            return await self._ask(prefix, name)
        if name in listing.prefixes:
            return True, await self._marker(Key(prefix + name + "/"))
        listed = listing.objects.get(name)
        if listed is None:
            raise FileSystemError(Reason.NOT_FOUND)
        self._walk_on(listing, name)
        return False, await self.full(listed)

    async def _ask(self, prefix: str, name: str) -> tuple[bool, ObjectInfo | None]:
        key = Key(prefix + name)
        changes = self._metadata.changes
        head: ObjectInfo | FileSystemError | None = None
        page: ListPage | FileSystemError | None = None

        async def ask_head() -> None:
            nonlocal head
            try:
                head = await self._store.head(key)
            except FileSystemError as error:
                head = error

        async def ask_listing() -> None:
            nonlocal page
            try:
                page = await self._store.list_page(key + "/", delimiter="", limit=1)
            except FileSystemError as error:
                page = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_head)
            nursery.start_soon(ask_listing)
        if isinstance(page, ListPage) and page.objects:
            marked = page.objects[0].key == key + "/"
            return True, await self._marker(Key(key + "/")) if marked else None
        if isinstance(page, FileSystemError) and page.reason is not Reason.ACCESS_DENIED:
            raise page
        if isinstance(head, ObjectInfo):
            self._metadata.remember(head, changes)
            return False, head
        assert isinstance(head, FileSystemError)
        if head.reason is not Reason.ACCESS_DENIED:
            raise head
        if isinstance(page, FileSystemError):
            self._say_list_denied(prefix)
            # Without s3:ListBucket S3 does not say if a key exists; a role that may only write needs "no".
            raise FileSystemError(Reason.NOT_FOUND)
        return await self._settle_denied(key)

    async def _settle_denied(self, key: Key) -> tuple[bool, ObjectInfo | None]:
        """Settle a HEAD that answered 403 by the listing: absent, or there but not readable."""
        page = await self._store.list_page(key, delimiter="", limit=1)
        if page.objects and page.objects[0].key == key:
            return False, page.objects[0]
        raise FileSystemError(Reason.NOT_FOUND)

    async def _marker(self, key: Key) -> ObjectInfo | None:
        if self._files.metadata_from_listing:
            return None
        changes = self._metadata.changes
        try:
            info = await self._store.head(key)
        except FileSystemError as error:
            if error.reason in (Reason.NOT_FOUND, Reason.ACCESS_DENIED):
                return None
            raise
        self._metadata.remember(info, changes)
        return info

    def _walk_on(self, listing: Listing, name: str) -> None:
        """Ask for the next objects of a listing before somebody does who goes through it in order."""
        if self._files.metadata_from_listing:
            return
        for following in listing.follow(name, largest=_LARGEST_WALK):
            if following.key not in self._asked and self._metadata.full(following) is None:
                self._background.start_soon(self._prefetch, following)

    async def _prefetch(self, listed: ObjectInfo) -> None:
        async with self._places:
            try:
                await self.full(listed)
            except FileSystemError as error:
                log.debug("HEAD of %s ahead of its reader: %s", listed.key, error)

    def _say_list_denied(self, prefix: str) -> None:
        if not self._said_list_denied:
            self._said_list_denied = True
            log.warning(
                "the role lacks s3:ListBucket below %r: files can be used by name, but not listed", prefix
            )
