"""A tree written through s3fs (Debian's package) looks the same here, and the reverse."""

import hashlib
import os
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bed.mounts import LIMIT_SECONDS, run
from tests.bed.patience import wait_until

MOMENT_NS = 1_234_567_890_123_456_789


@contextmanager
def s3fs(radosgw, bucket, folder):
    """Mount with s3fs, with nothing cached."""
    folder.mkdir()
    directory, passwords = folder / "s3fs", folder / "passwd"
    directory.mkdir()
    keys = radosgw.admin_keys
    passwords.touch(mode=0o600)
    passwords.write_text(f"{keys.access_key}:{keys.secret_key}\n")
    options = f"url={radosgw.endpoint_url},use_path_request_style,use_xattr,passwd_file={passwords}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["s3fs", bucket, directory, "-f", "-o", options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            wait_until(lambda: os.path.ismount(directory), LIMIT_SECONDS)
            yield directory
        finally:
            run("umount", directory, check=False)
            try:
                process.wait(LIMIT_SECONDS)
            finally:
                run("umount", "-l", directory, check=False)
                process.kill()
                process.wait()


def set_times(path: Path) -> None:
    """Set times that are stored; those that a directory has from its children are not."""
    os.utime(path, ns=(MOMENT_NS, MOMENT_NS + 10**9))


def plant(root: Path) -> None:
    """Make one of everything that both keep."""
    (root / "dir").mkdir()
    (root / "dir/sub").mkdir()
    (root / "dir/sub/empty").touch()
    (root / "dir/file.txt").write_bytes(b"content\n")
    (root / "dir/tool").write_bytes(b"#!/bin/sh\n")
    (root / "name with spaces, ä and +%").write_bytes(b"x")
    (root / "link").symlink_to("dir/file.txt")
    (root / "dangling").symlink_to("/nowhere/at all")
    os.mkfifo(root / "pipe", 0o640)
    os.chown(root / "dir/file.txt", 1001, 1002)
    os.chown(root / "dir/sub", 1003, 1004)
    (root / "dir/file.txt").chmod(0o640)
    (root / "dir/tool").chmod(0o4755)
    (root / "dir/sub").chmod(0o1770)
    os.setxattr(root / "dir/file.txt", "user.colour", b"blue")
    os.setxattr(root / "dir/file.txt", "user.raw", bytes(range(0, 256, 5)))
    os.setxattr(root / "dir/sub", "user.kept", b"yes")
    for path in ("dir/file.txt", "dir/tool", "pipe", "dir/sub", "dir"):
        set_times(root / path)


def look(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what can be seen of a tree."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        found = path.lstat()
        content: object = None
        attributes = {}
        if stat.S_ISLNK(found.st_mode):
            content = path.readlink()
        elif stat.S_ISREG(found.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
        owners = found.st_uid, found.st_gid
        name = str(path.relative_to(root))
        seen[name] = (oct(found.st_mode), *owners, size, found.st_mtime_ns, content, attributes)
    return seen


def test_a_tree_written_through_s3fs_looks_the_same_here(place, radosgw, bucket, tmp_path):
    with s3fs(radosgw, bucket, tmp_path / "written") as written:
        plant(written)
    with s3fs(radosgw, bucket, tmp_path / "seen") as root:
        theirs = look(root)
    assert len(theirs) == 9
    assert theirs["dir/file.txt"][:4] == ("0o100640", 1001, 1002, 8)
    with place.mounted(f"s3://{bucket}", xattr=True) as mounted:
        assert look(mounted.path) == theirs


def test_a_tree_written_here_looks_the_same_through_s3fs(place, radosgw, bucket, tmp_path):
    with place.mounted(f"s3://{bucket}", xattr=True) as mounted:
        plant(mounted.path)
        ours = look(mounted.path)
    assert len(ours) == 9
    assert ours["dir/file.txt"][4] == MOMENT_NS + 10**9
    with s3fs(radosgw, bucket, tmp_path / "seen") as root:
        assert look(root) == ours


def test_what_s3fs_wrote_is_changed_here_and_seen_there(place, radosgw, bucket, tmp_path):
    with s3fs(radosgw, bucket, tmp_path / "written") as written:
        plant(written)
    with place.mounted(f"s3://{bucket}", xattr=True) as mounted:
        with (mounted.path / "dir/file.txt").open("ab") as handle:
            handle.write(b"more\n")
        os.setxattr(mounted.path / "dir/file.txt", "user.colour", b"red")
        (mounted.path / "pipe").rename(mounted.path / "dir/pipe")
        (mounted.path / "dir").rename(mounted.path / "moved")
        set_times(mounted.path / "moved")
        ours = look(mounted.path)
    with s3fs(radosgw, bucket, tmp_path / "seen") as root:
        assert look(root) == ours
        assert os.getxattr(root / "moved/file.txt", "user.colour") == b"red"
        assert (root / "moved/file.txt").read_bytes() == b"content\nmore\n"


@pytest.mark.parametrize(
    ("mtime", "expected_ns"),
    [("1700000000.123456789", 1_700_000_000_123_456_789), ("1700000000", 1_700_000_000 * 10**9)],
)
def test_the_time_that_rclone_stores_is_honoured(place, radosgw_s3, bucket, mtime, expected_ns):
    radosgw_s3.put_object(Bucket=bucket, Key="f", Body=b"x", Metadata={"mtime": mtime})
    with place.mounted(f"s3://{bucket}") as mounted:
        assert (mounted.path / "f").stat().st_mtime_ns == expected_ns


def test_objects_of_any_client_are_files_with_sensible_attributes(place, radosgw_s3, bucket):
    radosgw_s3.put_object(Bucket=bucket, Key="plain/f", Body=b"x")
    garbage = {"mode": "abc", "uid": "root", "mtime": "-1.5", "ctime": "soon", "xattr": "%7B"}
    radosgw_s3.put_object(Bucket=bucket, Key="garbage", Body=b"x", Metadata=garbage)
    long_link = {"mode": str(stat.S_IFLNK | 0o777)}
    radosgw_s3.put_object(Bucket=bucket, Key="link", Body=bytes(1 << 20), Metadata=long_link)
    options = {"uid": 7, "gid": 8, "file_mode": "0604", "dir_mode": "0705", "xattr": True}
    with place.mounted(f"s3://{bucket}", **options) as mounted:
        seen = look(mounted.path)
        assert [seen[name][:3] for name in ("plain", "plain/f")] == [("0o40705", 7, 8), ("0o100604", 7, 8)]
        assert (*seen["garbage"][:3], seen["garbage"][4]) == ("0o100604", 7, 8, -1_500_000_000)
        assert seen["link"][0] == "0o100777"
        (mounted.path / "garbage").chmod(0o600)
    kept = radosgw_s3.head_object(Bucket=bucket, Key="garbage")["Metadata"]
    assert (kept["mode"], kept["xattr"]) == (str(stat.S_IFREG | 0o600), "%7B")
