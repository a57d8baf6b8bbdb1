"""Remember listings and object attributes for as long as the options allow.

What this mount changes itself is seen at once: every change is entered here when S3 has confirmed
it. What S3 was asked before such a change and answers after it is older than what is known here:
`follow` tells who waits for an answer what was changed meanwhile. Of a removal that S3 has still to hear of
(`removing`) every answer is older. What HEAD said is also on disk where there is a `Recollection`.
"""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cachetools import LRUCache

from s3rolefs.cache.listings import DIRECTORY, NOTHING, Listing, Sort
from s3rolefs.cache.ownchanges import ChangesBelow, Log, OwnChanges
from s3rolefs.cache.recollection import RACY_NS
from s3rolefs.model import Key, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from s3rolefs.cache.recollection import Recollection
    from s3rolefs.clock import Clock

LISTED_NAMES_LIMIT = 1_000_000
OBJECTS_LIMIT = 200_000
# The place of a removal that S3 has still to hear of: behind every change that somebody follows.
_NOT_YET = sys.maxsize


@dataclass(frozen=True, slots=True)
class _Known:
    """Hold what was said about an object: after how many own changes it was asked, and when it was told."""

    info: ObjectInfo
    place: int
    told_at_seconds: float

    @property
    def is_racy(self) -> bool:
        """Tell whether a later change could look the same in a listing (our own answers carry no date)."""
        return 0 < self.info.asked_at_ns < self.info.last_modified_ns + RACY_NS


