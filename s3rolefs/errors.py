"""Hold the one table of failures: what can go wrong, and the errno and exit status it becomes.

Rooms below fuse/ raise `FileSystemError` with a `Reason`; only fuse/ turns it into an errno.
What a person typed wrong is a `UserError`: one sentence, an exit status, never a traceback.
"""

from __future__ import annotations

import enum
import errno


class Reason(enum.Enum):
    """Say why an operation failed; the value is the errno it becomes (a name may share one)."""

    NOT_FOUND = (errno.ENOENT, 1)
    BUCKET_VANISHED = (errno.ENXIO, 1)
    EXISTS = (errno.EEXIST, 1)
    NOT_DIRECTORY = (errno.ENOTDIR, 1)
    IS_DIRECTORY = (errno.EISDIR, 1)
    NOT_EMPTY = (errno.ENOTEMPTY, 1)
    INVALID = (errno.EINVAL, 1)
    NOT_PERMITTED = (errno.EPERM, 1)
    READ_ONLY = (errno.EROFS, 1)
    CROSS_DEVICE = (errno.EXDEV, 1)
    NAME_TOO_LONG = (errno.ENAMETOOLONG, 1)
    NAME_UNREPRESENTABLE = (errno.EILSEQ, 1)
    BAD_HANDLE = (errno.EBADF, 1)
    BUSY = (errno.EBUSY, 1)
    TOO_LARGE = (errno.EFBIG, 1)
    NO_SPACE = (errno.ENOSPC, 1)
    QUOTA = (errno.EDQUOT, 1)
    UNSUPPORTED = (errno.ENOTSUP, 1)
    NOT_IMPLEMENTED = (errno.ENOSYS, 1)
    NO_ATTRIBUTE = (errno.ENODATA, 1)
    ACCESS_DENIED = (errno.EACCES, 1)
    ARCHIVED = (errno.EACCES, 2)
    ROLE_REFUSED = (errno.EACCES, 3)
    SESSION_EXPIRED = (errno.EKEYEXPIRED, 1)
    SESSION_MISSING = (errno.ENOKEY, 1)
    STALE = (errno.ESTALE, 1)
    # A condition (If-Match, If-None-Match) was not met; writers turn it into EXISTS or STALE.
    PRECONDITION = (errno.ESTALE, 2)
    UNREACHABLE = (errno.EIO, 1)
    # The service answered, but with something nobody can act on by retrying.
    REFUSED = (errno.EIO, 2)
    CORRUPT = (errno.EIO, 3)
    NO_SUCH_UPLOAD = (errno.EIO, 4)

    @property
    def errno(self) -> int:
        """Return the errno that fuse/ answers for this reason."""
        return self.value[0]


class FileSystemError(Exception):
    """Fail one operation with a `Reason` and a sentence for the log."""

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(message or reason.name.lower().replace("_", " "))
        self.reason = reason
        self.message = message


class StoreError(FileSystemError):
    """Fail one request to the object store, with what S3 said.

    `status` is the HTTP status (0: no answer), `code` S3's error code ("" when there was no
    body), `request_id` what a support case needs. `outcome_unknown` is true when the request may
    have taken effect although it failed (the answer was lost after the body was sent).
    """

    def __init__(
        self,
        reason: Reason,
        message: str = "",
        *,
        operation: str = "",
        key: str = "",
        status: int = 0,
        code: str = "",
        request_id: str = "",
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(reason, message)
        self.operation = operation
        self.key = key
        self.status = status
        self.code = code
        self.request_id = request_id
        self.outcome_unknown = outcome_unknown


class CredentialsError(FileSystemError):
    """Fail because there is no session to sign with; `detail` says what the source or STS said.

    `advice` is text to show below the sentence where a person can act on it (policies to paste).
    """

    def __init__(
        self, reason: Reason, message: str, *, detail: str = "", code: str = "", advice: str = ""
    ) -> None:
        super().__init__(reason, message)
        self.detail = detail
        self.code = code
        self.advice = advice

    @property
    def text(self) -> str:
        """Return the sentence and, below it, the advice, for the person who asked."""
        return "\n".join(part for part in (self.message, self.advice) if part)


class UserError(Exception):
    """Refuse what a person asked for: one clear sentence with the way out, and an exit status.

    Exit statuses are mount(8)'s: 1 usage or permissions, 2 system error, 32 mount failure.
    """

    exit_status = 1

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class SystemFailure(UserError):
    """Report what the machine lacks (no /dev/fuse, no fusermount3, out of memory): exit 2."""

    exit_status = 2


class MountFailure(UserError):
    """Report that the mount could not be made (bucket, role, endpoint, directory): exit 32."""

    exit_status = 32
