"""Find out what S3 has for a component of a key: from a fresh listing, or by asking."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.listings import Listing
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.names import Form, Kind, Step, child
from s3rolefs.model import Key, ObjectInfo

if TYPE_CHECKING:
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.fs.foresight import Foresight
    from s3rolefs.fs.particulars import Particulars
    from s3rolefs.fs.surveys import Surveys
    from s3rolefs.s3.store import ObjectStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Say what S3 has for a component: a directory, with its marker if there is one, and an object.

    `no_object`: there is certainly none. `began_at_seconds`: when S3 was asked (None: for this answer).
    """

    directory: bool = False
    marker: ObjectInfo | None = None
    listed: ObjectInfo | None = None
    no_object: bool = False
    began_at_seconds: float | None = None


class Finder:
    """Answer from what is remembered where that is fresh, else ask as little as will do."""

    def __init__(
        self,
        store: ObjectStore,
        metadata: MetadataCache,
        surveys: Surveys,
        particulars: Particulars,
        foresight: Foresight,
    ) -> None:
        self._store = store
        self._surveys = surveys
        self._metadata = metadata
        self._particulars = particulars
        self._foresight = foresight
        self._said_list_denied = False

    async def resolve(self, prefix: str, component: str, form: Form) -> Found:
        """Return what S3 has for a component; a name that is an object's needs to know of nothing else."""
        listing = await self._surveys.telling_of(prefix, component)
        if listing is None:
            return await self._ask(prefix, component, form)
        listed = listing.objects.get(component)
        if form is Form.NAME and component in listing.prefixes:
            below = Key(f"{prefix}{component}/")
            if not self._particulars.is_marker_known(below):
                await self._surveys.swept(below)
            marker = await self._particulars.marker(below)
            return Found(
                directory=True,
                marker=marker,
                no_object=listed is None,
                began_at_seconds=listing.began_at_seconds,
            )
        if listed is None:
            return Found(no_object=True)
        whole = self._foresight.looked_up(prefix, listing, listed)
        try:
            found = await self._particulars.full(listed, whole=whole)
            return Found(listed=found, began_at_seconds=listing.began_at_seconds)
        except FileSystemError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return Found(no_object=True)  # it was removed since it was listed

    def ask_alone(self, prefix: str) -> None:
        """Let the next name of a directory be asked for by itself, as it is about no other."""
        self._surveys.ask_alone(prefix)

    async def holds(self, prefix: str, parts: tuple[Step, ...]) -> bool:
        """Tell whether there is a component that these parts lead to."""
        start = prefix + "".join(part.text for part in parts)
        token: str | None = None
        while True:
            page = await self._store.list_page(start, token=token)
            directories = {found[len(prefix) : -1] for found in page.prefixes}
            objects = [info.key[len(prefix) :] for info in page.objects]
            if any(child(parts, Kind.DIRECTORY, component) for component in directories) or any(
                child(parts, Kind.OBJECT, component, beside=component in directories) for component in objects
            ):
                return True
            token = page.next_token
            if token is None:
                return False

    async def _ask(self, prefix: str, component: str, form: Form) -> Found:
        key = Key(prefix + component)
        changes = self._metadata.changes
        head: ObjectInfo | FileSystemError | None = None
        below: Listing | FileSystemError | None = None

        async def ask_head() -> None:
            nonlocal head
            try:
                head = await self._store.head(key)
            except FileSystemError as error:
                head = error

        async def ask_listing() -> None:
            nonlocal below
            try:
                below = await self._surveys.look(key + "/")
            except FileSystemError as error:
                below = error

        async with trio.open_nursery() as nursery:
            # An empty component is a directory, or what a marker holds.
            if (component or form is Form.OBJECT) and not self._metadata.is_removing(prefix, component):
                nursery.start_soon(ask_head)
            if form is Form.NAME:
                nursery.start_soon(ask_listing)
        no_object = head is None or (isinstance(head, FileSystemError) and head.reason is Reason.NOT_FOUND)
        if isinstance(below, Listing) and not below.found_nothing:
            marker = await self._particulars.listed_marker(below.marker)
            return Found(directory=True, marker=marker, no_object=no_object)
        # Below a key of 1,024 bytes there is nothing, which services say in different ways.
        if isinstance(below, FileSystemError) and below.reason not in (
            Reason.ACCESS_DENIED,
            Reason.NAME_TOO_LONG,
        ):
            raise below
        if isinstance(head, ObjectInfo):
            self._metadata.remember(head, changes)
            # An empty marker holds nothing: it is the directory alone.
            return Found(listed=head) if component or head.size_bytes else Found(no_object=True)
        if no_object:
            return Found(no_object=True)
        assert isinstance(head, FileSystemError)
        if head.reason is not Reason.ACCESS_DENIED:
            raise head
        if isinstance(below, FileSystemError):
            self._say_list_denied(prefix)
            # Without s3:ListBucket S3 does not say if a key exists; a role that may only write needs "no".
            return Found(no_object=True)
        return await self._settle_denied(key)

    async def _settle_denied(self, key: Key) -> Found:
        """Settle a HEAD that answered 403 by the listing: absent, or there but not readable."""
        page = await self._store.list_page(key, delimiter="", limit=1)
        if page.objects and page.objects[0].key == key:
            return Found(listed=page.objects[0])
        return Found(no_object=True)

    def _say_list_denied(self, prefix: str) -> None:
        if not self._said_list_denied:
            self._said_list_denied = True
            log.warning(
                "the role lacks s3:ListBucket below %r: files can be used by name, but not listed", prefix
            )
