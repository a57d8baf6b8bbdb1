"""Wrap an object store so that its calls fail, hang or lose their answers, as a plan says.

What comes out of a store is final (see `ObjectStore`): retries have been made and unknown outcomes
resolved. So the faults here are what is left after that, a lost answer being one that no retry and
no HEAD could settle.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import Reason, StoreError
from s3rolefs.s3.store import bytes_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from s3rolefs.model import DeleteFailure, Key, ListPage, ObjectInfo, Stored, UploadedPart
    from s3rolefs.s3.store import BlockFilled, Body, Buffers, ObjectAttributes, ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Say which calls go wrong, and how.

    `verb` is a method's name, `key` a whole key (a listing's prefix, a copy's target, one of a
    batch); None is any. Of the calls that match, the first `skip` pass and the next `times` meet the
    fault (None: all of them). They wait `delay_seconds` of trio's time, then fail with `reason` before
    the inner store hears of them; with `answer_delay_seconds` it acts first, and its answer takes that much
    longer; with `answer_lost` the answer never arrives (UNREACHABLE, outcome_unknown); with
    `break_after_bytes` a get delivers that many bytes first (UNREACHABLE; one that asks for no more than
    that passes). With none of these: only the delay.
    """

    verb: str | None = None
    key: str | None = None
    skip: int = 0
    times: int | None = 1
    delay_seconds: float = 0.0
    reason: Reason | None = None
    status: int = 0
    code: str = ""
    answer_delay_seconds: float = 0.0
    answer_lost: bool = False
    break_after_bytes: int | None = None


