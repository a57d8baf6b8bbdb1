import stat
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.config import FileConfig
from s3rolefs.fs.attributes import (
    Attributes,
    Caller,
    new_attributes,
    nonsense,
    of_directory,
    of_object,
    to_metadata,
    without_privileges,
)
from s3rolefs.model import Key, ObjectInfo

FILES = FileConfig(uid=11, gid=12, file_mode=0o640, dir_mode=0o750)
times = st.integers(-(10**12) * 10**9 + 1, 10**12 * 10**9 - 1)
owners = st.integers(0, 2**32 - 2)
attributes = st.builds(
    Attributes,
    mode=st.integers(0, 0o7777).map(lambda bits: stat.S_IFREG | bits),
    uid=owners,
    gid=owners,
    mtime_ns=times,
    ctime_ns=times,
    atime_ns=times,
    xattr=st.none() | st.text(),
)


def described(metadata, *, size=1):
    return ObjectInfo(
        key=Key("k"), size_bytes=size, etag="e", last_modified_ns=1_700_000_000 * 10**9, metadata=metadata
    )


@given(attributes)
def test_attributes_survive_a_stay_in_metadata(stored):
    assert of_object(described(to_metadata(stored, {})), FILES) == stored
    directory = replace(stored, mode=stat.S_IFDIR | stat.S_IMODE(stored.mode))
    found = of_directory(described(to_metadata(directory, {}), size=0), FILES, default_time_ns=0)
    assert found == directory


@given(attributes, st.dictionaries(st.sampled_from(["owner", "mode", "mtime"]), st.text()))
def test_what_others_stored_is_kept_beside_ours(stored, others):
    metadata = to_metadata(stored, others)
    assert {name: metadata[name] for name in others if name == "owner"} == {
        name: value for name, value in others.items() if name == "owner"
    }
    assert of_object(described(metadata), FILES) == stored


@given(st.dictionaries(st.sampled_from(["mode", "uid", "gid", "mtime", "ctime", "atime"]), st.text()))
def test_garbage_counts_as_absent(metadata):
    found = of_object(described(metadata), FILES)
    assert stat.S_IFMT(found.mode) in (stat.S_IFREG, stat.S_IFLNK)
    list(nonsense(described(metadata), directory=False))
    assert 0 <= found.uid < 2**32
    assert abs(found.mtime_ns) < 10**21


def test_without_metadata_the_options_and_last_modified_stand():
    found = of_object(described(None), FILES)
    assert (found.mode, found.uid, found.gid) == (stat.S_IFREG | 0o640, 11, 12)
    assert found.mtime_ns == found.ctime_ns == found.atime_ns == 1_700_000_000 * 10**9
    assert of_directory(None, FILES, default_time_ns=5).mtime_ns == 5


def test_the_format_is_that_of_s3fs():
    # What s3fs 1.90 wrote for a file of mode 0644, and rclone's spelling of a time.
    metadata = {"mode": "33188", "uid": "1000", "gid": "100", "mtime": "1700000001", "ctime": "1700000002.5"}
    found = of_object(described(metadata), FILES)
    assert found == Attributes(
        mode=0o100644,
        uid=1000,
        gid=100,
        mtime_ns=1_700_000_001 * 10**9,
        ctime_ns=1_700_000_002_500_000_000,
        atime_ns=1_700_000_001 * 10**9,
    )
    assert (
        of_object(described({"mtime": "1700000001.123456789"}), FILES).mtime_ns == 1_700_000_001_123_456_789
    )


def test_only_what_can_be_a_symlink_is_one():
    link = {"mode": str(stat.S_IFLNK | 0o777)}
    assert stat.S_ISLNK(of_object(described(link, size=5), FILES).mode)
    for size in (0, 4096):
        assert stat.S_ISREG(of_object(described(link, size=size), FILES).mode)
    for kind in (stat.S_IFDIR, stat.S_IFIFO, stat.S_IFBLK, 0):
        assert stat.S_ISREG(of_object(described({"mode": str(kind | 0o600)}), FILES).mode)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
def test_fifos_and_sockets_are_empty_objects(kind):
    stored = {"mode": str(kind | 0o640)}
    assert of_object(described(stored, size=0), FILES).mode == kind | 0o640
    assert of_object(described(stored, size=1), FILES).mode == stat.S_IFREG | 0o640


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR, 0o170000])
def test_other_types_are_shown_as_files(kind):
    assert of_object(described({"mode": str(kind | 0o640)}, size=0), FILES).mode == stat.S_IFREG | 0o640


@pytest.mark.parametrize(
    ("metadata", "size", "said"),
    [
        ({"mode": "abc"}, 1, ["mode='abc'"]),
        (
            {"mode": "-1", "uid": "root", "gid": "4294967295"},
            1,
            ["mode='-1'", "uid='root'", "gid='4294967295'"],
        ),
        ({"mtime": "yesterday", "atime": "1e9"}, 1, ["mtime='yesterday'", "atime='1e9'"]),
        ({"mtime": "-1.5", "ctime": "1700000000.123456789"}, 1, []),
        ({"mode": str(stat.S_IFLNK | 0o777)}, 1 << 30, [f"mode='{stat.S_IFLNK | 0o777}'"]),
        ({"xattr": "?" * 1000}, 1, ["xattr='" + "?" * 80 + "'"]),
        ({"mode": "33188", "anything": "else"}, 1, []),
    ],
)
def test_what_makes_no_sense_is_named(metadata, size, said):
    assert list(nonsense(described(metadata, size=size), directory=False)) == said


def test_what_is_made_belongs_to_the_caller_or_to_a_set_group_id_directorys_group():
    caller = Caller(uid=1, gid=2, umask=0o027)
    plain = of_directory(None, FILES, default_time_ns=0)
    shared = replace(plain, mode=plain.mode | stat.S_ISGID, gid=99)
    made = new_attributes(stat.S_IFREG | 0o666, caller, plain)
    assert (made.mode, made.uid, made.gid) == (stat.S_IFREG | 0o640, 1, 2)
    made = new_attributes(stat.S_IFREG | 0o666, caller, shared)
    assert (made.mode, made.uid, made.gid) == (stat.S_IFREG | 0o640, 1, 99)
    made = new_attributes(stat.S_IFDIR | 0o777, caller, shared)
    assert (made.mode, made.uid, made.gid) == (stat.S_IFDIR | stat.S_ISGID | 0o750, 1, 99)
    assert new_attributes(stat.S_IFLNK | 0o777, caller, plain).mode == stat.S_IFLNK | 0o777


def test_privileges_go_when_others_change_the_content():
    assert without_privileges(0o6755) == 0o755
    assert without_privileges(0o6745) == 0o2745  # mandatory locking, not a privilege
    assert without_privileges(0o1777) == 0o1777
