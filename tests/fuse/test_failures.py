"""Every reason for which an operation can fail, and the errno that a program sees."""

import errno
import os

import pytest

from s3rolefs.errors import Reason

READING = {
    Reason.BUCKET_VANISHED: "ENXIO",
    Reason.ACCESS_DENIED: "EACCES",
    Reason.ARCHIVED: "EACCES",
    Reason.ROLE_REFUSED: "EACCES",
    Reason.SESSION_EXPIRED: "EKEYEXPIRED",
    Reason.SESSION_MISSING: "ENOKEY",
    Reason.NOT_FOUND: "ESTALE",  # it was there when it was opened
    Reason.PRECONDITION: "ESTALE",
    Reason.UNSUPPORTED: "ENOTSUP",
    Reason.UNREACHABLE: "EIO",
    Reason.REFUSED: "EIO",
}
WRITING = {
    Reason.BUCKET_VANISHED: "ENXIO",
    Reason.ACCESS_DENIED: "EACCES",
    Reason.ROLE_REFUSED: "EACCES",
    Reason.SESSION_EXPIRED: "EKEYEXPIRED",
    Reason.SESSION_MISSING: "ENOKEY",
    Reason.PRECONDITION: "EEXIST",
    Reason.NAME_TOO_LONG: "ENAMETOOLONG",
    Reason.TOO_LARGE: "EFBIG",
    Reason.QUOTA: "EDQUOT",
    Reason.NO_SPACE: "ENOSPC",
    Reason.UNSUPPORTED: "ENOTSUP",
    Reason.UNREACHABLE: "EIO",
    Reason.REFUSED: "EIO",
}


def errno_of(use, *arguments):
    """Return the name of the errno with which a call fails, None when it works."""
    try:
        use(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


@pytest.mark.parametrize(("table", "verb"), [(READING, "get"), (WRITING, "put")], ids=["reading", "writing"])
def test_every_reason_has_its_errno(mount, table, verb):
    for reason in table if verb == "get" else ():
        mount.put(reason.name, b"content")
    for reason, expected in table.items():
        path = mount.path / reason.name
        if verb == "get":
            # A small file is fetched as soon as it is opened.
            mount.ask("plan", verb, reason.name, None)
            file = os.open(path, os.O_RDONLY)
        else:
            file = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.write(file, b"content")
            mount.ask("plan", verb, reason.name, None)
        try:
            failed = errno_of(os.read, file, 10) if verb == "get" else errno_of(os.fsync, file)
        finally:
            mount.ask("plan", verb, reason.name, 0)
            errno_of(os.close, file)
        assert (reason, failed) == (reason, expected)
