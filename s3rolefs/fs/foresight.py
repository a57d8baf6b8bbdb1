"""See what programs will ask for next: attributes or bytes of the files of a directory, in some order.

A program that opens files in an order gets the next ones before it asks. An order is S3's (names, sorted)
or that of inode numbers (in which cp and tar go); several programs may each be at another place in it. Each
file opened in turn widens what is fetched ahead; one that was skipped, and a jump to elsewhere, narrow it.
Who opens many files of a directory in no order gets the others in the end, too: never more than a few
for each that was opened. Nothing is asked twice, and nothing is believed for longer than a listing is.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from s3rolefs.errors import FileSystemError
from s3rolefs.fs.inode import version_of
from s3rolefs.fs.inodes import number_of
from s3rolefs.fs.names import Kind
from s3rolefs.fs.particulars import is_small

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.blocks import BlockCache
    from s3rolefs.cache.listings import Listing
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.config import FileConfig
    from s3rolefs.fs.particulars import Particulars
    from s3rolefs.model import ObjectInfo

log = logging.getLogger(__name__)

# On a near line more than these would only wait for each other, on connections made for them.
_AT_ONCE_NEAR = 32
_AT_ONCE_FAR = 64
_LARGEST_ATTRIBUTES_WINDOW = 128
_LARGEST_WINDOW = 64
_STEP = 4
# Programs that share the work of one order are that far apart.
_NEARBY = 8
_PLACES_LIMIT = 16
_DIRECTORIES_LIMIT = 64
# In a larger directory only S3's order is looked for.
_LARGEST_SORTED = 20_000
# Opened in no order: from this share of the files on the others are fetched, so many for each.
_SHARE = 8
_LEAST_OPENED = 8
# What is fetched ahead at one place takes at most this share of the memory for blocks.
_MEMORY_SHARE = 8
_MOST_EVIDENCE = 6


@dataclass(slots=True, eq=False)
class Place:
    """Say where in an order somebody is: at index `at`, with what is before `until` asked for."""

    at: int
    until: int
    window: int = 0


class Order:
    """Hold the small files of a directory in one order, and the places of those who go through it.

    `first_window`: what a place begins with; below 0 it takes more than one file in turn to be believed.
    """

    def __init__(self, files: Iterable[ObjectInfo], *, first_window: int = 0) -> None:
        self.files = list(files)
        self._first_window = first_window
        self._index = {listed.key: index for index, listed in enumerate(self.files)}
        # How many bytes there are up to each file, and with it.
        self.passed_bytes = list(accumulate(listed.size_bytes for listed in self.files))
        self.places: list[Place] = []

    def moves_to(self, listed: ObjectInfo, opened: Callable[[ObjectInfo], bool]) -> Place | None:
        """Return the place of whoever opens a file now, widened or narrowed; None: a jump.

        A jump narrows all places, and begins one of its own, at which nothing is fetched yet.
        """
        index = self._index.get(listed.key)
        if index is None:
            return None
        for place in reversed(self.places):  # who began last goes on most likely
            # Only who has opened files one after the other may skip some, or share them with others.
            if index == place.at + 1 or (place.window > 0 and abs(index - place.at) <= _NEARBY):
                skipped = sum(not opened(self.files[between]) for between in range(place.at + 1, index))
                window = place.window + _STEP - _STEP * skipped
                place.window = min(max(self._first_window, window), _LARGEST_WINDOW)
                place.at = max(place.at, index)
                self._cut(place)
                return place
        for place in self.places:
            if place.window > 0:
                place.window //= 2
                self._cut(place)
        self.places = [*self.places, Place(index, index + 1, self._first_window)][-_PLACES_LIMIT:]
        return None

    def _cut(self, place: Place) -> None:
        place.until = max(place.at + 1, min(place.until, place.at + 1 + place.window))


@dataclass(slots=True, kw_only=True, eq=False)
class Visit:
    """Follow what is done with the files of a directory; `evidence` grows when those looked up are opened."""

    listing: Listing
    evidence: int
    orders: list[Order] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    opened_again: int = 0
    others: Iterator[ObjectInfo] | None = None

    def has_opened(self, listed: ObjectInfo) -> bool:
        """Tell whether a file was opened since the visit began."""
        return listed.key in self.opened


class Foresight:
    """Fetch what will be asked for, many at a time, from complete and fresh listings only."""

    def __init__(
        self,
        particulars: Particulars,
        metadata: MetadataCache,
        blocks: BlockCache,
        background: Background,
        files: FileConfig,
    ) -> None:
        self._particulars = particulars
        self._metadata = metadata
        self._blocks = blocks
        self._background = background
        self._files = files
        self._budget_bytes = files.cache_memory_bytes // _MEMORY_SHARE
        self._turn = trio.CapacityLimiter(_AT_ONCE_NEAR)
        self._visits: LRUCache[str, Visit] = LRUCache(_DIRECTORIES_LIMIT)
        # The visit that a file was opened in last: whoever goes on to the next directory does the same there,
        # and if he does not he is not believed to do so in the one after.
        self._last: Visit | None = None

    def looked_up(self, prefix: str, listing: Listing, listed: ObjectInfo) -> bool:
        """Note that a file is looked up; tell whether it will be opened, so that a GET serves better."""
        visit = self._visit(prefix, listing)
        reads = visit.evidence > 0
        visit.evidence -= reads
        if reads and is_small(listed):
            return True
        if not self._files.metadata_from_listing:
            for following in self._next_of_walk(prefix, listing, listed.key[len(prefix) :]):
                if not (reads and is_small(following)) and self._is_unknown(following):
                    self._background.start_soon(self._describe, following)
        return False

    def _next_of_walk(self, prefix: str, listing: Listing, name: str) -> Iterator[ObjectInfo]:
        """Yield what a walk will look up next, in this directory and in those after it."""
        yield from listing.follow(name, largest=_LARGEST_ATTRIBUTES_WINDOW)
        count, before = listing.beyond(), listing
        while count > 0:
            above, slash, last = prefix[:-1].rpartition("/")
            around = self._metadata.telling_of(above + slash, last)
            following = around.directory_after(last) if around is not None else None
            prefix = f"{above}{slash}{following}/"
            after = self._metadata.listing(prefix) if following is not None else None
            if after is None:
                return
            yield from after.lead_in(count, before)
            count -= len(after.objects)

    def opened(self, prefix: str, component: str) -> None:
        """Note that a file is opened to be read, and fetch those that will be opened next."""
        listing = self._metadata.listing(prefix)
        listed = listing.objects.get(component) if listing is not None else None
        if listing is None or listed is None or not is_small(listed):
            return
        visit = self._visit(prefix, listing)
        visit.evidence = min(visit.evidence + 2, _MOST_EVIDENCE)
        self._last = visit
        visit.opened_again += listed.key in visit.opened
        visit.opened.add(listed.key)
        for order in self._orders(visit):
            place = order.moves_to(listed, visit.has_opened)
            if place is not None:
                self._fetch_from(order, place)
                return
        self._fetch_others(visit)

    def _visit(self, prefix: str, listing: Listing) -> Visit:
        visit = self._visits.get(prefix)
        if visit is None:
            goes_on = self._last is not None and self._last.evidence >= _MOST_EVIDENCE - 1
            if goes_on:
                self._last = None
            visit = self._visits[prefix] = Visit(listing=listing, evidence=int(goes_on))
        elif visit.listing is not listing:
            before, visit.listing, visit.orders, visit.others = visit.orders, listing, [], None
            if visit.opened_again:
                visit.opened, visit.opened_again = set(), 0
            if before:
                self._take_places(before[0], next(self._orders(visit)))
        return visit

    @staticmethod
    def _take_places(before: Order, after: Order) -> None:
        """Go on in the new listing of a directory where somebody was in the old one."""
        keys = [listed.key for listed in after.files]
        for place in before.places:
            at = bisect_right(keys, before.files[place.at].key) - 1
            if at >= 0:
                after.places.append(Place(at, at + 1, place.window))

    def _orders(self, visit: Visit) -> Iterator[Order]:
        """Yield the orders that a directory may be gone through in; they are made when they are needed."""
        if not visit.orders:
            visit.orders.append(Order(filter(is_small, visit.listing.objects.values())))
        yield visit.orders[0]
        if len(visit.orders) == 1 and len(visit.opened) > 1 and len(visit.orders[0].files) < _LARGEST_SORTED:
            by_number = sorted(visit.orders[0].files, key=lambda listed: number_of(listed.key, Kind.OBJECT))
            visit.orders.append(Order(by_number, first_window=-_STEP))
        yield from visit.orders[1:]

    def _fetch_from(self, order: Order, place: Place) -> None:
        until_bytes = order.passed_bytes[place.at] + self._budget_bytes
        end = min(place.at + 1 + place.window, len(order.files))
        for index in range(place.until, end):
            if order.passed_bytes[index] > until_bytes:
                break
            place.until = index + 1
            listed = order.files[index]
            if not self._is_here(listed):
                self._background.start_soon(self._fetch, listed, place, index)

    def _fetch_others(self, visit: Visit) -> None:
        """Fetch a few of the files that nobody has opened, where many were, in no order."""
        files = visit.orders[0].files
        if (
            len(files) > _LARGEST_SORTED
            or len(visit.opened) < max(_LEAST_OPENED, len(files) // _SHARE)
            or visit.opened_again > len(visit.opened) // _LEAST_OPENED
        ):
            return
        if visit.others is None:
            enough = sum(listed.size_bytes for listed in files) <= self._budget_bytes
            visit.others = iter(files if enough else ())
        count = _STEP
        for listed in visit.others:
            if not visit.has_opened(listed) and not self._is_here(listed):
                self._background.start_soon(self._fetch, listed, None, 0)
                count -= 1
                if not count:
                    return

    def _turns(self) -> trio.CapacityLimiter:
        """Return what limits the requests at once: a far line takes more of them."""
        self._turn.total_tokens = _AT_ONCE_FAR if self._blocks.line.is_far else _AT_ONCE_NEAR
        return self._turn

    def _is_unknown(self, listed: ObjectInfo) -> bool:
        return self._particulars.known(listed) is None and not self._particulars.is_asked(listed)

    def _is_here(self, listed: ObjectInfo) -> bool:
        return self._particulars.is_asked(listed) or self._blocks.has(version_of(listed), 0)

    async def _describe(self, listed: ObjectInfo) -> None:
        async with self._turns():
            try:
                await self._particulars.full(listed)
            except FileSystemError as error:
                log.debug("HEAD of %s ahead of its reader: %s", listed.key, error)

    async def _fetch(self, listed: ObjectInfo, place: Place | None, index: int) -> None:
        async with self._turns():
            if place is not None and index >= place.until:
                return  # the guess was wrong
            if self._blocks.has_room(listed.size_bytes):
                try:
                    await self._particulars.bring(listed)
                except FileSystemError as error:
                    log.debug("GET of %s ahead of its reader: %s", listed.key, error)
