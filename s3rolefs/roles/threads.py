"""Run blocking work of sources in threads, bounded in number and in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.reading import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

_STAMP_SECONDS = 10.0


class Bench:
    """Seat the blocking calls of one source, a few at a time."""

    def __init__(self, *, seats: int = 4) -> None:
        self._limiter = trio.CapacityLimiter(seats)

    async def run(self, call: Callable[[], T], *, limit_seconds: float, what: str) -> T:
        """Return what `call` returns; UNREACHABLE when `what` took longer than the limit.

        A call that overran keeps its thread until it returns by itself, and its seat with it: one
        that never does cannot use up more threads than there are seats.
        """
        try:
            with trio.fail_after(limit_seconds):
                return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        except trio.TooSlowError:
            sentence = f"{what} did not answer within {limit_seconds:g} s."
            raise CredentialsError(Reason.UNREACHABLE, sentence) from None

    async def stamp(self, path: str, *, what: str) -> Hashable:
        """Return what changes when a file is rewritten or replaced, also where its file system hangs."""
        try:
            return await self.run(lambda: stamp_of(path), limit_seconds=_STAMP_SECONDS, what=what)
        except CredentialsError:
            return "unreachable"
