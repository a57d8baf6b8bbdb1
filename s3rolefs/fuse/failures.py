"""Turn failures into errnos, and one log line each."""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import pyfuse3

from s3rolefs.errors import FileSystemError, Reason, StoreError

log = logging.getLogger(__name__)


class Answering(Protocol):
    """Answer requests, and tell for the log what they are about."""

    def where(self, request: str, arguments: Sequence[object]) -> str:
        """Return the path that a request is about."""
        ...


S = TypeVar("S", bound=Answering)
P = ParamSpec("P")
R = TypeVar("R")
Request = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]

# Answers about names and what S3 cannot hold, which programs try all day: a line each would hide the rest.
_QUIET = frozenset(
    (
        Reason.NOT_FOUND,
        Reason.EXISTS,
        Reason.NOT_EMPTY,
        Reason.NOT_DIRECTORY,
        Reason.IS_DIRECTORY,
        Reason.NOT_PERMITTED,
        Reason.NAME_TOO_LONG,
        Reason.NAME_UNREPRESENTABLE,
        Reason.INVALID,
        Reason.READ_ONLY,
        Reason.NO_ATTRIBUTE,
    )
)


def answered(request: Request[S, P, R]) -> Request[S, P, R]:
    """Turn failures of a request into errnos; what else happens is a bug: EIO, logged with its traceback."""

    @functools.wraps(request)
    async def guarded(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await request(self, *args, **kwargs)
        except FileSystemError as error:
            refused = isinstance(error, StoreError) and error.reason is not Reason.NOT_FOUND
            if refused or error.reason not in _QUIET:
                _log_failure(f"{request.__name__} of {self.where(request.__name__, args)!r}", error)
            raise pyfuse3.FUSEError(error.reason.errno) from None
        except pyfuse3.FUSEError:
            raise
        except Exception:
            log.exception("%s failed in a way that is a bug of s3rolefs", request.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return cast("Request[S, P, R]", guarded)


def _log_failure(operation: str, error: FileSystemError) -> None:
    name = errno.errorcode.get(error.reason.errno, str(error.reason.errno))
    if isinstance(error, StoreError) and error.operation:
        answer = f"status {error.status}, code {error.code or '-'}" if error.status else "no answer"
        request_id = f", request id {error.request_id}" if error.request_id else ""
        log.warning(
            "%s: %s (%s of %r: %s%s): %s",
            operation,
            name,
            error.operation,
            error.key,
            answer,
            request_id,
            error.message,
        )
    else:
        log.warning("%s: %s: %s", operation, name, error)
