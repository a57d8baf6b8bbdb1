"""Remember listings and object attributes for as long as the options allow.

What this mount changes itself is seen at once: every change is entered here when S3 has confirmed
it, also into listings whose pages are still on their way.
"""

from __future__ import annotations

import enum
import weakref
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cachetools import LRUCache

from s3rolefs.model import Key, ObjectInfo

if TYPE_CHECKING:
    from s3rolefs.clock import Clock

LISTED_NAMES_LIMIT = 1_000_000
OBJECTS_LIMIT = 200_000
# A walk may skip a few names (directories, files it is not interested in) and still be one.
_WALK_STEP = 4


class Sort(enum.Enum):
    """Say what a name is when it is no object."""

    DIRECTORY = enum.auto()
    NOTHING = enum.auto()


DIRECTORY = Sort.DIRECTORY
NOTHING = Sort.NOTHING


@dataclass(slots=True, kw_only=True, weakref_slot=True, eq=False)
class Listing:
    """Hold the children of one directory prefix; both by name without the slash.

    `objects` and `prefixes` keep S3's order. `began_at_seconds` (boot clock) is when the first
    page was asked for: the listing is as old as that.
    """

    began_at_seconds: float
    objects: dict[str, ObjectInfo] = field(default_factory=dict)
    prefixes: dict[str, None] = field(default_factory=dict)
    changed_meanwhile: dict[str, ObjectInfo | Sort] = field(default_factory=dict)
    _order: list[ObjectInfo] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _walk_place: int = -1
    _walk_window: int = 1
    _walked_until: int = 0

    def __len__(self) -> int:
        return len(self.objects) + len(self.prefixes)

    def enter(self, name: str, entry: ObjectInfo | Sort) -> None:
        """Enter one child: an object, a directory, or nothing (any more)."""
        if entry is DIRECTORY:
            self.prefixes[name] = None
            self.objects.pop(name, None)
        elif isinstance(entry, ObjectInfo):
            self.objects[name] = entry
            self.prefixes.pop(name, None)
        else:
            self.objects.pop(name, None)
            self.prefixes.pop(name, None)

    def follow(self, name: str, *, largest: int) -> list[ObjectInfo]:
        """Return the objects that a walk in listing order, now at `name`, will come to next.

        The window doubles with each step of the walk up to `largest`; a jump starts a new one.
        """
        if not self._order:
            self._order = list(self.objects.values())
            self._places = {known: place for place, known in enumerate(self.objects)}
        place = self._places.get(name)
        if place is None:
            return []
        if 0 <= place - self._walk_place <= _WALK_STEP:
            self._walk_window = min(2 * self._walk_window, largest)
        else:
            self._walk_window = 1
            self._walked_until = place + 1
        self._walk_place = place
        until = min(place + self._walk_window, len(self._order))
        if until - self._walked_until < self._walk_window // 2 and until < len(self._order):
            return []
        following = self._order[max(self._walked_until, place + 1) : until]
        self._walked_until = max(self._walked_until, until)
        return following


class MetadataCache:
    """Keep listings for `ttl_seconds`, and what HEAD said about object versions until evicted."""

    def __init__(self, clock: Clock, *, ttl_seconds: float) -> None:
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._listings: LRUCache[str, Listing] = LRUCache(LISTED_NAMES_LIMIT, getsizeof=lambda a: len(a) + 1)
        self._coming: dict[str, weakref.WeakSet[Listing]] = {}
        self._objects: LRUCache[Key, ObjectInfo] = LRUCache(OBJECTS_LIMIT)

    def now_seconds(self) -> float:
        """Return the time that ages are counted by."""
        return self._clock.boot_seconds()

    def begin_listing(self, prefix: str) -> Listing:
        """Return an empty listing that is told of our own changes while its pages arrive."""
        listing = Listing(began_at_seconds=self._clock.boot_seconds())
        self._coming.setdefault(prefix, weakref.WeakSet()).add(listing)
        return listing

    def finish_listing(self, prefix: str, listing: Listing) -> None:
        """Keep a complete listing, with what was changed since its first page was asked for."""
        self.give_up_listing(prefix, listing)
        for name, entry in listing.changed_meanwhile.items():
            listing.enter(name, entry)
        listing.changed_meanwhile.clear()
        if len(listing) < LISTED_NAMES_LIMIT:
            self._listings[prefix] = listing

    def give_up_listing(self, prefix: str, listing: Listing) -> None:
        """Forget a listing that was begun and will not be finished."""
        coming = self._coming.get(prefix)
        if coming is not None:
            coming.discard(listing)
            if not coming:
                del self._coming[prefix]

    def listing(self, prefix: str) -> Listing | None:
        """Return the complete listing of a directory prefix while it is fresh."""
        listing = self._listings.get(prefix)
        if listing is None:
            return None
        if self._clock.boot_seconds() - listing.began_at_seconds >= self._ttl_seconds:
            del self._listings[prefix]
            return None
        return listing

    def full(self, listed: ObjectInfo) -> ObjectInfo | None:
        """Return the attributes HEAD gave for the very version that a listing names."""
        known = self._objects.get(listed.key)
        if (
            known is None
            or known.etag != listed.etag
            or known.last_modified_ns // 10**9 != listed.last_modified_ns // 10**9
        ):
            return None
        return known

    def remember(self, info: ObjectInfo) -> None:
        """Keep what HEAD said about an object."""
        self._objects[info.key] = info

    def changed(self, parent_prefix: str, name: str, entry: ObjectInfo | Sort) -> None:
        """Enter a change of our own below `parent_prefix`: what `name` is now."""
        if isinstance(entry, ObjectInfo):
            self._objects[entry.key] = entry
        else:
            self._objects.pop(Key(parent_prefix + name), None)
        listing = self._listings.get(parent_prefix)
        if listing is not None:
            # Put back so that the cache counts the new size.
            listing.enter(name, _as_listed(entry))
            self._listings[parent_prefix] = listing
        for coming in self._coming.get(parent_prefix, ()):
            coming.changed_meanwhile[name] = _as_listed(entry)

    def forget_below(self, prefix: str) -> None:
        """Drop every listing and object below a prefix (a directory was moved or removed)."""
        for cached in [known for known in self._listings if known.startswith(prefix)]:
            del self._listings[cached]
        for key in [known for known in self._objects if known.startswith(prefix)]:
            del self._objects[key]


def _as_listed(entry: ObjectInfo | Sort) -> ObjectInfo | Sort:
    return replace(entry, metadata=None, headers=None) if isinstance(entry, ObjectInfo) else entry
