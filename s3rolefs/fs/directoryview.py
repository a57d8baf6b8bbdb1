"""Give each reader of a directory a view that does not change while it is read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.listings import NOTHING, Listing, Sort
from s3rolefs.errors import FileSystemError
from s3rolefs.fs import surveys
from s3rolefs.fs.attributes import SYMLINK_TARGET_LIMIT_BYTES
from s3rolefs.fs.names import CONTENT, Kind, Step, child, spell
from s3rolefs.model import ListPage, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from s3rolefs.fs.directories import Directories
    from s3rolefs.fs.inode import Inode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """Name one child: `listed` is its object, None for a directory or a file not yet in S3.

    `beside`: an object where a directory has the plain name. `told_at_seconds` (boot clock): it is as old as
    that.
    """

    step: Step
    listed: ObjectInfo | None
    beside: bool = False
    told_at_seconds: float

    @property
    def is_directory(self) -> bool:
        """Tell whether it is surely a directory; of an object only its attributes tell what it is."""
        return self.step.kind is not Kind.OBJECT

    @property
    def is_regular_file(self) -> bool:
        """Tell whether it is surely a regular file: of all others none is so large."""
        return self.listed is not None and self.listed.size_bytes > SYMLINK_TARGET_LIMIT_BYTES

    @property
    def name(self) -> str:
        """Return the entry's file name."""
        return spell(self.step, beside=self.beside)


