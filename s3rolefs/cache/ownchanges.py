"""Tell who waits for an answer of S3 what this mount changed meanwhile, in a directory or below a prefix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from s3rolefs.cache.listings import Sort
    from s3rolefs.model import ObjectInfo


@dataclass(slots=True, weakref_slot=True, eq=False)
class Log:
    """Hold the last change of each step in one directory, with its place among all changes."""

    entries: dict[str, tuple[int, ObjectInfo | Sort]] = field(default_factory=dict)


class OwnChanges:
    """Tell what this mount changed below one prefix since this record was begun, by step."""

    def __init__(self, log: Log, since: int) -> None:
        self._log = log
        self._since = since

    def get(self, step: str) -> ObjectInfo | Sort | None:
        """Return what a step was changed to; None: it was not changed."""
        place, entry = self._log.entries.get(step, (0, None))
        return entry if place > self._since else None

    def __iter__(self) -> Iterator[tuple[str, ObjectInfo | Sort]]:
        for step, (place, entry) in self._log.entries.items():
            if place > self._since:
                yield step, entry


class ChangesBelow:
    """Gather what this mount changes anywhere below one prefix while a page of it is on its way."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._changed: dict[str, dict[str, ObjectInfo | Sort]] = {}
        self._forgotten: list[tuple[str, bool]] = []

    def __iter__(self) -> Iterator[tuple[str, str, ObjectInfo | Sort]]:
        """Yield directories, steps in them and what those were changed to."""
        for prefix, steps in self._changed.items():
            for step, entry in steps.items():
                yield prefix, step, entry

    def may_keep(self, prefix: str) -> bool:
        """Tell whether a listing of a directory that was asked for before is not void meanwhile."""
        return not any(
            prefix.startswith(forgotten) if below else prefix == forgotten
            for forgotten, below in self._forgotten
        )

    def enter(self, prefix: str, step: str, entry: ObjectInfo | Sort) -> None:
        """Note a change in a directory."""
        if prefix.startswith(self._prefix):
            self._changed.setdefault(prefix, {})[step] = entry

    def forget(self, prefix: str, *, below: bool) -> None:
        """Note that a listing is void, or those of everything below a prefix are."""
        self._forgotten.append((prefix, below))
        if below:
            self._changed = {
                known: steps for known, steps in self._changed.items() if not known.startswith(prefix)
            }
