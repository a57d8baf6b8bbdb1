"""What a program hears when S3 refuses: errno by errno on a real mount, and one line in the log of each."""

import errno
import os
import re
import time

import pytest

from tests.bed.refusal import RefusingFront
from tests.bed.revocation import DENIED, EXPIRED, Refusal

READS = {
    "NoSuchBucket": (404, errno.ENXIO),
    "NoSuchKey": (404, errno.ESTALE),
    "AccessDenied": (403, errno.EACCES),
    "InvalidObjectState": (403, errno.EACCES),
    "PreconditionFailed": (412, errno.ESTALE),
    "MethodNotAllowed": (405, errno.EOPNOTSUPP),
    "NotImplemented": (501, errno.EOPNOTSUPP),
    "SlowDown": (503, errno.EIO),
    "InternalError": (500, errno.EIO),
    "SomethingNew": (400, errno.EIO),
}
WRITES = {
    "NoSuchBucket": (404, errno.ENXIO),
    "AccessDenied": (403, errno.EACCES),
    "KeyTooLongError": (400, errno.ENAMETOOLONG),
    "EntityTooLarge": (400, errno.EFBIG),
    "QuotaExceeded": (403, errno.EDQUOT),
    "MetadataTooLarge": (400, errno.ENOSPC),
    "PreconditionFailed": (412, errno.EEXIST),
    "MethodNotAllowed": (405, errno.EOPNOTSUPP),
    "NotImplemented": (501, errno.EOPNOTSUPP),
    "ServiceUnavailable": (503, errno.EIO),
}


@pytest.fixture
def front(radosgw):
    with RefusingFront.to(radosgw.endpoint_url) as made:
        yield made


class Watched:
    """A mount behind the front whose log is read."""

    def __init__(self, path, log):
        self.path = path
        self._log = log
        self._seen = log.stat().st_size

    def lines(self):
        """Return what was logged of failing operations since the last time."""
        text = self._log.read_text()[self._seen :]
        self._seen += len(text)
        return [line for line in text.splitlines() if re.search(r"WARNING: \w+ of '", line)]


@pytest.fixture
def watched(place, bucket, front, radosgw_s3, tmp_path):
    """A mount of what these tests read: what comes into the bucket later, it does not see for a minute."""
    for key in ("f", "d/f", *(f"read-{code}" for code in READS)):
        radosgw_s3.put_object(Bucket=bucket, Key=key, Body=b"content")
    log = tmp_path / "log"
    options = {"endpoint_url": front.url, "io_timeout": 0.5, "cred_wait": 1, "metadata_ttl": 60}
    with place.logged(f"s3://{bucket}", log, **options) as mount:
        yield Watched(mount.path, log)


def errno_of(use, *arguments):
    """Return the name of the errno with which a call fails, None when it works."""
    try:
        use(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


def read(path):
    """Read without the kernel's read-ahead: one request."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


def write_new(path):
    """Write a new file, and close it: what S3 says is heard there."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(file, b"content")
    os.close(file)


def test_what_s3_answers_becomes_an_errno_and_one_line(watched, front):
    for kind, table, use, asked in (("GET", READS, read, "read"), ("PUT", WRITES, write_new, "flush")):
        for code, (status, number) in table.items():
            name = f"{asked}-{code}" if use is read else f"new-{code}"
            front.refuse_requests(kind, Refusal(status=status, code=code, message="No."))
            assert (code, errno_of(use, watched.path / name)) == (code, errno.errorcode[number])
            front.pass_requests()
            lines = watched.lines()
            if number == errno.EEXIST:  # programs meet that all day
                assert lines == []
                continue
            [line] = lines
            assert f"{asked} of '/{name}': {errno.errorcode[number]}" in line
            if number != errno.ESTALE:  # which is our conclusion, not S3's answer
                assert f"'{name}': status {status}, code {code}, request id front)" in line
    assert read(watched.path / "read-AccessDenied") == b"content"  # nothing of it was kept in mind


def test_what_passes_is_retried_and_nobody_hears_of_it(watched, front):
    for kind in ("GET", "PUT"):
        front.refuse_requests(kind, Refusal(status=503, code="SlowDown", message="Later."), times=2)
    assert read(watched.path / "f") == b"content"
    write_new(watched.path / "new")
    assert len(front.refused) == 4
    assert watched.lines() == []


def test_no_failure_outlasts_io_timeout(watched, front):
    front.refuse_requests("GET", Refusal(status=500, code="InternalError", message="No."))
    began = time.monotonic()
    assert errno_of(read, watched.path / "f") == "EIO"
    assert time.monotonic() - began < 10
    assert len(front.refused) > 1


def test_a_lost_update_is_stale(watched, front, bucket, radosgw_s3):
    file = os.open(watched.path / "f", os.O_RDWR)
    os.write(file, b"CONTENT")
    front.refuse_requests("PUT", Refusal(status=412, code="PreconditionFailed", message="No."))
    radosgw_s3.put_object(Bucket=bucket, Key="f", Body=b"theirs")
    assert errno_of(os.close, file) == "ESTALE"


@pytest.mark.parametrize(
    ("refusal", "number"), [(EXPIRED, "EKEYEXPIRED"), (DENIED, "EACCES")], ids=["expired", "denied"]
)
def test_a_session_that_is_over(watched, front, refusal, number):
    front.refuse_requests("GET", refusal)
    assert errno_of(read, watched.path / "f") == number
    [line] = watched.lines()
    assert f"read of '/f': {number}" in line


def test_names_that_s3_does_not_let_go_or_show(watched, front):
    front.refuse_requests("DELETE", DENIED)
    assert errno_of(os.unlink, watched.path / "d" / "f") == "EACCES"
    [line] = watched.lines()
    assert "unlink of '/d/f': EACCES (DELETE of 'd/f': status 403, code AccessDenied" in line
    front.refuse_requests("LIST", Refusal(status=404, code="NoSuchBucket", message="Gone."))
    assert errno_of(os.rmdir, watched.path / "d") == "ENXIO"
    [line] = watched.lines()
    assert "rmdir of '/d': ENXIO (LIST of 'd/': status 404, code NoSuchBucket" in line
