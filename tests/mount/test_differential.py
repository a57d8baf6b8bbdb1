"""Make the same system calls on a mount and on a local directory: same result, same errno.

What is not asked, because it differs and doc/SEMANTICS.md says so, is in the last test.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.bed.effort import EFFORT
from tests.bed.mounts import SPEEDS, Place
from tests.bed.trees import LONG_AGO_NS, described, tree

STEPS_PER_HISTORY = 50
HISTORIES = 16 * EFFORT
MIB = 1 << 20
AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

libc = ctypes.CDLL(None, use_errno=True)

# Few names, so that what one call made is what the next one meets.
paths = st.sampled_from(
    [
        "a",
        "a",
        "b",
        "d",
        "d/",
        "a/",
        "d/a",
        "d/a",
        "d/b",
        "d/b",
        "d/e",
        "d/e/a",
        "d/e/f",
        "d/e/..",
        "d/a/b",
        "b/a",
    ]
)
leads = st.sampled_from(["a", "b", "d", "d/", "d/a", "../a", "e/a", "nowhere", "."])
sizes = st.one_of(
    st.integers(0, 5000), st.sampled_from([0, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB])
)
contents = st.builds(lambda size, letter: bytes([letter]) * size, sizes, st.integers(1, 255))
modes = st.sampled_from([0, 0o400, 0o644, 0o600, 0o755, 0o1777, 0o2755, 0o4755, 0o7777])
times = st.integers(0, LONG_AGO_NS - 1)
picks = st.integers(0, 1000)
more_flags = [os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY]
flags = st.builds(
    lambda access, more: access | sum(more),
    st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR]),
    st.sets(st.sampled_from(more_flags), max_size=3),
)


def rename_only(source: str, target: str, how: int = RENAME_NOREPLACE) -> None:
    if libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), how):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def names_in(directory: str | int) -> list[str]:
    return sorted(os.listdir(directory))  # noqa: PTH208 - a descriptor, too


def is_that_long(path: Path, size: int) -> bool:
    """Tell whether a file has that size already: truncating it by name then differs in the times."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def map_shared(file: int, offset: int, content: bytes) -> bytes:
    """Write through a mapping as far as the file goes; return what the mapping shows afterwards."""
    size = min(os.fstat(file).st_size, 4 * MIB)
    if not size or stat.S_ISDIR(os.fstat(file).st_mode):
        return b""
    with mmap.mmap(file, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
        offset %= size
        piece = content[: size - offset]
        mapping[offset : offset + len(piece)] = piece
        return mapping[:]


class Calls(RuleBasedStateMachine):
    """One history of calls of several users in a fresh directory on each side; files are open in pairs."""

    def __init__(self, roots: tuple[str, str], serial: int) -> None:
        super().__init__()
        self.roots = tuple(f"{root}/{serial}/r" for root in roots)
        self.open_files: list[tuple[int, int]] = []
        self.user = 0
        for root in self.roots:
            Path(root, "d/e").mkdir(parents=True)
            Path(root, "b").symlink_to("d/a")
            Path(root).chmod(0o1777)
            Path(root, "d").chmod(0o777)
        for path in ("a", "d/a"):
            self.open_to_edit(path)
            self.write(-1, path.encode() * 1000)

    def teardown(self) -> None:
        self.user = 0
        for pair in self.open_files:
            self.compare([self.attempt(os.close, file) for file in pair])
        self.compare([tree(root) for root in self.roots])

    def attempt(self, call, *arguments) -> object:
        """Return what a call of the present user returns, or the name of its errno."""
        os.setegid(self.user)
        os.seteuid(self.user)
        try:
            return attempt(call, *arguments)
        finally:
            os.seteuid(0)
            os.setegid(0)

    def compare(self, answers) -> object:
        mounted, local = answers
        assert mounted == local
        return mounted

    def by_path(self, call, path, *more) -> object:
        return self.compare([self.attempt(call, f"{root}/{path}", *more) for root in self.roots])

    def by_file(self, pick, call, *more) -> object:
        if not self.open_files:
            return None
        pair = self.open_files[pick % len(self.open_files)]
        return self.compare([self.attempt(call, file, *more) for file in pair])

    def opened(self, answers) -> None:
        if all(isinstance(answer, int) for answer in answers):
            self.open_files.append(tuple(answers))
        else:
            self.compare(answers)

    @rule(user=st.sampled_from([0, 1000, 1001]))
    def become(self, user):
        self.user = user

    # Names

    @rule(path=paths, flags=flags, mode=modes)
    def open(self, path, flags, mode):
        if len(self.open_files) < 8:
            self.opened(
                [self.attempt(os.open, f"{root}/{path}", flags | os.O_NONBLOCK, mode) for root in self.roots]
            )

    @rule(path=paths)
    def open_to_edit(self, path):
        self.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    @rule(path=paths, mode=modes)
    def mkdir(self, path, mode):
        self.by_path(os.mkdir, path, mode)

    @rule(path=paths, mode=modes)
    def mkfifo(self, path, mode):
        self.by_path(os.mkfifo, path, mode)

    @rule(path=paths)
    def unlink(self, path):
        self.by_path(os.unlink, path)

    @rule(path=paths)
    def rmdir(self, path):
        self.by_path(os.rmdir, path)

    @rule(old=paths, new=paths, call=st.sampled_from([os.rename, os.rename, rename_only]))
    def rename(self, old, new, call):
        self.compare([self.attempt(call, f"{root}/{old}", f"{root}/{new}") for root in self.roots])

    @rule(path=paths, leads_to=leads)
    def symlink(self, path, leads_to):
        self.compare([self.attempt(os.symlink, leads_to, f"{root}/{path}") for root in self.roots])

    @rule(path=paths, call=st.sampled_from([os.readlink, names_in]))
    def look_into(self, path, call):
        self.by_path(call, path)

    @rule(path=paths, call=st.sampled_from([os.stat, os.lstat]))
    def stat(self, path, call):
        self.by_path(lambda path: described(call(path)), path)

    @rule(path=paths, mode=modes)
    def chmod(self, path, mode):
        self.by_path(os.chmod, path, mode)

    @rule(path=paths, uid=st.sampled_from([-1, 0, 1000]), gid=st.sampled_from([-1, 0, 1000]))
    def chown(self, path, uid, gid):
        self.by_path(os.lchown, path, uid, gid)

    @rule(path=paths, time=times, follow=st.booleans())
    def utime(self, path, time, follow):
        self.by_path(lambda path: os.utime(path, ns=(time, time), follow_symlinks=follow), path)

    @rule(path=paths, size=sizes)
    def truncate(self, path, size):
        if not is_that_long(Path(self.roots[1], path), size):
            self.by_path(os.truncate, path, size)

    # Descriptors

    @rule(pick=picks)
    def close(self, pick):
        if self.open_files:
            pair = self.open_files.pop(pick % len(self.open_files))
            self.compare([self.attempt(os.close, file) for file in pair])

    @rule(pick=picks)
    def dup(self, pick):
        if self.open_files and len(self.open_files) < 8:
            pair = self.open_files[pick % len(self.open_files)]
            self.opened([self.attempt(os.dup, file) for file in pair])

    @rule(pick=picks, size=sizes)
    def read(self, pick, size):
        self.by_file(pick, os.read, size)

    @rule(pick=picks, content=contents)
    def write(self, pick, content):
        self.by_file(pick, os.write, content)

    @rule(pick=picks, size=sizes, offset=sizes)
    def pread(self, pick, size, offset):
        self.by_file(pick, os.pread, size, offset)

    @rule(pick=picks, content=contents, offset=sizes)
    def pwrite(self, pick, content, offset):
        self.by_file(pick, os.pwrite, content, offset)

    @rule(pick=picks, offset=sizes, whence=st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]))
    def lseek(self, pick, offset, whence):
        def seek(file):
            # Where the end of a directory is, no standard says.
            return None if stat.S_ISDIR(os.fstat(file).st_mode) else os.lseek(file, offset, whence)

        self.by_file(pick, seek)

    @rule(pick=picks, size=sizes)
    def ftruncate(self, pick, size):
        self.by_file(pick, os.ftruncate, size)

    @rule(pick=picks, call=st.sampled_from([os.fsync, os.fdatasync]))
    def fsync(self, pick, call):
        self.by_file(pick, call)

    @rule(pick=picks)
    def fstat(self, pick):
        self.by_file(pick, lambda file: described(os.fstat(file)))

    @rule(pick=picks, mode=modes)
    def fchmod(self, pick, mode):
        self.by_file(pick, os.fchmod, mode)

    @rule(pick=picks, time=times)
    def futime(self, pick, time):
        self.by_file(pick, lambda file: os.utime(file, ns=(time, time)))

    @rule(pick=picks, offset=sizes, content=contents)
    def map(self, pick, offset, content):
        self.by_file(pick, map_shared, offset, content)

    @rule(pick=picks, kind=st.sampled_from([fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN]))
    def flock(self, pick, kind):
        self.by_file(pick, fcntl.flock, kind | fcntl.LOCK_NB)

    @precondition(lambda self: len(self.open_files) > 1)
    @rule(pick=picks, other=picks, size=sizes, offset=sizes)
    def copy_file_range(self, pick, other, size, offset):
        sources = self.open_files[pick % len(self.open_files)]
        targets = self.open_files[other % len(self.open_files)]
        self.compare(
            [
                self.attempt(os.copy_file_range, one, two, size, 0, offset)
                for one, two in zip(sources, targets, strict=True)
            ]
        )

    @rule(pick=picks)
    def list_open_directory(self, pick):
        self.by_file(pick, names_in)

    @rule()
    def look_at_everything(self):
        self.compare([tree(root) for root in self.roots])


