"""What a mount leaves in a bucket reads well in a listing of any other client: boto3 and the AWS CLI."""

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from tests.bed.mounts import run
from tests.bed.radosgw import REGION

MIB = 1 << 20
LARGE = bytes(range(256)) * (20 * MIB // 256)
# The keys that there must be after `plant`, each with its content, and no other.
KEYS = {
    "dir/": b"",
    "dir/file": b"content\n",
    "dir/sub/": b"",
    "dir/sub/deep": b"deep",
    "empty": b"",
    "hollow/": b"",
    "large": LARGE,
    "link": b"dir/file",
    "names/": b"",
    "names/a b+%25&ä😀": b"x",
    "names/caf‛E9": b"x",
    "names/line\nbreak": b"x",
    "names/" + "n" * 255: b"x",
    "names/‛": b"x",
    "names/‛‛E9": b"x",
    "pipe": b"",
    "private": b"secret",
    "socket": b"",
    "with-xattr": b"x",
}


def plant(root: Path) -> None:
    """Make one of everything, and things that must leave nothing behind."""
    (root / "dir/sub").mkdir(parents=True)
    (root / "dir/file").write_bytes(b"content\n")
    (root / "dir/sub/deep").write_bytes(b"deep")
    (root / "empty").touch()
    (root / "hollow").mkdir()
    (root / "large").write_bytes(LARGE)
    (root / "link").symlink_to("dir/file")
    (root / "names").mkdir()
    for name in ("a b+%25&ä😀", os.fsdecode(b"caf\xe9"), "line\nbreak", "n" * 255, "‛", "‛E9"):
        (root / "names" / name).write_bytes(b"x")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{root}/socket")
    (root / "private").write_bytes(b"secret")
    (root / "private").chmod(0o600)
    (root / "with-xattr").write_bytes(b"x")
    os.setxattr(root / "with-xattr", "user.colour", b"blue")
    # What has been removed, moved, edited, cut or locked leaves no object of its own.
    (root / "old").mkdir()
    (root / "old/f").write_bytes(b"x")
    (root / "old").rename(root / "new")
    (root / "new/f").unlink()
    (root / "new").rmdir()
    (root / "replaced").write_bytes(b"content\n")
    (root / "replaced").rename(root / "dir/file")
    with (root / "large").open("r+b") as file:
        file.truncate(len(LARGE) + 1)
        file.truncate(len(LARGE))
    (root / "held.lock").touch()
    with (root / "gone").open("wb") as file:
        file.write(LARGE)
        (root / "gone").unlink()
    (root / "held.lock").unlink()


@pytest.fixture
def planted(place, bucket):
    """Fill a bucket through a mount that is gone by now."""
    with place.mounted(f"s3://{bucket}", xattr=True) as mount:
        plant(mount.path)
    return bucket


def walked(radosgw_s3, bucket, prefix=""):
    """Return what a client finds that goes from folder to folder, as the console does."""
    pages = radosgw_s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": 3}
    )
    found = {}
    for page in pages:
        found |= {entry["Key"]: entry["Size"] for entry in page.get("Contents", [])}
        for folder in page.get("CommonPrefixes", []):
            assert folder["Prefix"] not in found
            found |= walked(radosgw_s3, bucket, folder["Prefix"])
    return found


def test_a_listing_by_folders_shows_what_was_made_and_nothing_else(planted, radosgw_s3):
    assert walked(radosgw_s3, planted) == {key: len(content) for key, content in KEYS.items()}
    assert radosgw_s3.list_multipart_uploads(Bucket=planted).get("Uploads", []) == []
    for key, content in KEYS.items():
        assert radosgw_s3.get_object(Bucket=planted, Key=key)["Body"].read() == content


@pytest.fixture
def aws(radosgw, tmp_path):
    """Run the AWS CLI as the admin user; return what it printed."""
    environment = {
        "AWS_ACCESS_KEY_ID": radosgw.access_key,
        "AWS_SECRET_ACCESS_KEY": radosgw.secret_key,
        "AWS_ENDPOINT_URL": radosgw.endpoint_url,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
    }

    def call(*arguments):
        return run(sys.executable, "-m", "awscli", "s3", *arguments, env=environment).stdout

    return call


def test_the_aws_cli_lists_and_fetches_it(planted, aws, tmp_path):
    def listed(folder):
        """Return name → size, None for a folder."""
        lines = aws("ls", f"s3://{planted}/{folder}").splitlines()
        found = [re.fullmatch(r"(?: *PRE|[-\d]{10} [:\d]{8} +(\d+)) (.*)", line) for line in lines]
        return {line[2]: line[1] and int(line[1]) for line in found}

    assert listed("") == {
        "dir/": None,
        "hollow/": None,
        "names/": None,
        **{key: len(content) for key, content in KEYS.items() if "/" not in key},
    }
    assert listed("dir/") == {"sub/": None, "": 0, "file": 8}

    fetched = tmp_path / "fetched"
    aws("sync", "--quiet", f"s3://{planted}", fetched)
    found = {
        str(path.relative_to(fetched)): path.read_bytes() for path in fetched.rglob("*") if path.is_file()
    }
    assert found == {key: content for key, content in KEYS.items() if not key.endswith("/")}


def test_what_the_aws_cli_sends_is_seen_and_can_be_changed(place, bucket, aws, tmp_path):
    sent = tmp_path / "sent"
    (sent / "sub").mkdir(parents=True)
    (sent / "sub/file").write_bytes(b"theirs")
    (sent / "large").write_bytes(LARGE)  # in parts
    aws("cp", "--quiet", "--recursive", sent, f"s3://{bucket}/tree")
    with place.mounted(f"s3://{bucket}") as mount:
        assert (mount.path / "tree/large").read_bytes() == LARGE
        with (mount.path / "tree/sub/file").open("ab") as file:
            file.write(b" and ours")
        (mount.path / "tree/sub").rename(mount.path / "moved")
    aws("mv", "--quiet", f"s3://{bucket}/moved/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"theirs and ours"
