"""Hold the one table of what S3 answers: error code or HTTP status to a `Reason`.

Codes are those of AWS, and the few that radosgw and MinIO spell differently.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3rolefs.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Say what an answer means: the reason, whether to try again, whether the session is in doubt."""

    reason: Reason
    transient: bool = False
    rejects_session: bool = False


def _is(reason: Reason) -> Verdict:
    return Verdict(reason=reason)


_TRANSIENT = Verdict(reason=Reason.UNREACHABLE, transient=True)
_DAMAGED = Verdict(reason=Reason.CORRUPT, transient=True)
_EXPIRED = Verdict(reason=Reason.SESSION_EXPIRED, rejects_session=True)
_DENIED = Verdict(reason=Reason.ACCESS_DENIED, rejects_session=True)

BY_CODE: dict[str, Verdict] = {
    "NoSuchKey": _is(Reason.NOT_FOUND),
    "NoSuchVersion": _is(Reason.NOT_FOUND),
    "NoSuchBucket": _is(Reason.NOT_FOUND),
    "NoSuchUpload": _is(Reason.NO_SUCH_UPLOAD),
    "AccessDenied": _DENIED,
    "Forbidden": _DENIED,
    "AllAccessDisabled": _is(Reason.ACCESS_DENIED),
    "AccountProblem": _is(Reason.ACCESS_DENIED),
    "NotSignedUp": _is(Reason.ACCESS_DENIED),
    "InvalidAccessKeyId": _DENIED,
    "SignatureDoesNotMatch": _DENIED,
    "InvalidSecurity": _DENIED,
    "RequestTimeTooSkewed": _is(Reason.ACCESS_DENIED),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "InvalidTokenId": _EXPIRED,
    "PreconditionFailed": _is(Reason.PRECONDITION),
    "InvalidObjectState": _is(Reason.ARCHIVED),
    "KeyTooLongError": _is(Reason.NAME_TOO_LONG),
    "KeyTooLong": _is(Reason.NAME_TOO_LONG),
    "EntityTooLarge": _is(Reason.TOO_LARGE),
    "MaxMessageLengthExceeded": _is(Reason.TOO_LARGE),
    "QuotaExceeded": _is(Reason.QUOTA),
    "XMinioAdminBucketQuotaExceeded": _is(Reason.QUOTA),
    "XMinioStorageFull": _is(Reason.NO_SPACE),
    "MetadataTooLarge": _is(Reason.NO_SPACE),
    "RequestHeaderSectionTooLarge": _is(Reason.NO_SPACE),
    "MethodNotAllowed": _is(Reason.UNSUPPORTED),
    "NotImplemented": _is(Reason.UNSUPPORTED),
    "InvalidRange": _is(Reason.CORRUPT),
    "BadDigest": _DAMAGED,
    "InvalidDigest": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
    "XAmzContentChecksumMismatch": _DAMAGED,
    "IncompleteBody": _TRANSIENT,
    "RequestTimeout": _TRANSIENT,
    "SlowDown": _TRANSIENT,
    "SlowDownRead": _TRANSIENT,
    "SlowDownWrite": _TRANSIENT,
    "Throttling": _TRANSIENT,
    "RequestLimitExceeded": _TRANSIENT,
    "TooManyRequests": _TRANSIENT,
    "InternalError": _TRANSIENT,
    "ServiceUnavailable": _TRANSIENT,
    "OperationAborted": _TRANSIENT,
    "ConditionalRequestConflict": _TRANSIENT,
}

BY_STATUS: dict[int, Verdict] = {
    # A HEAD has no body: 400 may be an expired token, 403 anything.
    400: Verdict(reason=Reason.REFUSED, rejects_session=True),
    401: _DENIED,
    403: _DENIED,
    404: _is(Reason.NOT_FOUND),
    405: _is(Reason.UNSUPPORTED),
    408: _TRANSIENT,
    409: _TRANSIENT,
    411: _is(Reason.REFUSED),
    412: _is(Reason.PRECONDITION),
    413: _is(Reason.TOO_LARGE),
    416: _is(Reason.CORRUPT),
    429: _TRANSIENT,
    501: _is(Reason.UNSUPPORTED),
}


def judge(status: int, code: str) -> Verdict:
    """Return what an answer of `status` with S3's `code` ("": none was given) means."""
    verdict = BY_CODE.get(code)
    if verdict is not None:
        return verdict
    if code and status in {400, 409}:
        return _is(Reason.REFUSED)
    verdict = BY_STATUS.get(status)
    if verdict is not None:
        return verdict
    return _TRANSIENT if status >= 500 else _is(Reason.REFUSED)
