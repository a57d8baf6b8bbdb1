"""See what programs will ask for next: attributes or bytes of the files of a directory, in some order.

A program that opens files in an order (`orders.py`) gets the next ones before it asks; once it has gone on to
the directory that comes next in its order, also those of the directories after that one. Who opens many
files of a directory in no order gets the others in the end, too: never more than a few for each that was
opened. Nothing is asked twice, and nothing is believed for longer than a listing is.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from s3rolefs.errors import FileSystemError
from s3rolefs.fs.inode import version_of
from s3rolefs.fs.orders import STEP, Order, Place, Sort
from s3rolefs.fs.particulars import is_small

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
_DIRECTORIES_LIMIT = 64
_SORTED_LIMIT = 16
# Directories are sorted again when more than one of so many was made or removed.
_FEW = 16
# In a larger directory only S3's order is looked for.
_LARGEST_SORTED = 20_000
# Opened in no order: from this share of the files on the others are fetched, so many for each.
_SHARE = 8
_LEAST_OPENED = 8
# What is fetched ahead at one place takes at most this share of the memory for blocks.
_MEMORY_SHARE = 8
_MOST_EVIDENCE = 6


@dataclass(slots=True, kw_only=True, eq=False)
class Visit:
    """Follow what is done with the files of a directory; `evidence` grows when those looked up are opened."""

    prefix: str
    listing: Listing
    evidence: int
    orders: dict[Sort, Order] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    opened_again: int = 0
    others: Iterator[ObjectInfo] | None = None
    following: dict[Sort, str | None] = field(default_factory=dict)

    def has_opened(self, listed: ObjectInfo) -> bool:
        """Tell whether a file was opened since the visit began."""
        return listed.key in self.opened

    def by(self, sort: Sort) -> Order:
        """Return the small files in an order; it is made when it is needed."""
        if sort not in self.orders:
            self.orders[sort] = Order(filter(is_small, self.listing.objects.values()), sort)
        return self.orders[sort]

    def move(self, listed: ObjectInfo) -> tuple[Order, Place] | None:
        """Note that a file is opened; return the order in which that most likely came, and the place."""
        files = self.by(Sort.NAME).files
        self.opened_again += listed.key in self.opened
        self.opened.add(listed.key)
        places = [(order, order.moves_to(listed, self.has_opened)) for order in self.orders.values()]
        likely = [(order, place) for order, place in places if place is not None]
        if likely:
            return max(likely, key=lambda found: found[1].window)
        if len(self.opened) > 1 and Sort.NUMBER not in self.orders and len(files) < _LARGEST_SORTED:
            self.by(Sort.NUMBER).moves_to(listed, self.has_opened)
        return None


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
        # And the file: from there somebody may go on to another directory.
        self._last_opened: tuple[Visit, ObjectInfo] | None = None
        # By prefix and sort: the listing that was sorted, how far it went, and the directories' prefixes.
        self._sorted: LRUCache[tuple[str, Sort], tuple[Listing, str | None, list[str]]] = LRUCache(
            _SORTED_LIMIT
        )

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
        beside = self._beside(prefix, Sort.NAME) if count > 0 else ()
        for following in islice(beside, _DIRECTORIES_LIMIT):
            after = self._metadata.listing(following)
            if after is None or count <= 0:
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
        if not visit.opened:
            self._go_on_to(visit)
        self._last_opened = visit, listed
        found = visit.move(listed)
        if found is not None:
            self._fetch_from(visit, *found)
        else:
            self._fetch_others(visit)

    def _visit(self, prefix: str, listing: Listing) -> Visit:
        visit = self._visits.get(prefix)
        if visit is None:
            goes_on = self._last is not None and self._last.evidence >= _MOST_EVIDENCE - 1
            if goes_on:
                self._last = None
            visit = self._visits[prefix] = Visit(prefix=prefix, listing=listing, evidence=int(goes_on))
        elif visit.listing is not listing:
            before = visit.orders.get(Sort.NAME)
            visit.listing, visit.orders, visit.others, visit.following = listing, {}, None, {}
            if visit.opened_again:
                visit.opened, visit.opened_again = set(), 0
            if before is not None:
                self._take_places(before, visit.by(Sort.NAME))
        return visit

    @staticmethod
    def _take_places(before: Order, after: Order) -> None:
        """Go on in the new listing of a directory where somebody was in the old one."""
        keys = [listed.key for listed in after.files]
        for place in before.places:
            at = bisect_right(keys, before.files[place.at].key) - 1 if place.at >= 0 else -1
            if at >= 0:
                after.places.append(Place(at, at + 1, place.window, place.came))

    def _fetch_from(self, visit: Visit, order: Order, place: Place) -> None:
        """Fetch what the window of a place reaches, also in the directories that come next."""
        count, window = place.at + 1 + place.window, place.window
        goes_on = place.came and count - len(order.files) - place.beyond > window // 4
        room_bytes = self._budget_bytes
        while room_bytes > 0 and self._ask(order, place, count, room_bytes) and goes_on:
            room_bytes -= order.bytes_after(place)
            count -= len(order.files)
            place.beyond = count
            prefix = self._following(visit, order.sort)
            listing = self._metadata.listing(prefix) if prefix is not None else None
            if prefix is None or listing is None:
                return
            visit = self._visit(prefix, listing)
            order = visit.by(order.sort)
            coming = order.coming(window)
            if coming is None:
                return
            place, visit.evidence = coming, max(visit.evidence, 1)

    def _ask(self, order: Order, place: Place, count: int, room_bytes: int) -> bool:
        """Fetch the first files of an order from a place on; tell whether there is room for more of them."""
        for index in range(place.until, min(count, len(order.files))):
            if order.bytes_after(place, index) > room_bytes:
                return False
            place.until = index + 1
            listed = order.files[index]
            if not self._is_here(listed):
                self._background.start_soon(self._fetch, listed, place, index)
        return count > len(order.files)

    def _go_on_to(self, visit: Visit) -> None:
        """Let whoever goes on to the directory that comes next in his order do there what he did before."""
        if self._last_opened is None:
            return
        before, listed = self._last_opened
        for order in before.orders.values():
            place = order.leads_to(listed, visit.prefix)
            if place is not None and self._following(before, order.sort) == visit.prefix:
                visit.by(order.sort).coming(max(place.window, 0))
                return
        for order in visit.orders.values():
            order.nobody_comes()

    def _following(self, visit: Visit, sort: Sort) -> str | None:
        """Return the next directory with small files of which nobody has opened one."""
        if sort not in visit.following:
            found = None
            for prefix in islice(self._after(visit.prefix, sort), _DIRECTORIES_LIMIT):
                there, listing = self._visits.get(prefix), self._metadata.listing(prefix)
                if listing is None:
                    return None  # nobody knows yet
                if (there is None or not there.opened) and any(map(is_small, listing.objects.values())):
                    found = prefix
                    break
            visit.following[sort] = found
        return visit.following[sort]

    def _after(self, prefix: str, sort: Sort) -> Iterator[str]:
        """Yield the directories that a walk comes to after one, as far as they are known."""
        yield from self._below(prefix, sort)
        while prefix:
            for beside in self._beside(prefix, sort):
                yield beside
                yield from self._below(beside, sort)
            prefix = _above(prefix)

    def _below(self, prefix: str, sort: Sort) -> Iterator[str]:
        listing = self._metadata.listing(prefix)
        if listing is not None:
            for inner in self._directories(prefix, listing, sort):
                yield inner
                yield from self._below(inner, sort)

    def _beside(self, prefix: str, sort: Sort) -> Iterator[str]:
        """Yield the directories that come after one in that above."""
        above = _above(prefix)
        around = self._metadata.telling_of(above, prefix[len(above) : -1])
        if around is not None:
            directories = self._directories(above, around, sort)
            place = bisect_right(directories, sort.position(prefix), key=sort.position)
            yield from islice(directories, place, None)

    def _directories(self, prefix: str, listing: Listing, sort: Sort) -> Sequence[str]:
        if not listing.prefixes or (sort is Sort.NUMBER and len(listing.prefixes) > _LARGEST_SORTED):
            return ()
        listed, until, directories = self._sorted.get((prefix, sort), (None, None, []))
        changes = abs(len(directories) - len(listing.prefixes))
        if listed is not listing or until != listing.until or changes > len(directories) // _FEW:
            directories = sorted((f"{prefix}{name}/" for name in listing.prefixes), key=sort.position)
            self._sorted[prefix, sort] = listing, listing.until, directories
        return directories

    def _fetch_others(self, visit: Visit) -> None:
        """Fetch a few of the files that nobody has opened, where many were, in no order."""
        files = visit.by(Sort.NAME).files
        if (
            len(files) > _LARGEST_SORTED
            or len(visit.opened) < max(_LEAST_OPENED, len(files) // _SHARE)
            or visit.opened_again > len(visit.opened) // _LEAST_OPENED
        ):
            return
        if visit.others is None:
            enough = sum(listed.size_bytes for listed in files) <= self._budget_bytes
            visit.others = iter(files if enough else ())
        count = STEP
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


def _above(prefix: str) -> str:
    return prefix[: prefix.rfind("/", 0, -1) + 1]
