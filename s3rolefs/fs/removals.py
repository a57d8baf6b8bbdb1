"""Remove objects a little later than their names (`writeback`): many with one request, none that is newer.

The name is gone at once for everybody on this mount, whatever S3 still shows. Who puts something in its
place, or has to know what the bucket holds, waits for the removal first (`settle`, `settle_below`).
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import FileSystemError, Reason, StoreError
from s3rolefs.fs.concurrency import for_each
from s3rolefs.fs.unsent import KeptRemoval, Unsent
from s3rolefs.s3.store import BatchDeleteLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.fs.directories import Directories
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.treelock import TreeLock
    from s3rolefs.fs.unsent import UnsentFolder
    from s3rolefs.model import Key
    from s3rolefs.s3.store import ObjectStore

log = logging.getLogger(__name__)

DELAY_SECONDS = 1.0
_LOOK_SECONDS = 0.2
# For so long it is believed that the object is the one that was removed here; then it is looked at first.
_BELIEVED_SECONDS = 10.0
_RETRY_FIRST_SECONDS = 1.0
_RETRY_LONGEST_SECONDS = 60.0
_LOOKS_AT_ONCE = 16
# Several requests at once are faster than one: services remove the objects of one request in turn.
_WAITED_FOR_BATCH = 50
_REQUESTS_AT_ONCE = 8
# What S3 will not do later either: the name comes back.
_FINAL = frozenset({Reason.ACCESS_DENIED, Reason.REFUSED, Reason.UNSUPPORTED})


@dataclass(slots=True, kw_only=True, eq=False)
class Removal:
    """Follow one object on its way out; `attempt`: it is being removed; `error`: why it was not."""

    key: Key
    etag: str
    name: str
    directory: Inode
    since_seconds: float
    inherited: bool = False
    attempt: trio.Event | None = None
    error: FileSystemError | None = None


class Removals:
    """Own the removals that S3 has still to hear of.

    `goes_first` tells whether something that was closed before a time has still to be sent: what was copied
    and then removed is never at neither place.
    """

    def __init__(
        self,
        store: ObjectStore,
        metadata: MetadataCache,
        table: InodeTable,
        directories: Directories,
        tree_lock: TreeLock,
        background: Background,
        folder: UnsentFolder,
        *,
        goes_first: Callable[[float], bool],
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._table = table
        self._directories = directories
        self._tree_lock = tree_lock
        self._background = background
        self._folder = folder
        self._goes_first = goes_first
        self._waiting: dict[Key, Removal] = {}
        self._refused: dict[Key, FileSystemError] = {}
        self._working = False

    def __len__(self) -> int:
        return len(self._waiting)

    def since(self) -> list[float]:
        """Return since when (trio's clock) each one waits."""
        return [removal.since_seconds for removal in self._waiting.values()]

    def unsent(self) -> list[Unsent]:
        """Return the removals that S3 has failed to do so far."""
        return [
            Unsent(
                path=self._table.path_of(removal.key),
                kept_at=str(self._folder.path),
                reason=f"it is to be removed: {removal.error.message}",
                conflict=False,
            )
            for removal in self._waiting.values()
            if removal.error is not None
        ]

    def add(self, inode: Inode) -> None:
        """Note that an inode's object is to go; NO_SPACE when that cannot be written down."""
        assert inode.version is not None
        assert inode.parent is not None
        key, name = self._table.key(inode), self._folder.new_name()
        kept = KeptRemoval(key=key, address=self._folder.address_of(key), etag=inode.version.etag)
        self._folder.journal.write(name, asdict(kept))
        self._take(Removal(key=key, etag=kept.etag, name=name, directory=inode.parent, since_seconds=_now()))

    def adopt(self, name: str, kept: KeptRemoval, key: Key, directory: Inode) -> None:
        """Go on with what an earlier mount was to remove, if it is still the same."""
        self._take(
            Removal(
                key=key,
                etag=kept.etag,
                name=name,
                directory=directory,
                since_seconds=_now(),
                inherited=True,
            )
        )

    def _take(self, removal: Removal) -> None:
        self._waiting[removal.key] = removal
        self._metadata.removing(*_place(removal.key))
        if not self._working:
            self._working = True
            self._background.start_soon(self._work)

    async def settle(self, key: Key) -> None:
        """Return when nothing of an earlier file is left at a key; raises why it is."""
        if key in self._waiting:
            await self._settle([self._waiting[key]], leaving=None)

    async def settle_below(self, prefix: str, *, leaving: bool = False) -> None:
        """Return when everything below a prefix that was removed has gone, or raise why not.

        That includes what S3 refused earlier, which nobody was told of. `leaving`: the directory itself is
        about to go, and needs nothing to stay without its children.
        """
        errors = [self._refused.pop(key) for key in list(self._refused) if key.startswith(prefix)]
        below = [removal for key, removal in self._waiting.items() if key.startswith(prefix)]
        await self._settle(below, leaving=prefix if leaving else None)
        if errors:
            raise errors[0]

    def give_up(self) -> None:
        """Note why the next mount has to do what waits now."""
        for removal in self._waiting.values():
            removal.error = removal.error or FileSystemError(
                Reason.UNREACHABLE, "the mount ended before S3 heard of it"
            )

    async def drain(self) -> None:
        """Return when nothing waits any more; tries again and again."""
        delay_seconds = 0.5
        while self._waiting:
            try:
                await self._settle(list(self._waiting.values()), leaving=None)
            except FileSystemError as error:
                log.debug("removing before the end: %s", error)
                await trio.sleep(delay_seconds)
                delay_seconds = min(2 * delay_seconds, 5.0)

    async def _settle(self, removals: Sequence[Removal], *, leaving: str | None) -> None:
        """Do removals now, or wait for who does; the first failure is raised."""
        under_way = [removal.attempt for removal in removals if removal.attempt is not None]
        mine = [removal for removal in removals if removal.attempt is None]
        if mine:
            await self._remove(mine, leaving=leaving)
        for attempt in under_way:
            await attempt.wait()
        # An attempt that was cancelled says nothing.
        again = [r for r in removals if self._waiting.get(r.key) is r and r.error is None]
        if again:
            await self._settle(again, leaving=leaving)
        errors = [removal.error for removal in removals if removal.error is not None]
        for removal in removals:
            self._refused.pop(removal.key, None)
        if errors:
            raise errors[0]

    async def _work(self) -> None:
        """Remove what has waited for a moment, while there is something."""
        delay_seconds = DELAY_SECONDS
        try:
            while self._waiting:
                oldest = min(removal.since_seconds for removal in self._waiting.values())
                await trio.sleep(max(oldest + DELAY_SECONDS - _now(), _LOOK_SECONDS))
                due = [r for r in self._waiting.values() if not self._goes_first(r.since_seconds)]
                due = due[:BatchDeleteLimit]
                # Keys come from the tree: nothing may move meanwhile.
                async with self._tree_lock.shared(*{removal.directory for removal in due}):
                    due = [r for r in due if self._waiting.get(r.key) is r and r.attempt is None]
                    await self._remove(due, leaving=None)
                if any(removal.error is not None and removal.key in self._waiting for removal in due):
                    await trio.sleep(delay_seconds)
                    delay_seconds = min(2 * delay_seconds, _RETRY_LONGEST_SECONDS)
                else:
                    delay_seconds = _RETRY_FIRST_SECONDS
        finally:
            self._working = False

    async def _remove(self, removals: list[Removal], *, leaving: str | None) -> None:
        """Try to remove objects; what became of each stands in its `error`."""
        attempt = trio.Event()
        for removal in removals:
            removal.attempt, removal.error = attempt, None
        try:
            same = await self._still_the_same(removals)
            await self._leave_markers(same, leaving)
            batches = [same[i : i + _WAITED_FOR_BATCH] for i in range(0, len(same), _WAITED_FOR_BATCH)]
            await for_each(batches, self._remove_batch, limit=_REQUESTS_AT_ONCE)
        except FileSystemError as error:
            left = [r for r in removals if r.key in self._waiting and r.error is None]
            log.error("%d files are not removed from S3 yet: %s", len(left), error)
            for removal in left:
                self._failed(removal, error)
        finally:
            for removal in removals:
                removal.attempt = None
            attempt.set()

    async def _remove_batch(self, batch: Sequence[Removal]) -> None:
        failures = {failure.key: failure for failure in await self._store.delete_many([r.key for r in batch])}
        for removal in batch:
            failure = failures.get(removal.key)
            if failure is None:
                self._done(removal)
                continue
            denied = failure.code == "AccessDenied"
            error = StoreError(
                Reason.ACCESS_DENIED if denied else Reason.REFUSED,
                failure.message or failure.code,
                operation="DeleteObjects",
                key=removal.key,
                code=failure.code,
            )
            self._failed(removal, error)

    async def _still_the_same(self, removals: Iterable[Removal]) -> list[Removal]:
        """Look at the objects of removals that have waited long; somebody else's newer ones stay."""
        old = [r for r in removals if r.inherited or _now() - r.since_seconds > _BELIEVED_SECONDS]

        async def look(removal: Removal) -> None:
            try:
                found = await self._store.head(removal.key)
            except FileSystemError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
            else:
                if found.etag == removal.etag:
                    return
                log.warning(
                    "%s was to be removed, but somebody else has replaced it since: that stays",
                    self._table.path_of(removal.key),
                )
            self._forget(removal)
            self._metadata.not_removed(*_place(removal.key))

        await for_each(old, look, limit=_LOOKS_AT_ONCE)
        return [removal for removal in removals if removal.key in self._waiting]

    async def _leave_markers(self, removals: Iterable[Removal], leaving: str | None) -> None:
        """Give directories without a marker one before their last child goes, so that they stay."""
        places = {_place(removal.key)[0]: removal.directory for removal in removals}
        for prefix, directory in places.items():
            if not directory.detached and prefix != leaving:
                await self._directories.stay(directory, prefix)

    def _done(self, removal: Removal) -> None:
        self._forget(removal)
        self._metadata.removed(*_place(removal.key))

    def _failed(self, removal: Removal, error: FileSystemError) -> None:
        removal.error = error
        if error.reason not in _FINAL:
            return
        path = self._table.path_of(removal.key)
        log.error("%s was removed here, but S3 does not let it go; it is there again: %s", path, error)
        self._refused[removal.key] = error
        self._forget(removal)
        self._metadata.not_removed(*_place(removal.key))

    def _forget(self, removal: Removal) -> None:
        del self._waiting[removal.key]
        self._folder.journal.end(removal.name)


def _place(key: str) -> tuple[str, str]:
    """Return the prefix of the directory in S3 that a key is in, and what the key adds to that."""
    above, slash, step = key.rpartition("/")
    return above + slash, step


def _now() -> float:
    return trio.current_time()
