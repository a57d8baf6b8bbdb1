"""List directories: whole subtrees with one request where that is of use, and little that nobody uses.

A page costs the same with a delimiter or without one. The first page of a directory is therefore asked
for flat: often it is all there is, and then everything below is known. Where it ends earlier, a walk through
the subtree may pay for going on: each directory that is used of those that flat pages told of earns one page
more, so that going on never costs more requests than listing those directories would have.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from cachetools import LRUCache

from s3rolefs.cache.listings import Listing, children_of, directories_of, end_of
from s3rolefs.errors import FileSystemError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.model import FirstPage, ListPage
    from s3rolefs.s3.store import ObjectStore

log = logging.getLogger(__name__)

PAGE_KEYS = 1000
# No survey goes on for more pages than this without anybody using what they tell.
_CREDIT_LIMIT = 4
# So many look-ups answered from the part of a directory that is known earn one page more of it.
_LOOKUPS_OF_A_PAGE = 2
# So many first pages in one directory, flat in vain, are enough.
_VAIN_LIMIT = 2
_DIRECTORIES_LIMIT = 10_000


@dataclass(slots=True, kw_only=True, eq=False)
class Survey:
    """Say how far the subtree at `prefix` was listed flat, and what that was good for.

    All keys up to `reached` were told of (None: to the end; "": nothing yet). `waiting` are listings that
    nobody has used yet, with the uses that earn a page. `is_plain`: the directory holds mostly files;
    `has_children`: what is in it was asked for, too, because what is below it is too much.
    """

    prefix: str
    reached: str | None = ""
    credit: int = 0
    is_paid: bool = False
    is_plain: bool = False
    has_children: bool = False
    waiting: list[tuple[Listing, int]] = field(default_factory=list)
    turn: trio.Lock = field(default_factory=trio.Lock)

    def leads_to(self, prefix: str) -> bool:
        """Tell whether going on leads into a directory, or towards it."""
        reached = self.reached or ""
        return reached != "" and (prefix > reached or reached.startswith(prefix))

    def has_paid(self) -> bool:
        """Tell whether anybody has used what was told."""
        self.pays()
        return self.is_paid

    def pays(self) -> bool:
        """Tell whether one page more is earned."""
        waiting = [(listing, enough) for listing, enough in self.waiting if listing.uses < enough]
        earned = len(self.waiting) - len(waiting)
        self.waiting = waiting
        self.credit = min(self.credit + earned, _CREDIT_LIMIT)
        self.is_paid |= earned > 0
        return self.credit > 0


class Surveys:
    """Ask for listings, at most one page for each question, and keep all that they tell."""

    def __init__(self, store: ObjectStore, metadata: MetadataCache, *, ttl_seconds: float) -> None:
        self._store = store
        self._metadata = metadata
        self._ttl_seconds = ttl_seconds
        self._surveys: LRUCache[str, Survey] = LRUCache(_DIRECTORIES_LIMIT)
        # By directory: when a name in it was looked up last, and surveys in it that did not end with a page.
        self._looked_up: LRUCache[str, float] = LRUCache(_DIRECTORIES_LIMIT)
        # When several names were looked up in a directory in it.
        self._walked: LRUCache[str, float] = LRUCache(_DIRECTORIES_LIMIT)
        self._vain: LRUCache[str, list[Survey]] = LRUCache(_DIRECTORIES_LIMIT)
        # Where a role may list with a delimiter only, and where it may not list at all.
        self._refused_flat: set[str] = set()
        self._refused: LRUCache[str, bool] = LRUCache(_DIRECTORIES_LIMIT)

    async def beginning(self, prefix: str) -> Listing:
        """Return what is known of a directory from its beginning on: all of it, or a first page."""
        listing = await self.swept(prefix)
        if listing is None:
            survey = self._survey(prefix)
            async with survey.turn:
                listing = self._metadata.beginning(prefix) or await self._begin(survey)
        listing.uses += 1
        return listing

    async def swept(self, prefix: str) -> Listing | None:
        """Return what is known of a directory from its beginning on, after going on to it if that pays."""
        listing = self._metadata.beginning(prefix)
        if listing is None or not listing.is_complete:
            await self._go_on_to(prefix, lambda: self._metadata.listing(prefix) is not None)
            listing = self._metadata.beginning(prefix)
        return listing

    async def telling_of(self, prefix: str, component: str) -> Listing | None:
        """Return a listing that says what a component is; None: it has to be asked for by its name.

        The first name of a directory is asked for alone; who looks up a second one will go on doing so, there
        and in the directories beside it.
        """

        def known() -> Listing | None:
            return self._metadata.telling_of(prefix, component)

        now_seconds = self._metadata.now_seconds()
        above = _above(prefix)
        is_first = not self._is_recent(self._looked_up, prefix)
        if not is_first and prefix:
            self._walked[above] = now_seconds
        self._looked_up[prefix] = now_seconds
        listing = known()
        if listing is None:
            went_on = await self._go_on_to(prefix, lambda: known() is not None)
            is_alone = is_first and not (prefix and self._is_recent(self._walked, above))
            if not (went_on or is_alone or prefix in self._refused):
                survey = self._survey(prefix)
                async with survey.turn:
                    if self._metadata.beginning(prefix) is None:
                        await self._try(self._begin(survey))
                    is_asked_for = survey.is_plain or survey.has_children or prefix in self._refused
                    if known() is None and not is_asked_for:
                        survey.has_children = True
                        await self._try(self._ask_children(prefix))
            listing = known()
        if listing is not None:
            listing.uses += 1
        return listing

    def ask_alone(self, prefix: str) -> None:
        """Forget that names in a directory, and in those beside it, were looked up."""
        self._looked_up.pop(prefix, None)
        self._walked.pop(_above(prefix), None)

    async def look(self, prefix: str) -> Listing:
        """Return what a first page tells of what may be a directory; one that is empty is none."""
        survey = self._surveys.get(prefix, Survey(prefix=prefix))
        if self._is_refused_flat(prefix) or not self._is_worth_it(survey):
            return await self._ask_children(prefix, keep_empty=False)
        async with survey.turn:
            listing = await self._ask_flat(survey, "", keep_empty=False)
        if not listing.found_nothing:
            self._surveys[prefix] = survey
        return listing

    async def take(self, first: FirstPage) -> None:
        """Take in a page that was asked for before anything was changed."""
        await self._metadata.recall(first.page.objects, 0)
        told = directories_of(first.page, first.prefix, "", began_at_seconds=first.asked_at_seconds)
        kept = self._metadata.keep_told(told, self._metadata.follow_below(first.prefix))
        self._note(self._survey(first.prefix), first.page, "", kept)

    def completed(self, prefix: str, listing: Listing) -> None:
        """Let the survey that stands in a directory pass over the files that are known by now."""
        survey = self._leading_to(prefix)
        if survey is None or not survey.reached or not survey.reached.startswith(prefix):
            return
        below = [prefix + name + "/" for name in listing.prefixes]
        if not any(survey.reached.startswith(directory) for directory in below):
            following = min((one for one in below if one > survey.reached), default=None)
            survey.reached = end_of(prefix) if following is None else max(survey.reached, following[:-1])

    async def _go_on_to(self, prefix: str, is_enough: Callable[[], bool]) -> bool:
        """Ask for one page more of the survey that leads to a directory; tell whether that paid."""
        survey = self._leading_to(prefix)
        if survey is None or not survey.pays():
            return False
        async with survey.turn:
            if not is_enough() and survey.leads_to(prefix) and survey.pays():
                survey.credit -= 1
                await self._try(self._ask_flat(survey, survey.reached or ""))
        return True

    async def _begin(self, survey: Survey) -> Listing:
        prefix = survey.prefix
        try:
            if self._is_refused_flat(prefix) or not self._is_worth_it(survey):
                return await self._ask_children(prefix)
            try:
                return await self._ask_flat(survey, "")
            except FileSystemError as error:
                if error.reason not in (Reason.ACCESS_DENIED, Reason.UNSUPPORTED):
                    raise
                listing = await self._ask_children(prefix)
                if error.reason is Reason.ACCESS_DENIED:
                    self._refused_flat.add(prefix)
                return listing
        except FileSystemError as error:
            if error.reason is Reason.ACCESS_DENIED:
                self._refused[prefix] = True
            raise

    async def _ask_flat(self, survey: Survey, after: str, *, keep_empty: bool = True) -> Listing:
        prefix = survey.prefix
        began_at_seconds, asked_after = self._metadata.now_seconds(), self._metadata.changes
        changes = self._metadata.follow_below(prefix)
        page = await self._store.list_page(prefix, delimiter="", start_after=after or None, limit=PAGE_KEYS)
        await self._metadata.recall(page.objects, asked_after)
        told = directories_of(page, prefix, after, began_at_seconds=began_at_seconds)
        if keep_empty or page.objects:
            self._note(survey, page, after, self._metadata.keep_told(told, changes))
        return told[prefix]

    async def _ask_children(self, prefix: str, *, keep_empty: bool = True) -> Listing:
        began_at_seconds, asked_after = self._metadata.now_seconds(), self._metadata.changes
        changes = self._metadata.follow_below(prefix)
        page = await self._store.list_page(prefix, limit=PAGE_KEYS)
        await self._metadata.recall(page.objects, asked_after)
        listing = children_of(page, prefix, began_at_seconds=began_at_seconds)
        if keep_empty or not listing.found_nothing:
            self._metadata.keep_told({prefix: listing}, changes)
        return listing

    def _note(self, survey: Survey, page: ListPage, after: str, kept: dict[str, Listing]) -> None:
        """Note how far a page came, and who has to use what it told before another one is asked for."""
        survey.reached = page.objects[-1].key if page.next_token is not None and page.objects else None
        survey.waiting = [
            *(survey.waiting if after else ()),
            *(
                (listing, listing.uses + (1 if listing.is_complete else _LOOKUPS_OF_A_PAGE))
                for listing in kept.values()
            ),
        ][-PAGE_KEYS:]
        if not after:
            own = kept.get(survey.prefix)
            survey.credit, survey.has_children = 0, False
            survey.is_plain = own is not None and 2 * len(own.objects) >= len(page.objects)
            if survey.prefix and survey.reached is not None and not survey.is_plain:
                self._vain.setdefault(_above(survey.prefix), []).append(survey)

    def _survey(self, prefix: str) -> Survey:
        survey = self._surveys.get(prefix)
        if survey is None:
            survey = self._surveys[prefix] = Survey(prefix=prefix)
        return survey

    def _leading_to(self, prefix: str) -> Survey | None:
        """Return the survey of the nearest directory above, or of the directory, that may come to it."""
        for directory in _directories_above(prefix):
            survey = self._surveys.get(directory)
            if survey is not None and survey.leads_to(prefix):
                return survey
        return None

    def _is_worth_it(self, survey: Survey) -> bool:
        """Tell whether a first page will rather be flat: not where that was of no use before."""
        if survey.reached and not survey.is_plain and not survey.has_paid():
            return False
        above = _above(survey.prefix)
        vain = [other for other in self._vain.get(above, ()) if not other.has_paid()][-_VAIN_LIMIT:]
        self._vain[above] = vain
        return len(vain) < _VAIN_LIMIT

    def _is_recent(self, times: LRUCache[str, float], prefix: str) -> bool:
        return self._metadata.now_seconds() - times.get(prefix, float("-inf")) < self._ttl_seconds

    def _is_refused_flat(self, prefix: str) -> bool:
        return any(prefix.startswith(refused) for refused in self._refused_flat)

    @staticmethod
    async def _try(asking: Awaitable[Listing]) -> None:
        """Ask for what can also be asked for by name, where it is refused."""
        try:
            await asking
        except FileSystemError as error:
            if error.reason not in (Reason.ACCESS_DENIED, Reason.NAME_TOO_LONG):
                raise
            log.debug("a listing instead of single names: %s", error)


def _above(prefix: str) -> str:
    return prefix[: prefix[:-1].rfind("/") + 1] if prefix else ""


def _directories_above(prefix: str) -> Iterator[str]:
    """Yield a directory's prefix, then those above it."""
    while prefix:
        yield prefix
        prefix = _above(prefix)
    yield ""