class _Rule:
    """Count the calls that one fault of the plan matched."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._matched = 0

    def is_due(self, verb: str, keys: Sequence[str]) -> bool:
        """Count a call if it matches, and say whether the fault is its."""
        fault = self.fault
        if fault.verb not in (None, verb) or (fault.key is not None and fault.key not in keys):
            return False
        self._matched += 1
        past_skipped = self._matched - fault.skip
        return past_skipped >= 1 and (fault.times is None or past_skipped <= fault.times)


class FaultyStore:
    """Pass every call on to `inner`, except where a fault of the plan is due.

    Where several are due the first of the plan happens. `plan` replaces the whole plan and starts
    its counting anew; an empty one makes the store sound again.
    """

    def __init__(self, inner: ObjectStore, plan: Sequence[Fault] = ()) -> None:
        self._inner = inner
        self.plan(*plan)

    def plan(self, *faults: Fault) -> None:
        """Replace the plan."""
        self._rules = [_Rule(fault) for fault in faults]

    async def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "/",
        token: str | None = None,
        start_after: str | None = None,
        limit: int = 1000,
    ) -> ListPage:
        """Return one page, or meet a fault whose key is the prefix."""
        async with self._meeting("list_page", prefix):
            return await self._inner.list_page(
                prefix, delimiter=delimiter, token=token, start_after=start_after, limit=limit
            )

    async def head(self, key: Key) -> ObjectInfo:
        """Return an object's attributes, or meet a fault."""
        async with self._meeting("head", key):
            return await self._inner.head(key)

    async def tags(self, key: Key) -> str:
        """Return an object's tags, or meet a fault."""
        async with self._meeting("tags", key):
            return await self._inner.tags(key)

    async def keep_tags(self, key: Key, tags: str) -> None:
        """Make sure of an object's tags, or meet a fault."""
        async with self._meeting("keep_tags", key):
            await self._inner.keep_tags(key, tags)

    async def get(
        self,
        key: Key,
        into: Buffers,
        *,
        length: int | None = None,
        offset: int = 0,
        if_match: str | None = None,
        on_filled: BlockFilled | None = None,
    ) -> ObjectInfo:
        """Read a range, or meet a fault: before, after, or in the middle of the bytes."""
        async with self._meeting("get", key) as fault:
            wanted = bytes_in(into) if length is None else length
            passed = wanted if fault is None or fault.break_after_bytes is None else fault.break_after_bytes
            if passed >= wanted:
                return await self._inner.get(
                    key, into, length=length, offset=offset, if_match=if_match, on_filled=on_filled
                )
            await self._get_beginning(key, into, passed, offset, if_match, on_filled)
            raise _unreachable("the body broke off", "get", key)

    async def put(
        self,
        key: Key,
        body: Body,
        attributes: ObjectAttributes,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Store an object, or meet a fault."""
        async with self._meeting("put", key):
            return await self._inner.put(
                key, body, attributes, if_match=if_match, if_none_match=if_none_match
            )

    async def copy(
        self,
        source: Key,
        target: Key,
        *,
        attributes: ObjectAttributes | None = None,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Copy an object, or meet a fault whose key is the target."""
        async with self._meeting("copy", target):
            return await self._inner.copy(
                source, target, attributes=attributes, if_match=if_match, if_none_match=if_none_match
            )

    async def delete(self, key: Key) -> None:
        """Delete an object, or meet a fault."""
        async with self._meeting("delete", key):
            await self._inner.delete(key)

    async def delete_many(self, keys: Sequence[Key]) -> Sequence[DeleteFailure]:
        """Delete objects, or meet a fault whose key is one of them."""
        async with self._meeting("delete_many", *keys):
            return await self._inner.delete_many(keys)

    async def create_multipart(self, key: Key, attributes: ObjectAttributes) -> str:
        """Begin an upload, or meet a fault."""
        async with self._meeting("create_multipart", key):
            return await self._inner.create_multipart(key, attributes)

    async def upload_part(self, key: Key, upload_id: str, number: int, body: Body) -> UploadedPart:
        """Send one part, or meet a fault."""
        async with self._meeting("upload_part", key):
            return await self._inner.upload_part(key, upload_id, number, body)

    async def upload_part_copy(
        self,
        key: Key,
        upload_id: str,
        number: int,
        *,
        source: Key,
        offset: int,
        length: int,
        if_match: str | None = None,
    ) -> UploadedPart:
        """Copy one part, or meet a fault whose key is the target."""
        async with self._meeting("upload_part_copy", key):
            return await self._inner.upload_part_copy(
                key, upload_id, number, source=source, offset=offset, length=length, if_match=if_match
            )

    async def complete_multipart(
        self,
        key: Key,
        upload_id: str,
        parts: Sequence[UploadedPart],
        *,
        size_bytes: int,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Finish an upload, or meet a fault."""
        async with self._meeting("complete_multipart", key):
            return await self._inner.complete_multipart(
                key, upload_id, parts, size_bytes=size_bytes, if_match=if_match, if_none_match=if_none_match
            )

    async def abort_multipart(self, key: Key, upload_id: str) -> None:
        """Give an upload up, or meet a fault."""
        async with self._meeting("abort_multipart", key):
            await self._inner.abort_multipart(key, upload_id)

    @asynccontextmanager
    async def _meeting(self, verb: str, *keys: str) -> AsyncIterator[Fault | None]:
        """Surround one call by the fault that is due, if any."""
        due = [rule.fault for rule in self._rules if rule.is_due(verb, keys)]
        fault = due[0] if due else None
        key = keys[0] if keys else ""
        if fault is not None:
            await trio.sleep(fault.delay_seconds)
            if fault.reason is not None:
                raise StoreError(fault.reason, operation=verb, key=key, status=fault.status, code=fault.code)
        yield fault
        if fault is not None and fault.answer_delay_seconds:
            await trio.sleep(fault.answer_delay_seconds)
        if fault is not None and fault.answer_lost:
            raise _unreachable("the answer was lost", verb, key, outcome_unknown=True)

    async def _get_beginning(
        self,
        key: Key,
        into: Buffers,
        length: int,
        offset: int,
        if_match: str | None,
        on_filled: BlockFilled | None,
    ) -> None:
        """Fill the buffers with the first `length` bytes; tell only of those that are full."""
        parts: list[memoryview] = []
        full = 0
        for index in range(len(into)):
            parts.append(into[index][: length - sum(map(len, parts))])
            full += len(parts[-1]) == len(into[index])

        def tell(index: int) -> None:
            if on_filled is not None and index < full:
                on_filled(index)

        if length:
            await self._inner.get(key, parts, offset=offset, if_match=if_match, on_filled=tell)


def _unreachable(message: str, verb: str, key: str, *, outcome_unknown: bool = False) -> StoreError:
    return StoreError(Reason.UNREACHABLE, message, operation=verb, key=key, outcome_unknown=outcome_unknown)
