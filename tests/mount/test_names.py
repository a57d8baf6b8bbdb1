"""Any key that another client made, and any name that a program makes, on a real mount."""

import os
import shutil

import pytest

from s3rolefs.fs import names
from tests.bed.mounts import run

# As long as a key can be: there is no room for it in a directory.
LONGEST = "m" * 1024
ZOO = [
    *("a", "a!", "a-", "a/b", "a//b", "a//", "//", "/lead", "x/../y", "./z", "..", "...", "d/", "e/", "e/f"),
    *("‛object=a", "‛name=", "‛E9", "caf‛E9", "‛C3‛A9", "‛", "line\nbreak", "\x01\x7f\x1b[31m", "100%25"),
    *(
        "😀/😀",
        "é" * 200,
        "é" * 200 + "/f",
        "n" * 255,
        "n" * 256,
        "n" * 1000,
        LONGEST,
        " ",
        "-rf",
        "*",
        "a b/'\"$x`",
    ),
]


@pytest.fixture
def zoo(radosgw_s3, bucket):
    """Fill the bucket through boto3; return the keys, each of which is the content of its object."""
    for key in ZOO:
        radosgw_s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return ZOO


def expected(keys):
    """Return path → content of a set of keys."""
    return {
        "/".join(names.path(key, beside=any(other.startswith(key + "/") for other in keys))): key
        for key in keys
    }


def said(*command, directory):
    """Return what a program prints, bytes that are no UTF-8 as surrogates."""
    return run(*command, cwd=directory, encoding="utf-8", errors="surrogateescape").stdout


def found(directory):
    """Return path → content of every file below a directory, as find and cat see it."""
    paths = said("find", ".", "-type", "f", "-print0", directory=directory).split("\0")[:-1]
    return {path.removeprefix("./"): said("cat", path, directory=directory) for path in paths}


def listed(directory):
    return sorted(entry.name for entry in directory.iterdir())


def keys_of(radosgw_s3, bucket, prefix=""):
    pages = radosgw_s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


def test_a_zoo_of_keys_is_listed_read_copied_moved_and_removed(zoo, place, bucket, radosgw_s3, tmp_path):
    out = tmp_path / "out"
    with place.mounted(f"s3://{bucket}") as mount:
        assert found(mount.path) == expected(zoo)
        assert len(said("ls", "-la", directory=mount.path).splitlines()) > 20
        run("cp", "-r", mount.path, out)
        assert found(out) == expected(zoo)
        shutil.rmtree(out / names.path(LONGEST)[0])
        run("cp", "-r", out, mount.path / "back")
        assert found(mount.path / "back") == expected(set(zoo) - {LONGEST})
        run("mv", mount.path / "back", mount.path / "moved")
        assert found(mount.path / "moved") == expected(set(zoo) - {LONGEST})
        run("rm", "-r", mount.path / "moved")
        assert keys_of(radosgw_s3, bucket) == set(zoo)
        run("rm", "-r", *mount.path.iterdir())
        assert listed(mount.path) == []
    assert keys_of(radosgw_s3, bucket) == set()


def test_names_made_here_come_back_as_they_were(place, bucket, radosgw_s3):
    texts = [
        b"caf\xe9",
        b"\xff\xfe",
        "‛E9".encode(),
        b"a\nb\t\x7f",
        "😀".encode() * 63,
        b"n" * 255,
        b"%2F",
        b"\\",
    ]
    made = sorted(map(os.fsdecode, texts))
    with place.mounted(f"s3://{bucket}") as mount:
        for name in made:
            (mount.path / name).write_bytes(os.fsencode(name))
        assert listed(mount.path) == made
    assert len(keys_of(radosgw_s3, bucket)) == len(made)
    with place.mounted(f"s3://{bucket}") as mount:
        assert listed(mount.path) == made
        assert found(mount.path) == {name: name for name in made}
        directory = mount.path / os.fsdecode(b"d\xe9")
        directory.mkdir()
        for name in made:
            (mount.path / name).rename(directory / name)
        directory = directory.rename(mount.path / os.fsdecode(b"e\xe9"))
        assert listed(directory) == made
        shutil.rmtree(directory)
        assert listed(mount.path) == []
    assert keys_of(radosgw_s3, bucket) == set()


def test_odd_names_are_moved_to_plain_ones_and_back(place, bucket, radosgw_s3):
    long = "n" * 300
    for key in ("a", "a/b", "x/../y", f"{long}/f", "d/", "//z"):
        radosgw_s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    part, rest = names.path(long)
    with place.mounted(f"s3://{bucket}") as mount:
        for old, new in (
            ("‛object=a", "one"),
            ("x/‛name=..", "two"),
            (part, "three"),
            ("d/‛object=", "four"),
            ("‛name=", "five"),
        ):
            said("mv", old, new, directory=mount.path)
        moved = {"one", "a/b", "two/y", f"three/{rest}/f", "four", "five//z"}
        # The others are markers of directories.
        assert {key for key in keys_of(radosgw_s3, bucket) if not key.endswith("/")} == moved
        assert radosgw_s3.head_object(Bucket=bucket, Key="d/")["ContentLength"] == 0
        for old, new in (
            ("one", "‛object=a"),
            ("two", "x/‛name=.."),
            ("three", part),
            ("four", "d/‛object="),
            ("five", "‛name="),
        ):
            said("mv", "-T", old, new, directory=mount.path)
        assert found(mount.path) == {
            "‛object=a": "a",
            "a/b": "a/b",
            "x/‛name=../y": "x/../y",
            f"{part}/{rest}/f": f"{long}/f",
            "d/‛object=": "d/",
            "‛name=/‛name=/z": "//z",
        }
