import errno
import os
import random
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from s3rolefs.cache import diskroom
from s3rolefs.cache.blockfiles import BlockFiles
from s3rolefs.cache.blocks import ObjectVersion
from s3rolefs.cache.buffers import BLOCK_BYTES
from s3rolefs.cache.diskroom import disk_bytes
from s3rolefs.model import Key

LIMIT_BYTES = 32 * BLOCK_BYTES
FILE_BYTES = disk_bytes(BLOCK_BYTES + 16)
CONTENT = memoryview(random.Random(1).randbytes(BLOCK_BYTES))


def version_named(key, etag="e"):
    return ObjectVersion(key=Key(key), etag=etag, size_bytes=1 << 40, token=key)


VERSION = version_named("key")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blocks"


@pytest.fixture
def files(folder):
    made = BlockFiles(folder, {"": "here\0"}, limit_bytes=LIMIT_BYTES)
    made.prepare()
    return made


def read(files, index, version=VERSION, size=BLOCK_BYTES):
    """Return what is there; None: nothing is."""
    into = bytearray(size)
    return into if files.read(files.path(version, index), memoryview(into)) else None


def write(files, index, content=CONTENT, version=VERSION):
    files.write(files.path(version, index), content)


def used_bytes(folder):
    return sum(disk_bytes(path.stat().st_size) for path in folder.glob("*/*"))


def age(files, index, seconds):
    then = time.time() - seconds
    os.utime(files.path(VERSION, index), (then, then))


def test_a_block_is_read_as_it_was_written(files):
    write(files, 3)
    assert read(files, 3) == CONTENT
    assert read(files, 2) is None


@pytest.mark.parametrize("size", [0, 1, 4096, BLOCK_BYTES - 1])
def test_short_blocks(files, size):
    write(files, 0, CONTENT[:size])
    assert read(files, 0, size=size) == CONTENT[:size]


def test_names_tell_versions_keys_and_places_apart(files, folder):
    other = BlockFiles(folder, {"": "there\0"}, limit_bytes=LIMIT_BYTES)
    write(files, 0)
    assert read(files, 0, version_named("key", "f")) is None
    assert read(files, 0, version_named("key2")) is None
    assert read(other, 0) is None


def test_whoever_may_read_the_files(files):
    write(files, 0)
    path = files.path(VERSION, 0)
    modes = [oct(found.stat().st_mode & 0o777) for found in (path, path.parent, files.folder)]
    assert modes == ["0o600", "0o700", "0o700"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="cut"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: bytes(len(content)), id="zeros"),
        pytest.param(lambda content: b"\0" + content[1:], id="one byte"),
        pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 128]), id="one bit of the checksum"),
        pytest.param(lambda content: content[1:] + b"\0", id="shifted"),
    ],
)
def test_a_damaged_block_is_removed_and_can_be_written_again(files, damage):
    write(files, 0)
    path = files.path(VERSION, 0)
    path.write_bytes(damage(path.read_bytes()))
    assert read(files, 0) is None
    assert not path.exists()
    write(files, 0)
    assert read(files, 0) == CONTENT


def test_a_block_under_another_name_counts_as_damaged(files):
    write(files, 0)
    files.path(VERSION, 0).rename(files.path(VERSION, 1))
    assert read(files, 1) is None


def test_a_symbolic_link_is_not_followed(files, tmp_path):
    write(files, 0)
    path = files.path(VERSION, 0)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        read(files, 0)


def test_the_limit_holds_and_what_nobody_read_for_longest_goes_first(files, folder):
    count = LIMIT_BYTES // FILE_BYTES
    for index in range(count):
        write(files, index)
        age(files, index, seconds=10_000 - index)
    assert read(files, 0) == CONTENT  # used just now
    for index in range(count, 2 * count - 1):
        write(files, index)
        assert used_bytes(folder) <= LIMIT_BYTES
    assert [index for index in range(count) if read(files, index)] == [0]
    assert all(read(files, index) for index in range(count, 2 * count - 1))


