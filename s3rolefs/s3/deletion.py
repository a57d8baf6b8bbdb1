"""Delete objects, singly and in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import DeleteFailure, Key
from s3rolefs.s3 import requests, wire
from s3rolefs.s3.failures import judge
from s3rolefs.s3.store import BatchDeleteLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3rolefs.s3.exchange import Exchange

# Keys that a batch reports as failed for now are sent again this often.
MOST_ROUNDS = 3
SINGLES_AT_ONCE = 8


class Deleter:
    """Delete from one bucket; a key that is not there counts as deleted."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._batches = True

    async def delete(self, key: Key) -> None:
        """Delete one object."""
        try:
            await self._exchange.perform(requests.delete_object(key))
        except StoreError as error:
            if error.reason is not Reason.NOT_FOUND or error.code == "NoSuchBucket":
                raise

    async def delete_many(self, keys: Sequence[Key]) -> list[DeleteFailure]:
        """Delete many objects and return those that were not deleted, with S3's reason.

        Keys that XML cannot carry are deleted singly, all of them where the service has no
        batch delete, or denies it to a role that may delete each object (radosgw 16 asks for
        s3:DeleteObject on the bucket then).
        """
        if len(keys) > BatchDeleteLimit:
            raise ValueError(f"at most {BatchDeleteLimit} keys at once")
        singles = [key for key in keys if not (self._batches and wire.fit_for_xml(key))]
        odd = set(singles)
        batch = [key for key in keys if key not in odd]
        failures: list[DeleteFailure] = []
        if batch:
            try:
                failures = await self._delete_batch(batch)
            except StoreError as error:
                if error.reason is Reason.ACCESS_DENIED:
                    await self.delete(batch[0])
                elif error.reason is not Reason.UNSUPPORTED:
                    raise
                self._batches = False
                singles = list(keys)
        return failures + await self._delete_singly(singles)

    async def _delete_batch(self, keys: Sequence[Key]) -> list[DeleteFailure]:
        final: list[DeleteFailure] = []
        pending: Sequence[Key] = keys
        for round_number in range(1, MOST_ROUNDS + 1):
            answer = await self._exchange.perform(requests.delete_objects(pending))
            passing: list[DeleteFailure] = []
            for failure in wire.parse_delete_result(answer.body):
                verdict = judge(200, failure.code)
                if verdict.transient:
                    passing.append(failure)
                elif verdict.reason is not Reason.NOT_FOUND:
                    final.append(failure)
            if not passing or round_number == MOST_ROUNDS:
                return final + passing
            pending = [failure.key for failure in passing]
            await trio.sleep(0.2 * round_number)
        return final

    async def _delete_singly(self, keys: Sequence[Key]) -> list[DeleteFailure]:
        failures: list[DeleteFailure] = []
        limiter = trio.CapacityLimiter(SINGLES_AT_ONCE)

        async def delete_one(key: Key) -> None:
            async with limiter:
                try:
                    await self.delete(key)
                except StoreError as error:
                    code = error.code or error.reason.name
                    failures.append(DeleteFailure(key=key, code=code, message=error.message))

        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(delete_one, key)
        return failures
