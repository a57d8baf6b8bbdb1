"""Run tasks that nobody waits for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

log = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")


class Background:
    """Start tasks in a nursery; one that fails by a bug ends alone instead of the whole mount."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, work: Callable[[*Arguments], Awaitable[object]], *arguments: *Arguments) -> None:
        """Run `work`; what it raises is logged with its traceback."""
        self._nursery.start_soon(self._guard, work, arguments)

    async def _guard(
        self, work: Callable[[*Arguments], Awaitable[object]], arguments: tuple[*Arguments]
    ) -> None:
        try:
            await work(*arguments)
        except Exception:
            log.exception("a background task failed in a way that is a bug of s3rolefs")
