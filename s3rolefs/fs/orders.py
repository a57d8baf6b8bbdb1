"""Follow those who open the files of a directory one after the other: by name, or by inode number.

By name is S3's order, and that of most programs; cp and tar go by inode numbers. Several programs may each
be at another place in an order. Each file opened in turn widens what is fetched ahead there; one that was
skipped, and a jump to elsewhere, narrow it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from s3rolefs.fs.inodes import number_of
from s3rolefs.fs.names import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from s3rolefs.model import ObjectInfo

STEP = 4
_LARGEST_WINDOW = 64
# Programs that share the work of one order are that far apart.
_NEARBY = 8
_PLACES_LIMIT = 16


class Sort(enum.Enum):
    """Say by what files and directories are ordered."""

    NAME = enum.auto()
    NUMBER = enum.auto()

    def position(self, key: str) -> Any:
        """Return what the order compares of a key; that of a directory ends with a slash."""
        if self is Sort.NAME:
            return key
        return number_of(key, Kind.DIRECTORY if key.endswith("/") else Kind.OBJECT)


@dataclass(slots=True, eq=False)
class Place:
    """Say where in an order somebody is: at index `at` (-1: on the way to the first file).

    What is before `until` is asked for, and `beyond` files of the directories that come next. `came`: from
    the directory before this one.
    """

    at: int
    until: int
    window: int = 0
    came: bool = False
    beyond: int = 0


class Order:
    """Hold the small files of a directory in one order, and the places of those who go through it."""

    def __init__(self, files: Iterable[ObjectInfo], sort: Sort = Sort.NAME) -> None:
        self.sort = sort
        self.files = list(files)
        # Below 0 it takes more than one file in turn to be believed.
        self._first_window = 0
        if sort is Sort.NUMBER:
            self.files.sort(key=lambda listed: sort.position(listed.key))
            self._first_window = -STEP
        self._index = {listed.key: index for index, listed in enumerate(self.files)}
        # How many bytes there are up to each file, and with it.
        self._passed_bytes = [0, *accumulate(listed.size_bytes for listed in self.files)]
        self.places: list[Place] = []

    def bytes_after(self, place: Place, index: int = -1) -> int:
        """Return how many bytes lie behind a place, up to a file and with it, or to the end."""
        return self._passed_bytes[-1 if index < 0 else index + 1] - self._passed_bytes[place.at + 1]

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
                window = place.window + STEP - STEP * skipped
                place.window = min(max(self._first_window, window), _LARGEST_WINDOW)
                place.at = max(place.at, index)
                self._cut(place)
                return place
        for place in self.places:
            if place.window > 0:
                place.window //= 2
                self._cut(place)
        self._begin(Place(index, index + 1, self._first_window))
        return None

    def leads_to(self, listed: ObjectInfo, directory: str) -> Place | None:
        """Return the place of whoever opened a file last and goes on to a directory; None: it skips files."""
        index = self._index.get(listed.key, -1)
        before = self.sort.position(directory)
        if index + 1 < len(self.files) and self.sort.position(self.files[index + 1].key) < before:
            return None
        return next((place for place in reversed(self.places) if place.at == index >= 0), None)

    def coming(self, window: int) -> Place | None:
        """Return the place of whoever is about to come with such a window; None: somebody is here already."""
        if not self.places:
            self._begin(Place(-1, 0, came=True))
        [place, *others] = self.places
        if place.at >= 0 or others:
            return None
        place.window = window
        return place

    def nobody_comes(self) -> None:
        """Note that whoever is here now came from elsewhere than was expected."""
        for place in self.places:
            if place.at < 0:
                place.until = 0  # what is still to be asked for is not
        self.places = [place for place in self.places if place.at >= 0]

    def _begin(self, place: Place) -> None:
        self.places = [*self.places, place][-_PLACES_LIMIT:]

    def _cut(self, place: Place) -> None:
        place.until = max(place.at + 1, min(place.until, place.at + 1 + place.window))
