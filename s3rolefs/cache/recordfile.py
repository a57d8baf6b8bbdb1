"""Keep what HEAD said about objects in one SQLite file that outlives the mount.

Blocking; whoever calls sees to it that there is one call at a time. A cache: whatever happens to the
file, no operation fails. Two mounts may share it; they wait for each other for at most `_BUSY_SECONDS`.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from contextlib import suppress
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

from s3rolefs.cache.folders import make_private
from s3rolefs.model import Key, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from s3rolefs.clock import Clock

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Some 400 bytes each.
RECORDS_LIMIT = 500_000
_BUSY_SECONDS = 0.5
# When a record was used last is written down this exactly.
_USED_STEP_SECONDS = 3600
_APPLICATION_ID = int.from_bytes(b"s3rf")
_FIELDS = tuple(field.name for field in fields(ObjectInfo) if field.name != "key")
# Records of a program that describes objects otherwise are not read.
_FORMAT = crc32(" ".join(_FIELDS).encode()) >> 1
# https://www.sqlite.org/rescode.html, the primary codes
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class _ForeignError(Exception):
    """Say that a file is not one of ours, or not what we wrote."""


def record_path(cache_dir: str, identity: str) -> Path:
    """Return the file for one source; `identity` tells its objects from all others."""
    name = blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return Path(cache_dir) / "attributes" / f"{name}.sqlite"


class RecordFile:
    """Hold at most `limit` records by key; those that nobody has used for longest go first."""

    def __init__(self, path: Path, clock: Clock, *, limit: int = RECORDS_LIMIT) -> None:
        self._path = path
        self._clock = clock
        self._limit = limit
        self._connection: sqlite3.Connection | None = None
        self._usable = True
        self._was_broken = False
        self._until_trim = 0

    def read(self, keys: Iterable[Key]) -> list[ObjectInfo]:
        """Return the records of some keys."""
        return self._attempt(lambda connection: self._read(connection, keys)) or []

    def write(self, records: Mapping[Key, ObjectInfo | None]) -> None:
        """Enter records, or (None) remove them; all or nothing."""
        self._attempt(lambda connection: self._write(connection, records))

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _attempt(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        """Return what `work` returns, None where the file is busy or cannot be used (any more)."""
        while self._usable:
            try:
                if self._connection is None:
                    self._connection = self._opened()
                with self._connection:
                    return work(self._connection)
            except (sqlite3.Error, OSError, _ForeignError) as error:
                # The errors of the module itself have no code.
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in _BUSY:
                    log.debug("%s is busy", self._path)
                    return None
                self.close()
                broken = code in _BROKEN or isinstance(error, _ForeignError)
                if broken and not self._was_broken and self._put_aside(error):
                    self._was_broken = True
                    continue
                self._usable = False
                log.warning("attributes of objects are not remembered in %s: %s", self._path, error)
        return None

    def _opened(self) -> sqlite3.Connection:
        make_private(self._path.parent)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            # Readers and one writer at once; what was committed is whole also after kill -9.
            connection.execute("PRAGMA journal_mode = WAL").close()
            connection.execute("PRAGMA synchronous = NORMAL").close()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _put_aside(self, error: Exception) -> bool:
        aside = self._path.with_suffix(".broken")
        try:
            self._path.replace(aside)
            for ending in ("-wal", "-shm"):
                Path(f"{self._path}{ending}").unlink(missing_ok=True)
        except OSError:
            return False
        log.warning("%s cannot be used (%s): it is kept as %s and begun anew", self._path, error, aside)
        return True

    def _read(self, connection: sqlite3.Connection, keys: Iterable[Key]) -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        aged: list[tuple[int, bytes]] = []
        now = int(self._clock.wall_seconds())
        for key in keys:
            name = _name(key)
            row = connection.execute("SELECT used, about, crc FROM record WHERE key = ?", (name,)).fetchone()
            if row is None:
                continue
            used, about, crc = row
            found.append(_decoded(key, about, crc))
            if abs(now - used) >= _USED_STEP_SECONDS:
                aged.append((now, name))
        if aged:
            with suppress(sqlite3.OperationalError):  # busy or full: what was found counts all the same
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("UPDATE record SET used = ? WHERE key = ?", aged)
        return found

    def _write(self, connection: sqlite3.Connection, records: Mapping[Key, ObjectInfo | None]) -> None:
        now = int(self._clock.wall_seconds())
        entered = [(_name(key), now, *_encoded(info)) for key, info in records.items() if info is not None]
        removed = [(_name(key),) for key, info in records.items() if info is None]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM record WHERE key = ?", removed)
        connection.executemany("REPLACE INTO record (key, used, about, crc) VALUES (?, ?, ?, ?)", entered)
        self._until_trim -= len(entered)
        if self._until_trim < 0:
            self._trim(connection)

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Make room for a tenth of the limit beyond what is due now."""
        room = self._limit // 10
        self._until_trim = room
        (count,) = connection.execute("SELECT count(*) FROM record").fetchone()
        connection.execute(
            "DELETE FROM record WHERE key IN (SELECT key FROM record ORDER BY used LIMIT ?)",
            (max(0, count - (self._limit - room)),),
        )


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the table in an empty file, or anew where another version of the program wrote it."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
            raise _ForeignError("it belongs to another program")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    elif version == _FORMAT:
        return
    connection.execute("DROP TABLE IF EXISTS record")
    connection.execute(
        "CREATE TABLE record (key BLOB PRIMARY KEY, used INTEGER NOT NULL, about TEXT NOT NULL, "
        "crc INTEGER NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX by_use ON record (used)")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _name(key: Key) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _encoded(info: ObjectInfo) -> tuple[str, int]:
    about = json.dumps({name: getattr(info, name) for name in _FIELDS}, default=dict, separators=(",", ":"))
    return about, crc32(about.encode())


def _decoded(key: Key, about: str, crc: int) -> ObjectInfo:
    if not isinstance(about, str) or crc32(about.encode()) != crc:
        raise _ForeignError(f"what it says of {key!r} was damaged")
    return ObjectInfo(key=key, **json.loads(about))
