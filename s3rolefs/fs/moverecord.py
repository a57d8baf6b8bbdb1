"""Write down how far the move of a directory has come: what a crash breaks off, the next mount finishes.

One file for each move under way: lines of JSON, the first with the two places, then one for each copy. It
survives the process, not the machine: where it is torn or behind, what the bucket holds decides.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class MoveRecord:
    """Know one move: between which prefixes, of how many objects, and what was copied so far.

    `address` is that of the old prefix when it began. `copies` gives, by the key behind the prefix, the ETags
    of the source and of its copy. `removing`: everything has been copied, and the removal of the sources was
    begun.
    """

    path: Path
    old: str
    new: str
    objects: int
    address: str | None
    copies: dict[str, tuple[str, str]] = field(default_factory=dict)
    removing: bool = False

    @classmethod
    def begin(cls, path: Path, old: str, new: str, objects: int, *, address: str | None) -> Self:
        """Begin the record of a move."""
        record = cls(path=path, old=old, new=new, objects=objects, address=address)
        record._add({"old": old, "new": new, "objects": objects, "address": address})
        return record

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read what another process wrote; None, and a line in the log, when it is no record."""
        try:
            with path.open() as file:
                record = cls(path=path, **json.loads(next(file)))
                for line in file:
                    if not line.endswith("\n"):
                        break
                    entry = json.loads(line)
                    record.removing |= "removing" in entry
                    if "copied" in entry:
                        record.copies[entry["copied"]] = (entry["source"], entry["copy"])
        except (OSError, ValueError, TypeError, KeyError, StopIteration) as error:
            log.warning("%s is not readable and was left where it is: %s", path, error)
            return None
        return record

    def copied(self, name: str, source_etag: str, copy_etag: str) -> None:
        """Note that one object is at the new place, too."""
        self.copies[name] = (source_etag, copy_etag)
        self._add({"copied": name, "source": source_etag, "copy": copy_etag})

    def begin_removing(self) -> None:
        """Note that everything is at the new place."""
        self.removing = True
        self._add({"removing": True})

    def end(self) -> None:
        """Forget a move that is done, or whose program was told that it failed."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be removed: %s", self.path, error.strerror)

    def _add(self, entry: dict[str, object]) -> None:
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            # The move itself does not need it.
            log.warning("%s could not be written: %s", self.path, error.strerror)
