"""Remember on disk what HEAD said, without ever letting the loop wait for the disk.

Only what a listing can revalidate is worth it: objects, by ETag and Last-Modified. Two copies of an
object onto itself within one second look alike there, so that nothing is written down before that second
has surely passed. What is lost when the process is killed costs a HEAD, never a wrong answer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.recordfile import RecordFile
    from s3rolefs.clock import Clock
    from s3rolefs.model import Key, ObjectInfo

log = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# An object younger than this may be changed without looking different (git's racy-index rule).
RACY_NS = 2 * 10**9
WAITING_LIMIT = 50_000
_BATCH_SECONDS = 1.0
_READ_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


class Recollection:
    """Write records behind the mount's back, and read those of a page of a listing at once."""

    def __init__(self, file: RecordFile, background: Background, clock: Clock) -> None:
        self._file = file
        self._background = background
        self._clock = clock
        # By key: when to write it down (boot clock), and what; None removes the record.
        self._waiting: dict[Key, tuple[float, ObjectInfo | None]] = {}
        self._writing = False
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._overran = False

    def told(self, info: ObjectInfo) -> None:
        """Write down what HEAD said, unless the object may yet change without looking different."""
        if info.asked_at_ns >= info.last_modified_ns + RACY_NS:
            self._enter(info.key, info, delay_seconds=0.0)

    def stored(self, info: ObjectInfo) -> None:
        """Write down what this mount stored, once nothing that it stores later can look the same."""
        self._enter(info.key, info, delay_seconds=RACY_NS / 1e9)

    def forget(self, key: Key) -> None:
        """Remove what is known of an object."""
        self._enter(key, None, delay_seconds=0.0)

    async def read(self, listed: Sequence[ObjectInfo]) -> list[ObjectInfo]:
        """Return the records of listed objects; none when the disk takes too long."""
        if not listed or (self._overran and self._one_at_a_time.borrowed_tokens):
            return []
        with trio.move_on_after(_READ_SECONDS):
            return await self._in_thread(self._file.read, [info.key for info in listed])
        self._overran = True
        log.debug("remembered attributes did not come within %g s", _READ_SECONDS)
        return []

    async def aclose(self) -> None:
        """Write down what is due, within `_CLOSE_SECONDS`."""
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            now_seconds = self._clock.boot_seconds()
            last = {
                key: info if due_seconds <= now_seconds else None
                for key, (due_seconds, info) in self._waiting.items()
            }
            self._waiting.clear()
            if last:
                await self._in_thread(self._file.write, last)
            await self._in_thread(self._file.close)

    def _enter(self, key: Key, info: ObjectInfo | None, *, delay_seconds: float) -> None:
        self._waiting.pop(key, None)
        if len(self._waiting) >= WAITING_LIMIT:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[key] = (self._clock.boot_seconds() + delay_seconds, info)
        if not self._writing:
            self._writing = True
            self._background.start_soon(self._write)

    async def _write(self) -> None:
        try:
            while self._waiting:
                await trio.sleep(_BATCH_SECONDS)
                now_seconds = self._clock.boot_seconds()
                due = {
                    key: info
                    for key, (due_seconds, info) in self._waiting.items()
                    if due_seconds <= now_seconds
                }
                for key in due:
                    del self._waiting[key]
                if due:
                    await self._in_thread(self._file.write, due)
        finally:
            self._writing = False

    async def _in_thread(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        result = await trio.to_thread.run_sync(
            work, *arguments, abandon_on_cancel=True, limiter=self._one_at_a_time
        )
        self._overran = False
        return result
