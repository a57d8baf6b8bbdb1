"""Keep what S3 could not take as files on local disk, across crashes and mounts, until it can.

Each mount owns one folder below `spool_dir`, marked by a lock that the kernel frees when the process
ends, however it ends. The next mount of the same source takes over the folders nobody locks. A kept
version is two files: `<id>.data` (its bytes, sparse) and `<id>.json` (where they belong); `<id>.move` is the
record of a directory's move. With `writeback` small versions that wait for their turn, and removals, are
entries of a journal instead, which the next mount makes the same of.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import os
import uuid
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.cache.blocks import ObjectVersion
from s3rolefs.cache.diskroom import spare_bytes
from s3rolefs.errors import FileSystemError, SystemFailure
from s3rolefs.fs import journal
from s3rolefs.fs.attributes import Attributes
from s3rolefs.fs.journal import Journal
from s3rolefs.fs.moverecord import MoveRecord
from s3rolefs.fs.spool import private
from s3rolefs.model import Key, address_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """Say what is kept: the path below the mount point, the file that holds it, and why.

    A conflict (somebody else changed the object) is never sent again; a person has to decide.
    """

    path: str
    kept_at: str
    reason: str
    conflict: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion:
    """Describe a kept version: enough to send it in another process.

    `address` is that of the key when it was kept; `base_etag` is None for a new file; `present` and
    `changed` are byte ranges of the data file. `attempts` are ctime and size of what S3 may have taken in
    place of the base: what it has then is no conflict.
    """

    key: str
    address: str | None
    size_bytes: int
    attributes: Attributes
    base_etag: str | None
    base_size_bytes: int
    uses_base: bool
    present: list[tuple[int, int]]
    changed: list[tuple[int, int]]
    reason: str
    conflict: bool = False
    attempts: list[tuple[str, int]] = field(default_factory=list)

    def as_fields(self) -> dict[str, Any]:
        """Return what JSON can hold; `asdict` would take ten times as long."""
        fields = {name: getattr(self, name) for name in _KEPT_FIELDS}
        fields["attributes"] = {name: getattr(self.attributes, name) for name in _ATTRIBUTE_FIELDS}
        return fields

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> KeptVersion:
        """Read what `as_fields` returned; ValueError, TypeError, KeyError when it is something else."""
        # A later version may have more.
        known = {name: fields[name] for name in _KEPT_FIELDS if name in fields}
        attributes = fields["attributes"]
        known["attributes"] = Attributes(**{name: attributes[name] for name in _ATTRIBUTE_FIELDS})
        for name in ("present", "changed"):
            known[name] = [(int(start), int(end)) for start, end in fields[name]]
        known["attempts"] = [(str(ctime), int(size)) for ctime, size in fields.get("attempts", ())]
        return cls(**known)

    def base_version(self) -> ObjectVersion | None:
        """Return the version in S3 that the kept one replaces, None for a new file."""
        if self.base_etag is None:
            return None
        return ObjectVersion(
            key=Key(self.key),
            etag=self.base_etag,
            size_bytes=self.base_size_bytes,
            token=(self.key, self.base_etag, self.base_size_bytes),
        )


_KEPT_FIELDS = tuple(known.name for known in fields(KeptVersion))
_ATTRIBUTE_FIELDS = tuple(known.name for known in fields(Attributes))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRemoval:
    """Describe an object that is to be removed: the version that was there, and where its key led to."""

    key: str
    address: str | None
    etag: str


class UnsentFolder:
    """Own the folder of this mount; `origins` says what the beginnings of keys stand for.

    `unsynced` are names of versions that a loss of power must not take.
    """

    def __init__(self, spool_dir: str, source: str, origins: Mapping[str, str]) -> None:
        self._origins = origins
        name = blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        self._all = Path(spool_dir) / name
        self.path = self._all / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._numbers = itertools.count(1)
        self.journal = Journal(self.path)
        self.unsynced: set[str] = set()
        self._removals: list[tuple[str, KeptRemoval]] = []
        try:
            self._lock = _made(self.path)
        except OSError as error:
            raise SystemFailure(
                f"spool_dir {spool_dir} cannot be used ({error.strerror}): "
                "name a directory on a local disk with -o spool_dir="
            ) from error

    def restore(self) -> None:
        """Make the folder again, if somebody removed it under the mount (a cleaner of caches)."""
        if self.path.exists():
            return
        try:
            lock = _made(self.path)
        except OSError as error:
            # Small files stay in memory; a larger one finds no room.
            log.error("%s was removed and cannot be made again: %s", self.path, error.strerror)
            return
        os.close(self._lock)
        self._lock = lock
        self.journal.close()
        log.warning("%s had been removed and was made again", self.path)

    def address_of(self, key: str) -> str | None:
        """Return the service, bucket and key that a key leads to, None where a map has no such directory."""
        return address_of(key, self._origins)

    def new_name(self) -> str:
        """Return a name for one kept version, which no other folder uses."""
        return f"{self.path.name}-{next(self._numbers)}"

    def data_path(self, name: str) -> Path:
        """Return where a kept version's bytes are."""
        return self.path / f"{name}.data"

    def describe(self, name: str, kept: KeptVersion) -> None:
        """Write down what a kept version is; replaced in one step."""
        target = self.path / f"{name}.json"
        draft = target.with_suffix(".new")
        draft.write_text(json.dumps(kept.as_fields()))
        draft.chmod(0o600)
        draft.rename(target)

    def remove(self, name: str) -> None:
        """Forget a version that S3 has now."""
        for suffix in (".json", ".data"):
            (self.path / (name + suffix)).unlink(missing_ok=True)

    def inherit(self) -> Iterator[tuple[str, KeptVersion]]:
        """Take over what earlier mounts of this source left, oldest folder first."""
        for folder in sorted(self._all.iterdir(), key=_age):
            if folder == self.path or not folder.is_dir():
                continue
            try:
                lock = _locked(folder)
            except OSError:
                continue  # its mount lives, or another one has taken it over
            for draft in [*folder.glob("*.new"), *folder.glob("*.draft")]:
                draft.unlink()
            for description in folder.glob("*.json"):
                kept = _read(description)
                data = description.with_suffix(".data")
                if kept is None or not data.exists():
                    continue
                data.rename(self.path / data.name)
                description.rename(self.path / description.name)
                yield description.stem, kept
            yield from self._unpack(folder)
            for record in folder.glob("*.move"):
                record.rename(self.path / record.name)
            left = [entry.name for entry in folder.iterdir() if entry.name != "lock"]
            if not left:
                (folder / "lock").unlink()
                folder.rmdir()
            os.close(lock)

    def _unpack(self, folder: Path) -> Iterator[tuple[str, KeptVersion]]:
        """Make files of the versions in another folder's journal, and entries of our own of its removals."""
        for entry in journal.left(folder):
            try:
                if "etag" in entry.fields:
                    removal = KeptRemoval(**entry.fields)
                    self.journal.write(entry.name, entry.fields)
                    self._removals.append((entry.name, removal))
                    continue
                kept = KeptVersion.of_fields(entry.fields)
                with open(self.data_path(entry.name), "wb", opener=private) as file:
                    file.write(entry.content)
                    file.truncate(kept.size_bytes)
                self.describe(entry.name, kept)
            except (ValueError, TypeError, KeyError) as error:
                log.error("%s: an entry of the journal is not readable: %s", folder, error)
                continue
            except (OSError, FileSystemError) as error:
                log.error("%s: the journal stays where it is, as this disk cannot take it: %s", folder, error)
                return
            yield entry.name, kept
        for path in journal.files(folder):
            path.unlink()

    def removals(self) -> list[tuple[str, KeptRemoval]]:
        """Return what earlier mounts were still to remove, with the names of the entries in our journal."""
        return self._removals

    def has_room(self) -> bool:
        """Tell whether the disk has more room than is left to others."""
        return spare_bytes(self.path) > 0

    def is_synced(self) -> bool:
        """Tell whether a loss of power would take nothing."""
        return self.journal.is_synced and not self.unsynced

    def descriptors_to_sync(self) -> list[int]:
        """Return descriptors of everything that is new, for `sync_blocking` in a thread."""
        found = self.journal.descriptors_to_sync()
        new = [self.path / (name + suffix) for name in self.unsynced for suffix in (".data", ".json")]
        self.unsynced.clear()
        for path in [*new, self.path]:
            with contextlib.suppress(OSError):  # sent meanwhile
                found.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return found

    def begin_move(self, old: str, new: str, objects: int) -> MoveRecord:
        """Begin the record of a directory's move."""
        self.restore()
        path = self.path / f"{self.new_name()}.move"
        return MoveRecord.begin(path, old, new, objects, address=self.address_of(old))

    def moves(self) -> list[MoveRecord]:
        """Return the moves that were under way when earlier mounts ended, once they are inherited."""
        records = (MoveRecord.read(path) for path in sorted(self.path.glob("*.move")))
        return [record for record in records if record is not None]

    def close(self) -> None:
        """Free the folder; an empty one is removed."""
        self.journal.close()
        with contextlib.suppress(OSError):
            if {entry.name for entry in self.path.iterdir()} == {"lock"}:
                (self.path / "lock").unlink()
                self.path.rmdir()
                self._all.rmdir()
        os.close(self._lock)


def sync_blocking(descriptors: list[int]) -> None:
    """Bring files to the disk, and close them."""
    for fd in descriptors:
        try:
            os.fsync(fd)
        except OSError as error:
            log.error("what waits to be sent may not survive a loss of power: %s", error)
        finally:
            os.close(fd)


def _age(folder: Path) -> float:
    with contextlib.suppress(FileNotFoundError):  # another mount may take it over meanwhile
        return folder.stat().st_mtime
    return 0.0


def _made(folder: Path) -> int:
    folder.mkdir(parents=True, mode=0o700)
    return _locked(folder)


def _locked(folder: Path) -> int:
    fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _read(description: Path) -> KeptVersion | None:
    try:
        return KeptVersion.of_fields(json.loads(description.read_text()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is not readable and was left where it is: %s", description, error)
        return None
