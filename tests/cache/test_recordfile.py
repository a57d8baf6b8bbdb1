"""The file for what HEAD said, without a mount: what it keeps, what it survives."""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from types import MappingProxyType

import pytest

from s3rolefs.cache.recordfile import RecordFile, record_path
from s3rolefs.model import Key, ObjectInfo
from tests.bed.mounts import run

DAY_SECONDS = 86_400


def described(key, **more):
    about = {"size_bytes": 1, "etag": "e", "last_modified_ns": 1_700_000_000 * 10**9, **more}
    return ObjectInfo(key=Key(key), **about)


@pytest.fixture
def path(tmp_path):
    return record_path(str(tmp_path / "cache"), "s3://bucket")


@pytest.fixture
def open_file(path, clock):
    """Open the file as one mount after the other, or side by side; all are closed at the end."""
    opened = []

    def make(**limits):
        opened.append(RecordFile(path, clock, **limits))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


def keys_in(file, keys):
    return {info.key for info in file.read([Key(key) for key in keys])}


def is_whole(path):
    with sqlite3.connect(path) as connection:
        answer = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return answer == ("ok",)


def test_everything_that_is_known_comes_back(open_file):
    odd = described(
        "a\udcff/\0\n‛",
        size_bytes=5 << 40,
        storage_class="GLACIER",
        version_id="v.1",
        metadata=MappingProxyType(
            {"mode": "35309", "mtime": "1.000000009", "xattr": '{"user.a":"Yg=="}', "ü": "ß"}
        ),
        headers={"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"},
        asked_at_ns=1_700_000_009 * 10**9,
        tag_count=3,
    )
    plain = described("plain", metadata={}, headers=None)
    file = open_file()
    file.write({odd.key: odd, plain.key: plain})
    file.close()
    found = {info.key: info for info in open_file().read([odd.key, plain.key, Key("other")])}
    assert found == {odd.key: odd, plain.key: plain}


def test_records_are_replaced_and_removed(open_file):
    file = open_file()
    file.write({Key("a"): described("a", etag="1"), Key("b"): described("b")})
    file.write({Key("a"): described("a", etag="2"), Key("b"): None, Key("never"): None})
    assert [info.etag for info in file.read([Key("a"), Key("b")])] == ["2"]


def test_only_the_owner_may_read_it(open_file, path):
    open_file().write({Key("a"): described("a")})
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_directory_that_others_may_write_to_is_not_used(open_file, path, caplog):
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o777)
    file = open_file()
    file.write({Key("a"): described("a")})
    assert file.read([Key("a")]) == []
    assert not list(path.parent.iterdir())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_what_nobody_has_used_for_longest_goes_first(open_file, clock):
    file = open_file(limit=100)
    for number in range(90):
        file.write({Key(f"{number:03}"): described(f"{number:03}")})
        clock.advance(DAY_SECONDS)
    assert keys_in(file, ["000"]) == {"000"}  # used again
    file.write({Key(f"{number:03}"): described(f"{number:03}") for number in range(90, 120)})
    left = keys_in(file, [f"{number:03}" for number in range(120)])
    assert len(left) == 90
    assert {"000", "119"} <= left
    assert not left & {f"{number:03}" for number in range(1, 31)}


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_none_of_ours_is_put_aside_and_begun_anew(open_file, path, caplog, content):
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(content)
    file = open_file()
    assert file.read([Key("a")]) == []
    file.write({Key("a"): described("a")})
    assert keys_in(file, ["a"]) == {"a"}
    assert path.with_suffix(".broken").read_bytes() == content
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_database_of_another_program_is_put_aside(open_file, path, caplog):
    path.parent.mkdir(parents=True, mode=0o700)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE record (key, precious)")
    connection.close()
    file = open_file()
    file.write({Key("a"): described("a")})
    assert keys_in(file, ["a"]) == {"a"}
    with sqlite3.connect(path.with_suffix(".broken")) as connection:
        assert connection.execute("SELECT count(precious) FROM record").fetchone() == (0,)
    connection.close()
    assert len(caplog.records) == 1