def attempt(call, *arguments) -> object:
    """Return what a call returns, or the name of its errno."""
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


@pytest.fixture
def open_place(radosgw):
    """Where to mount for everybody: pytest's own directories are root's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        made = Place(Path(folder), radosgw)
        yield made
        made.clear()


@pytest.mark.timeout(60 + 10 * HISTORIES)
@pytest.mark.parametrize("speed", SPEEDS)
def test_the_same_calls_have_the_same_results_as_on_a_local_directory(open_place, bucket, speed):
    place = open_place
    local = place.directory.with_name("local")
    local.mkdir()
    serial = count()
    options = {"allow_other": True, "default_permissions": True, **SPEEDS[speed]}
    with place.mounted(f"s3://{bucket}", **options) as mount:
        roots = (str(mount.path), str(local))
        run_state_machine_as_test(
            lambda: Calls(roots, next(serial)),
            settings=settings(
                max_examples=HISTORIES,
                stateful_step_count=STEPS_PER_HISTORY,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    # What a mount that knows nothing reads from the bucket is the same, too; the one before has been killed.
    with place.mounted(f"s3://{bucket}", **options) as mount:
        assert tree(str(mount.path), times_of_directories=False) == tree(
            str(local), times_of_directories=False
        )


def test_what_differs_from_a_local_directory(place, bucket):
    with place.mounted(f"s3://{bucket}") as mount:
        one, two = mount.path / "one", mount.path / "two"
        one.write_bytes(b"begin" + bytes(MIB))
        two.mkdir()
        assert attempt(os.link, one, mount.path / "three") == "EPERM"
        assert attempt(rename_only, one, two, RENAME_EXCHANGE) == "EINVAL"
        assert attempt(os.open, mount.path, os.O_TMPFILE | os.O_RDWR) == "ENOTSUP"
        assert two.stat().st_nlink == 1
        os.utime(one, ns=(1, 1))
        with one.open("rb") as file:
            assert file.read(5) == b"begin"
            assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == MIB + 5
        assert one.stat().st_atime_ns == 1
        os.truncate(one, one.stat().st_size)
        assert one.stat().st_mtime_ns == 1
        # The C library does by writing what the mount cannot promise.
        with one.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * MIB)
        assert one.stat().st_size == 2 * MIB