class DirectoryView:
    """Freeze one directory for one open descriptor; entry numbers are stable while it is open."""

    def __init__(self, directories: Directories, directory: Inode) -> None:
        self._directories = directories
        self.directory = directory
        # When the page that comes now was asked for, and the one before, which may have held an entry back.
        self._asked_at_seconds = self._told_at_seconds = directories.metadata.now_seconds()
        # The directory in S3, and the beginning of the components that are shown here.
        self._prefix, self._start = directories.table.place(directory, CONTENT)
        self._parts = directories.table.parts(directory)
        self._entries: list[DirectoryEntry] = []
        self._held_back: list[ObjectInfo] = []
        self._after: str | None = None
        self._token: str | None = None
        self._coming = Listing(began_at_seconds=self._asked_at_seconds)
        self._changes = directories.metadata.follow(self._prefix)
        self._pages = 0
        self._complete = False
        self._loading = trio.Lock()
        # What exists only here; the rest comes from S3.
        self._local = directories.table.unsent_children(directory)
        self._local |= {step for step in directory.children if step.kind is Kind.PART}
        self._directories_shown: set[Step] = set()
        listing = directories.metadata.listing(self._prefix)
        if listing is not None:
            listing.uses += 1
            self._take_all(listing)

    async def entry(self, place: int) -> DirectoryEntry | None:
        """Return the entry at `place` (from 0), None at the end."""
        while place >= len(self._entries) and not self._complete:
            await self._load(at_most=place)
        if not self._complete and place == max(0, len(self._entries) - surveys.PAGE_KEYS // 2):
            self._directories.background.start_soon(self._load_ahead, len(self._entries))
        return self._entries[place] if place < len(self._entries) else None

    def is_at_hand(self, place: int) -> bool:
        """Tell whether the entry at `place`, or that there is none, needs no request."""
        return self._complete or place < len(self._entries)

    def is_in_place(self) -> bool:
        """Tell whether the directory is still where it was: what was listed is about keys there."""
        return self._directories.table.place(self.directory, CONTENT) == (self._prefix, self._start)

    def changed(self, entry: DirectoryEntry) -> ObjectInfo | Sort | None:
        """Return what this mount changed a child to after this view's listing began (None: nothing)."""
        if entry.step.kind is Kind.PART:
            return None
        changed = self._changes.get(self._start + entry.step.key)
        # A marker that holds nothing (any more) is no file.
        is_emptied = entry.step == CONTENT and isinstance(changed, ObjectInfo) and not changed.size_bytes
        return NOTHING if is_emptied else changed

    async def _load_ahead(self, place: int) -> None:
        try:
            await self._load(at_most=place)
        except FileSystemError as error:
            log.debug("listing %r ahead of its reader: %s", self._prefix, error)

    async def _load(self, *, at_most: int) -> None:
        async with self._loading:
            if self._complete or len(self._entries) > at_most:
                return
            if not self._pages:
                # S3 answers with everything that was changed up to now.
                self._asked_at_seconds = self._directories.metadata.now_seconds()
                self._coming = Listing(began_at_seconds=self._asked_at_seconds)
                self._changes = self._directories.metadata.follow(self._prefix)
            if not self._pages and not self._parts:
                self._take_beginning(await self._directories.surveys.beginning(self._prefix))
                self._pages = 1
                return
            self._told_at_seconds = self._asked_at_seconds
            self._asked_at_seconds = self._directories.metadata.now_seconds()
            asked_after = self._directories.metadata.changes
            page = await self._directories.store.list_page(
                self._prefix + self._start,
                token=self._token,
                start_after=self._after,
                limit=surveys.PAGE_KEYS,
            )
            await self._directories.metadata.recall(page.objects, asked_after)
            self._token, self._after = page.next_token, None
            self._pages += 1
            self._take_page(page)
            if page.next_token is None:
                if not self._parts:
                    self._directories.metadata.keep_listing(self._prefix, self._coming, self._changes)
                    self._directories.surveys.completed(self._prefix, self._coming)
                self._end()

    def _take_all(self, listing: Listing) -> None:
        self._asked_at_seconds = self._told_at_seconds = listing.began_at_seconds
        self._take(listing.objects.values(), listing.prefixes)
        self._end()

    def _take_beginning(self, listing: Listing) -> None:
        """Take what is known already: all of the directory, or what comes before the next page."""
        if listing.is_complete:
            self._take_all(listing)
            return
        self._asked_at_seconds = self._told_at_seconds = listing.began_at_seconds
        self._coming = Listing(began_at_seconds=listing.began_at_seconds, marker=listing.marker)
        self._after = listing.until
        self._take_some(listing.objects, listing.prefixes, until=listing.until)

    def _take_page(self, page: ListPage) -> None:
        start = len(self._prefix)
        # Of a removal that waits S3 has still to hear.
        removing = self._directories.metadata.removals(self._prefix)
        objects = {info.key[start:]: info for info in page.objects if info.key[start:] not in removing}
        prefixes = dict.fromkeys(prefix[start:-1] for prefix in page.prefixes)
        last = None
        if page.next_token is not None:
            last = max(
                page.objects[-1].key if page.objects else "", page.prefixes[-1] if page.prefixes else ""
            )
        self._coming.marker = objects.get("", self._coming.marker)
        # An empty marker is the directory itself.
        if "" in objects and not objects[""].size_bytes:
            del objects[""]
        self._take_some(objects, prefixes, until=last)

    def _take_some(
        self, objects: dict[str, ObjectInfo], prefixes: dict[str, None], *, until: str | None
    ) -> None:
        """Show what is told of up to the key `until` (None: to the end)."""
        coming = self._held_back + list(objects.values())
        # S3 sorts "a", "a-", "a/": an object whose directory may be on the next page waits for it.
        self._held_back = [] if until is None else [info for info in coming if info.key + "/" > until]
        waiting = {info.key for info in self._held_back}
        shown = [info for info in coming if info.key not in waiting]
        self._take(shown, prefixes)
        self._coming.prefixes.update(prefixes)
        self._coming.objects.update((info.key[len(self._prefix) :], info) for info in shown)

    def _take(self, objects: Iterable[ObjectInfo], prefixes: dict[str, None]) -> None:
        for component in prefixes:
            self._show(Kind.DIRECTORY, component, None)
        for info in objects:
            component = info.key[len(self._prefix) :]
            known = self.directory.children.get(Step(Kind.OBJECT, component[len(self._start) :]))
            if known is not None and component in prefixes:
                known.named_object = False
            beside = (
                not component
                or component in prefixes
                or Step(Kind.DIRECTORY, component[len(self._start) :]) in self._local
                or (known is not None and known.named_object)
            )
            self._show(Kind.OBJECT, component, info, beside=beside)

    def _show(self, kind: Kind, component: str, listed: ObjectInfo | None, *, beside: bool = False) -> None:
        step = child(self._parts, kind, component, beside=beside)
        if step is None or step in self._directories_shown:
            return
        if step.kind is not Kind.OBJECT:
            self._directories_shown.add(step)
            listed, beside = None, False
        self._append(step, listed, beside=beside)
        self._local.discard(step)

    def _append(self, step: Step, listed: ObjectInfo | None, *, beside: bool) -> None:
        entry = DirectoryEntry(step=step, listed=listed, beside=beside, told_at_seconds=self._told_at_seconds)
        self._entries.append(entry)

    def _end(self) -> None:
        self._complete = True
        shown = self._directories_shown | self._local
        for step in sorted(self._local, key=lambda step: step.key):
            known = self.directory.children.get(step)  # it may have come to S3, or gone, meanwhile
            beside = step == CONTENT or (
                step.kind is Kind.OBJECT
                and (Step(Kind.DIRECTORY, step.text) in shown or (known is not None and known.named_object))
            )
            self._append(step, None, beside=beside)