def test_what_was_read_after_the_count_stays(files, folder):
    count = LIMIT_BYTES // FILE_BYTES
    for index in range(count):
        write(files, index)
        age(files, index, seconds=10_000 - index)
    write(files, count)  # counts, removes 0, and has 1 and more in view
    assert read(files, 0) is None
    assert read(files, 1)
    write(files, count + 1)
    assert read(files, 1)
    assert read(files, 2) is None


def test_a_block_larger_than_the_limit_is_no_space_and_other_files_stay(folder):
    folder.mkdir(mode=0o700)
    (folder / "00").mkdir()
    foreign = [folder / "README", folder / "00" / "mine.txt"]
    for path in foreign:
        path.write_text("mine")
    small = BlockFiles(folder, {"": ""}, limit_bytes=FILE_BYTES - 1)
    with pytest.raises(OSError, match="No space left") as failure:
        write(small, 0)
    assert failure.value.errno == errno.ENOSPC
    assert all(path.read_text() == "mine" for path in foreign)


Disk = namedtuple("Disk", "f_blocks f_frsize f_bavail")


def test_the_disk_keeps_some_room_for_others(files, folder, monkeypatch):
    blocks = 20 * LIMIT_BYTES // 4096
    free = [blocks]
    monkeypatch.setattr(diskroom.os, "statvfs", lambda _: Disk(blocks, 4096, free[0]))
    for index in range(8):
        write(files, index)
        age(files, index, seconds=1000 - index)
    free[0] = LIMIT_BYTES // 4096  # a twentieth: the floor
    write(files, 8)
    assert [index for index in range(9) if read(files, index)] == [1, 2, 3, 4, 5, 6, 7, 8]
    free[0] = 0
    with pytest.raises(OSError, match="No space left"):
        write(files, 9)
    assert used_bytes(folder) == 0


def test_a_disk_that_is_full_in_the_middle_of_a_block_keeps_nothing_of_it(files, monkeypatch):
    def part(file, buffers):
        return os.write(file, memoryview(buffers[0])[:1000])

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", part)
        with pytest.raises(OSError, match="No space left"):
            write(files, 0)
    assert not files.path(VERSION, 0).exists()
    write(files, 0)
    assert read(files, 0) == CONTENT


def test_a_removed_directory_is_made_again(files, folder):
    write(files, 0)
    files.path(VERSION, 0).unlink()
    files.path(VERSION, 0).parent.rmdir()
    folder.rmdir()
    assert read(files, 0) is None
    write(files, 0)
    assert read(files, 0) == CONTENT


def test_a_directory_that_others_may_write_to_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(PermissionError, match="others may write"):
        BlockFiles(folder, {"": ""}, limit_bytes=LIMIT_BYTES).prepare()


CROWD = """
import sys
from pathlib import Path
from tests.cache.test_blockfiles import BlockFiles, CONTENT, LIMIT_BYTES, read, version_named, write

files = BlockFiles(Path(sys.argv[1]), {"": "here"}, limit_bytes=LIMIT_BYTES)
version, wrong = version_named("key"), 0
for index in range(150):
    write(files, index, version=version)
    found = read(files, index // 2, version)
    wrong += found is not None and found != CONTENT
print(wrong)
"""


def test_processes_that_write_and_evict_at_once_disturb_nobody(files, folder):
    crowd = [
        subprocess.Popen([sys.executable, "-c", CROWD, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in crowd:
        assert process.communicate(timeout=60)[0] == "0\n"
        assert process.returncode == 0
    # Each may have added a sixteenth of the limit that the others had not counted yet.
    assert LIMIT_BYTES // 2 < used_bytes(folder) <= LIMIT_BYTES + 3 * LIMIT_BYTES // 16 + 3 * FILE_BYTES