def test_a_damaged_record_is_not_believed(open_file, path, caplog):
    file = open_file()
    file.write({Key("a"): described("a", metadata={"mode": "33188"})})
    file.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE record SET about = replace(about, '33188', '33261')")
    connection.close()
    file = open_file()
    assert file.read([Key("a")]) == []
    file.write({Key("a"): described("a")})
    assert keys_in(file, ["a"]) == {"a"}
    assert len(caplog.records) == 1


def test_damage_that_shows_while_it_is_used_costs_what_was_known_and_no_more(open_file, path, caplog):
    file = open_file()
    keys = [f"{number:05}" for number in range(5000)]
    file.write({Key(key): described(key) for key in keys})
    file.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    file = open_file()
    assert keys_in(file, keys) == set()
    file.write({Key("a"): described("a")})
    assert keys_in(file, ["a"]) == {"a"}
    assert len(caplog.records) == 1


def test_records_of_another_version_of_the_program_are_not_read(open_file, path):
    file = open_file()
    file.write({Key("a"): described("a")})
    file.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    file = open_file()
    assert file.read([Key("a")]) == []
    file.write({Key("a"): described("a")})
    assert keys_in(file, ["a"]) == {"a"}


def test_a_place_that_cannot_be_used_is_said_once(open_file, path, caplog):
    path.parent.parent.write_bytes(b"a file where the directory should be")
    file = open_file()
    for _ in range(3):
        file.write({Key("a"): described("a")})
        assert file.read([Key("a")]) == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_full_disk_is_said_once(open_file, path, caplog):
    path.parent.mkdir(parents=True, mode=0o700)
    run("mount", "-t", "tmpfs", "-o", "size=160k,mode=0700", "tmpfs", path.parent)
    try:
        file = open_file()
        file.write({Key("first"): described("first")})
        assert keys_in(file, ["first"]) == {"first"}
        for number in range(3):
            many = {Key(f"{number}/{name:04}"): described(f"{number}/{name:04}") for name in range(1000)}
            file.write(many)
        assert file.read([Key("0/0000")]) == []
        assert ["full" in record.getMessage() for record in caplog.records] == [True]
        assert is_whole(path)
        file.close()
    finally:
        run("umount", "-l", path.parent)


def test_mounts_side_by_side_share_the_file(open_file, path):
    files = [open_file(), open_file()]
    keys = [[f"{place}-{number:03}" for number in range(300)] for place in range(2)]

    def work(place):
        for key in keys[place]:
            files[place].write({Key(key): described(key)})
            files[place].read([Key(key) for key in keys[1 - place][:10]])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert is_whole(path)
    for file in files:
        assert len(keys_in(file, keys[0] + keys[1])) > 500  # a turn may be missed, a file that is busy


def test_whoever_holds_the_file_blocks_no_reader_and_a_writer_only_for_a_moment(open_file, path):
    file = open_file()
    file.write({Key("a"): described("a")})
    holder = sqlite3.connect(path, isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        file.write({Key("b"): described("b")})
        assert keys_in(file, ["a", "b"]) == {"a"}
        assert time.monotonic() - began < 10
    finally:
        holder.close()
    file.write({Key("b"): described("b")})
    assert keys_in(file, ["a", "b"]) == {"a", "b"}


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from s3rolefs.cache.recordfile import RecordFile
from s3rolefs.clock import SystemClock
from s3rolefs.model import Key, ObjectInfo
file = RecordFile(Path(sys.argv[1]), SystemClock())
for batch in range(10**9):
    keys = [Key(f"{sys.argv[2]}/{batch}/{number}") for number in range(50)]
    file.write({key: ObjectInfo(key=key, size_bytes=1, etag="e", last_modified_ns=0) for key in keys})
    print(batch, flush=True)
"""


def test_what_was_written_survives_a_kill(open_file, path):
    for turn in range(3):
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(path), str(turn)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(5):
            last = process.stdout.readline()
        process.kill()
        process.communicate()
        assert int(last) == 4
        # All of a batch that was reported, and of no batch a part.
        assert len(keys_in(open_file(), [f"{turn}/4/{number}" for number in range(50)])) == 50
    assert is_whole(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) % 50 FROM record").fetchone() == (0,)
    connection.close()