class MetadataCache:
    """Keep listings for `ttl_seconds`, and what HEAD said about object versions until evicted."""

    def __init__(self, clock: Clock, *, ttl_seconds: float, recollection: Recollection | None = None) -> None:
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._recollection = recollection
        self._listings: LRUCache[str, Listing] = LRUCache(LISTED_NAMES_LIMIT, getsizeof=lambda a: len(a) + 1)
        self._objects: LRUCache[Key, _Known] = LRUCache(OBJECTS_LIMIT)
        self._logs: weakref.WeakValueDictionary[str, Log] = weakref.WeakValueDictionary()
        self._below: weakref.WeakSet[ChangesBelow] = weakref.WeakSet()
        self._changes = 0
        self._removing: dict[str, dict[str, Log]] = {}

    def now_seconds(self) -> float:
        """Return the time that ages are counted by."""
        return self._clock.boot_seconds()

    @property
    def changes(self) -> int:
        """Return how many changes of our own were entered so far: what an answer's age is told by."""
        return self._changes

    def follow(self, prefix: str) -> OwnChanges:
        """Begin a record of our own changes below a prefix, for as long as it is referred to."""
        return OwnChanges(self._log(prefix), self._changes)

    def follow_below(self, prefix: str) -> ChangesBelow:
        """Begin a record of our own changes anywhere below a prefix, for as long as it is referred to."""
        changes = ChangesBelow(prefix)
        self._below.add(changes)
        return changes

    def keep_listing(self, prefix: str, listing: Listing, changes: OwnChanges) -> None:
        """Keep a complete listing, with what was changed since its first page was asked for."""
        for step, entry in changes:
            listing.enter(step, entry)
        self._keep_listing(prefix, listing)

    def keep_told(self, told: Mapping[str, Listing], changes: ChangesBelow) -> dict[str, Listing]:
        """Keep what a page told of directories, by prefix, with what was changed since it was asked for.

        Return what is kept of it.

        Where it goes on from what is known of a directory, and that is not old, the two become one.
        """
        for prefix, listing in told.items():
            for step in self.removals(prefix):
                listing.enter(step, NOTHING)
            if not changes.may_keep(prefix):
                continue
            known = self._told(prefix)
            age_seconds = 0.0 if known is None else listing.began_at_seconds - known.began_at_seconds
            if known is None or (not known.is_complete and listing.after != known.until):
                self._keep_listing(prefix, listing)
            elif not known.is_complete and age_seconds < self._ttl_seconds / 2:
                known.go_on(listing)
                self._keep_listing(prefix, known)
            elif age_seconds > 0 and (listing.is_complete or not known.is_complete):
                self._keep_listing(prefix, listing)
        for prefix, step, entry in changes:
            self._enter(prefix, step, entry)
            if entry is not NOTHING:
                self._enter_above(prefix)
        return {prefix: self._listings[prefix] for prefix in told if prefix in self._listings}

    def listing(self, prefix: str) -> Listing | None:
        """Return the complete listing of a directory prefix while it is fresh."""
        listing = self._told(prefix)
        return listing if listing is not None and listing.is_complete else None

    def beginning(self, prefix: str) -> Listing | None:
        """Return what is known of a directory from its beginning on, while it is fresh."""
        listing = self._told(prefix)
        return listing if listing is not None and not listing.after else None

    def telling_of(self, prefix: str, component: str) -> Listing | None:
        """Return the fresh listing that says whether there is a component in a directory."""
        listing = self._told(prefix)
        return listing if listing is not None and listing.tells_of(prefix + component) else None

    def _told(self, prefix: str) -> Listing | None:
        listing = self._listings.get(prefix)
        if listing is None:
            return None
        if self._clock.boot_seconds() - listing.began_at_seconds >= self._ttl_seconds:
            del self._listings[prefix]
            return None
        return listing

    def _keep_listing(self, prefix: str, listing: Listing) -> None:
        # Putting it back lets the cache count the new size.
        if len(listing) < LISTED_NAMES_LIMIT:
            self._listings[prefix] = listing

    def full(self, listed: ObjectInfo) -> ObjectInfo | None:
        """Return the attributes HEAD gave for the very version that a listing names."""
        known = self._objects.get(listed.key)
        if (
            known is None
            or not _is_version(known.info, listed)
            or (known.is_racy and self._clock.boot_seconds() - known.told_at_seconds >= self._ttl_seconds)
        ):
            return None
        return known.info

    def remember(self, info: ObjectInfo, asked_after: int) -> None:
        """Keep what HEAD said, asked when `changes` was `asked_after`; not if we changed the object since."""
        if self._keep(info, asked_after) and self._recollection is not None:
            self._recollection.told(info)

    async def recall(self, listed: Iterable[ObjectInfo], asked_after: int) -> None:
        """Take from disk what is known there of the versions that a page names, and is not known here.

        The page was asked for when `changes` was `asked_after`.
        """
        if self._recollection is None:
            return
        unknown = {info.key: info for info in listed if self.full(info) is None}
        for info in await self._recollection.read(list(unknown.values())):
            if _is_version(info, unknown[info.key]):
                self._keep(info, asked_after)

    def _keep(self, info: ObjectInfo, asked_after: int) -> bool:
        known = self._objects.get(info.key)
        if known is not None and known.place > asked_after:
            return False
        self._objects[info.key] = _Known(info, asked_after, self._clock.boot_seconds())
        return True

    def doubt(self, prefix: str, step: str) -> None:
        """Forget what is known of a child: S3 has shown that it is something else by now."""
        self.forget_listing(prefix)
        self._forget(Key(prefix + step))

    def changed(self, parent_prefix: str, step: str, entry: ObjectInfo | Sort) -> None:
        """Enter a change of our own below `parent_prefix`: what is at `step` now.

        A step is what a child adds to the prefix: `a` for an object, `a/` for a directory, "" for the marker.
        """
        self._changes += 1
        if isinstance(entry, ObjectInfo):
            self._objects[entry.key] = _Known(entry, self._changes, self._clock.boot_seconds())
            if self._recollection is not None:
                self._recollection.stored(entry)
        elif entry is NOTHING:
            self._forget(Key(parent_prefix + step))
        listed = _as_listed(entry)
        log = self._logs.get(parent_prefix)
        if log is not None:
            still = entry is NOTHING and self.is_removing(parent_prefix, step)
            log.entries[step] = (_NOT_YET if still else self._changes, listed)
        for below in self._below:
            below.enter(parent_prefix, step, listed)
        self._enter(parent_prefix, step, listed)
        if entry is not NOTHING:
            self._enter_above(parent_prefix)

    def removing(self, prefix: str, step: str) -> None:
        """Enter a removal that S3 hears of later: until `removed` it wins over every answer."""
        self.changed(prefix, step, NOTHING)
        log = self._log(prefix)
        log.entries[step] = (_NOT_YET, NOTHING)
        self._removing.setdefault(prefix, {})[step] = log

    def is_removing(self, prefix: str, step: str) -> bool:
        """Tell whether S3 still shows a child that is not there any more."""
        return step in self.removals(prefix)

    def removals(self, prefix: str) -> Collection[str]:
        """Return all such children below a prefix."""
        return self._removing.get(prefix, ())

    def removed(self, prefix: str, step: str) -> None:
        """Note that S3 has heard of a removal: answers to what it was asked up to now are older."""
        log = self._end_removing(prefix, step)
        self._changes += 1
        if step in log.entries:
            log.entries[step] = (self._changes, NOTHING)
            for below in self._below:
                below.enter(prefix, step, NOTHING)

    def made_again(self, prefix: str, step: str) -> None:
        """Note that a child has taken the place of one that S3 may still show."""
        if self.is_removing(prefix, step):
            self._removing[prefix][step].entries.pop(step, None)

    def not_removed(self, prefix: str, step: str) -> None:
        """Take a removal back: S3 did not do it."""
        self._end_removing(prefix, step).entries.pop(step, None)
        self.doubt(prefix, step)

    def _end_removing(self, prefix: str, step: str) -> Log:
        steps = self._removing[prefix]
        log = steps.pop(step)
        if not steps:
            del self._removing[prefix]
        return log

    def _log(self, prefix: str) -> Log:
        log = self._logs.get(prefix)
        if log is None:
            log = self._logs[prefix] = Log()
        return log

    def forget_below(self, prefix: str) -> None:
        """Drop every listing of what is below a prefix (a directory was moved).

        What is known of objects may stay: it is only believed for the version that a listing names.
        """
        for cached in [known for known in self._listings if known.startswith(prefix)]:
            del self._listings[cached]
        for below in self._below:
            below.forget(prefix, below=True)

    def forget_listing(self, prefix: str) -> None:
        """Drop the listing of one directory (it was removed, or is doubted)."""
        self._listings.pop(prefix, None)
        for below in self._below:
            below.forget(prefix, below=False)

    def _forget(self, key: Key) -> None:
        self._objects.pop(key, None)
        if self._recollection is not None:
            self._recollection.forget(key)

    def _enter(self, prefix: str, step: str, entry: ObjectInfo | Sort) -> None:
        listing = self._listings.get(prefix)
        if listing is not None and listing.reaches(prefix + step):
            listing.enter(step, entry)
            self._keep_listing(prefix, listing)

    def _enter_above(self, prefix: str) -> None:
        """Enter the directories that exist because there is something in them."""
        while prefix:
            above, slash, name = prefix[:-1].rpartition("/")
            prefix = above + slash
            listing = self._listings.get(prefix)
            if listing is not None and name not in listing.prefixes:
                self._enter(prefix, name + "/", DIRECTORY)


def _is_version(told: ObjectInfo, listed: ObjectInfo) -> bool:
    """Tell whether a listing names the version that HEAD told of; Last-Modified there has whole seconds."""
    seconds = 10**9
    return told.etag == listed.etag and told.last_modified_ns // seconds == listed.last_modified_ns // seconds


def _as_listed(entry: ObjectInfo | Sort) -> ObjectInfo | Sort:
    return replace(entry, metadata=None, headers=None) if isinstance(entry, ObjectInfo) else entry
