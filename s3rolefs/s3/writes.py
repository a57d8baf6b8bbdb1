"""Make conditional writes mean the same everywhere, and settle those whose answer was lost.

A refused condition is looked into with one HEAD: it may be our own write, made by an attempt whose
answer was lost; or the service may want ETags without quotes. What the answers teach goes into
the one `Capabilities` record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import Stored
from s3rolefs.s3.capabilities import Capabilities

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from s3rolefs.model import Key, ListPage, ObjectInfo
    from s3rolefs.s3.attempt import Answer
    from s3rolefs.s3.exchange import Exchange
    from s3rolefs.s3.requests import Request

_LOST = {Reason.PRECONDITION, Reason.NO_SUCH_UPLOAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Describe a write of `key`: how to build its request for given conditions, how to know it again.

    `is_ours` gets what the bucket holds, and whether an answer was lost. `is_gone`, asked after
    the service failed inside (500), tells whether what the write needs is not there any more.
    """

    key: Key
    build: Callable[[Mapping[str, str]], Request]
    is_ours: Callable[[ObjectInfo, bool], Awaitable[bool]]
    if_match: str | None
    if_none_match: bool
    is_gone: Callable[[], Awaitable[bool]] | None = None

    @property
    def conditional(self) -> bool:
        """Say whether there is a condition to hold."""
        return self.if_match is not None or self.if_none_match

    def allowed_over(self, found: ObjectInfo | None) -> bool:
        """Say whether the condition holds for what is there (None: nothing)."""
        if self.if_none_match:
            return found is None
        return self.if_match is None or (found is not None and found.etag == self.if_match)


class Writer:
    """Carry out `Write`s on one bucket; `head` and `list_page` ask what is there."""

    def __init__(
        self,
        exchange: Exchange,
        head: Callable[[Key], Awaitable[ObjectInfo]],
        list_page: Callable[..., Awaitable[ListPage]],
    ) -> None:
        self._exchange = exchange
        self._head = head
        self._list_page = list_page
        self._capabilities: Capabilities | None = None

    async def capabilities(self) -> Capabilities:
        """Return what is known of the service so far."""
        if self._capabilities is None:
            endpoint = await self._exchange.endpoint()
            self._capabilities = Capabilities.presumed(is_aws=endpoint.is_aws)
        return self._capabilities

    async def look(self, key: Key) -> ObjectInfo | None:
        """Return what is at `key`, None for nothing; ACCESS_DENIED where the role may not know."""
        try:
            return await self._head(key)
        except StoreError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            if error.reason is not Reason.ACCESS_DENIED:
                raise
        # Without s3:ListBucket below this very name, 403 is also the answer for a key that is absent.
        page = await self._list_page(key, delimiter="", limit=1)
        return next((info for info in page.objects if info.key == key), None)

    async def perform(self, write: Write, *, honoured: bool) -> Answer | Stored:
        """Return the answer, or what was found stored after a lost one.

        Without `honoured` a HEAD checks the condition first. Raise StoreError PRECONDITION when
        it does not hold.
        """
        capabilities = await self.capabilities()
        if write.conditional and not honoured:
            already = await self._check_before(write)
            if already is not None:
                return already
        conditions = capabilities.write_conditions(if_match=write.if_match, if_none_match=write.if_none_match)
        try:
            answer = await self._exchange.perform(write.build(conditions))
        except StoreError as error:
            return await self._settle(write, error, capabilities)
        if "if-match" in conditions and capabilities.quotes_etags is None and honoured:
            capabilities.quotes_etags = True
        return answer

    async def _check_before(self, write: Write) -> Stored | None:
        """Raise PRECONDITION unless the condition holds; return what an earlier attempt stored."""
        try:
            found = await self.look(write.key)
        except StoreError as error:
            # A role that may only write cannot look; then the write is as unconditional as the service.
            if error.reason is Reason.ACCESS_DENIED:
                return None
            raise
        if write.allowed_over(found):
            return None
        if found is not None and await write.is_ours(found, False):
            return as_stored(found)
        raise _refused(write)

    async def _settle(self, write: Write, error: StoreError, capabilities: Capabilities) -> Answer | Stored:
        """Look into a refusal; raise `error`, or PRECONDITION, when it is genuine."""
        if write.conditional and error.reason is Reason.UNSUPPORTED:
            return await self._perform_unconditionally(write, capabilities)
        if error.status == 500 and write.is_gone is not None and await write.is_gone():
            error = _restated(error, Reason.NO_SUCH_UPLOAD, error.message)
        gone = (
            write.if_match is not None and error.reason is Reason.NOT_FOUND and error.code != "NoSuchBucket"
        )
        if not (error.reason in _LOST or gone):
            raise error
        maybe_unquoted = write.if_match is not None and capabilities.quotes_etags is None
        if error.reason is Reason.NO_SUCH_UPLOAD or error.outcome_unknown or maybe_unquoted:
            found = await self._look_after(write, error)
            if found is not None and await write.is_ours(found, error.outcome_unknown):
                return as_stored(found)
            if maybe_unquoted and error.reason is Reason.PRECONDITION and write.allowed_over(found):
                # The condition holds, and yet it was refused: the quotes are what it stumbles over.
                answer = await self._exchange.perform(write.build({"if-match": str(write.if_match)}))
                capabilities.quotes_etags = False
                return answer
        if error.reason is Reason.NO_SUCH_UPLOAD:
            raise error
        raise _refused(write, error) from error

    async def _look_after(self, write: Write, error: StoreError) -> ObjectInfo | None:
        try:
            return await self.look(write.key)
        except StoreError as denied:
            # A write-only role cannot look: then what the service said stands.
            if denied.reason is Reason.ACCESS_DENIED:
                raise error from denied
            raise

    async def _perform_unconditionally(self, write: Write, capabilities: Capabilities) -> Answer | Stored:
        already = await self._check_before(write)
        if already is not None:
            return already
        answer = await self._exchange.perform(write.build({}))
        # Only now is it sure that the condition was what the service does not implement.
        capabilities.put_honours_conditions = False
        capabilities.complete_honours_conditions = False
        return answer


def as_stored(found: ObjectInfo) -> Stored:
    """Return what a HEAD found as the result of the write that put it there."""
    return Stored(etag=found.etag, version_id=found.version_id, last_modified_ns=found.last_modified_ns)


def _refused(write: Write, error: StoreError | None = None) -> StoreError:
    what = "an object is there already" if write.if_none_match else "the object has changed"
    if error is None:
        return StoreError(Reason.PRECONDITION, what, operation="HEAD", key=write.key)
    refusal = _restated(error, Reason.PRECONDITION, what)
    # It has been looked into: the outcome is known by now.
    refusal.outcome_unknown = False
    return refusal


def _restated(error: StoreError, reason: Reason, message: str) -> StoreError:
    return StoreError(
        reason,
        message,
        operation=error.operation,
        key=error.key,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        outcome_unknown=error.outcome_unknown,
    )
