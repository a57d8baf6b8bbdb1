"""Hold what listings told of directories: the children of each, all of them or those between two keys.

A flat page (one without a delimiter) states which keys there are from one place of S3's order to another,
so it tells of every directory that it passes: `directories_of` says what.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s3rolefs.model import ObjectInfo

if TYPE_CHECKING:
    from s3rolefs.model import ListPage

# A walk may skip a few names (directories, files it is not interested in) and still be one.
_WALK_STEP = 4
_LAST_CHARACTER = "\U0010ffff"
_KEY_LIMIT_BYTES = 1024


class Sort(enum.Enum):
    """Say what a step is when it is no object."""

    DIRECTORY = enum.auto()
    NOTHING = enum.auto()


DIRECTORY = Sort.DIRECTORY
NOTHING = Sort.NOTHING


@dataclass(slots=True, kw_only=True, eq=False)
class Listing:
    """Hold the children of one directory prefix; both by component, without the slash.

    `objects` and `prefixes` keep S3's order; `marker` is the object at the prefix itself. All of the
    directory is told of, or what lies behind the key `after` and not behind `until` ("" and None: from
    its beginning, to its end). `began_at_seconds` (boot clock) is when the first page was asked for: the
    listing is as old as that. `uses` counts who was answered from it. `found_nothing`: S3 knew of no key.
    """

    began_at_seconds: float
    objects: dict[str, ObjectInfo] = field(default_factory=dict)
    prefixes: dict[str, None] = field(default_factory=dict)
    marker: ObjectInfo | None = None
    after: str = ""
    until: str | None = None
    uses: int = 0
    found_nothing: bool = False
    _order: list[ObjectInfo] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _walk_place: int = -1
    _walk_window: int = 1
    _walked_until: int = 0
    _told_beyond: int = 0

    def __len__(self) -> int:
        return len(self.objects) + len(self.prefixes)

    @property
    def is_complete(self) -> bool:
        """Tell whether it tells of all children."""
        return not self.after and self.until is None

    def tells_of(self, key: str) -> bool:
        """Tell whether an object at `key` would be here, and what is below `key/`."""
        return self.after < key and (self.until is None or key + "/" <= self.until)

    def reaches(self, key: str) -> bool:
        """Tell whether a key lies where all keys are told of."""
        return self.after < key and (self.until is None or key <= self.until)

    def enter(self, step: str, entry: ObjectInfo | Sort) -> None:
        """Enter one child: an object, a directory, or nothing (any more); "" is what the marker holds."""
        if not step:
            self.marker = entry if isinstance(entry, ObjectInfo) else None
        if isinstance(entry, ObjectInfo) and (step or entry.size_bytes):
            self.objects[step] = entry
        elif entry is DIRECTORY:
            self.prefixes[step[:-1]] = None
        elif step.endswith("/"):
            self.prefixes.pop(step[:-1], None)
        else:
            self.objects.pop(step, None)

    def go_on(self, more: Listing) -> None:
        """Take in what is told of the place where this listing ends."""
        self.objects.update(more.objects)
        self.prefixes.update(more.prefixes)
        self.until = more.until

    def has_other_than(self, step: str) -> bool:
        """Tell whether there is more than one child."""
        there = step[:-1] in self.prefixes if step.endswith("/") else step in self.objects
        return len(self) > there

    def follow(self, name: str, *, largest: int) -> list[ObjectInfo]:
        """Return the objects that a walk in listing order, now at `name`, will come to next.

        The window doubles with each step of the walk up to `largest`; a jump starts a new one.
        """
        self._arrange()
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

    def beyond(self) -> int:
        """Return how many objects of the next directories the walk's window reaches, where it reaches more.

        0: none, or not many more than when this was asked last.
        """
        count = self._walk_place + self._walk_window - len(self._order)
        if count - self._told_beyond < self._walk_window // 4:
            return 0
        self._told_beyond = count
        return count

    def lead_in(self, count: int, before: Listing) -> list[ObjectInfo]:
        """Return the first objects, to which a walk comes that has gone through a directory before."""
        self._arrange()
        self._walk_place, self._walk_window = -1, before._walk_window
        first = self._order[self._walked_until : count]
        self._walked_until = max(self._walked_until, min(count, len(self._order)))
        return first

    def _arrange(self) -> None:
        if not self._order:
            self._order = list(self.objects.values())
            self._places = {known: place for place, known in enumerate(self.objects)}


def directories_of(page: ListPage, prefix: str, after: str, *, began_at_seconds: float) -> dict[str, Listing]:
    """Return what a flat page, asked for below `prefix` from `after` on, tells of each directory, by prefix.

    Only the directories that the page begins or ends in are told of in part.
    """
    until = page.objects[-1].key if page.objects else after
    open_prefixes = [prefix, *_directories_between(prefix, after)]
    told = {known: Listing(began_at_seconds=began_at_seconds, after=after) for known in open_prefixes}
    told[prefix].found_nothing = not page.objects
    for info in page.objects:
        directory = info.key[: info.key.rfind("/") + 1]
        if directory != open_prefixes[-1]:
            while not directory.startswith(open_prefixes[-1]):
                open_prefixes.pop()
            for below in _directories_between(open_prefixes[-1], directory):
                above = open_prefixes[-1]
                told[above].prefixes[below[len(above) : -1]] = None
                told[below] = Listing(began_at_seconds=began_at_seconds)
                open_prefixes.append(below)
        told[directory].enter(info.key[len(directory) :], info)
    if page.next_token is not None:
        for known in open_prefixes:
            told[known].until = until
    return told


def children_of(page: ListPage, prefix: str, *, began_at_seconds: float) -> Listing:
    """Return what the first page with a delimiter tells of the directory at `prefix`."""
    listing = Listing(began_at_seconds=began_at_seconds)
    listing.found_nothing = not (page.objects or page.prefixes)
    listing.prefixes = dict.fromkeys(found[len(prefix) : -1] for found in page.prefixes)
    for info in page.objects:
        listing.enter(info.key[len(prefix) :], info)
    if page.next_token is not None:
        passed = [end_of(page.prefixes[-1])] if page.prefixes else []
        listing.until = max(passed + [info.key for info in page.objects[-1:]], default="")
    return listing


def end_of(prefix: str) -> str:
    """Return what sorts behind all keys below a prefix, as far as a key has room for it."""
    return prefix + _LAST_CHARACTER if len(prefix.encode()) + 4 <= _KEY_LIMIT_BYTES else prefix


def _directories_between(prefix: str, key: str) -> list[str]:
    """Return the prefixes of the directories below `prefix` that lead to a key, or to what it begins."""
    found: list[str] = []
    if key.startswith(prefix):
        end = key.find("/", len(prefix))
        while end >= 0:
            found.append(key[: end + 1])
            end = key.find("/", end + 1)
    return found
