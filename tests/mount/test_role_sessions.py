"""A mount outlives its role's sessions: real tools at work across ten of them, and the control."""

import os
import subprocess
import threading
import time

import pytest

from tests.bed.mounts import run
from tests.bed.patience import wait_until

SESSION_SECONDS = 10
RUN_SECONDS = 100
CONTROL_SECONDS = 15
READ_EVERY_SECONDS = 0.1
LARGE_MIB = 1024

EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A tree of 500 files, a git repository and an archive, on the local disk."""
    folder = tmp_path_factory.mktemp("local")
    tree = folder / "tree"
    for number in range(500):
        path = tree / f"d{number % 10}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 7))
    repository = folder / "repository"
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", repository)
    run("git", "init", "--quiet", repository)
    for number in range(20):
        (repository / f"file{number % 7}").write_text(f"line {number}\n" * 100)
        run(*git, "add", ".")
        run(*git, "commit", "--quiet", "--message", f"commit {number}")
    run("tar", "-C", tree, "-cf", folder / "tree.tar", ".")
    run("dd", "if=/dev/urandom", f"of={folder / 'large'}", "bs=1M", f"count={LARGE_MIB}", "status=none")
    return folder


class Reader:
    """Read a file every 100 ms, past every cache (O_DIRECT asks S3 at each open)."""

    def __init__(self, path):
        self._path = path
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.reads = 0
        self.failure = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._end.set()
        self._thread.join(timeout=60)

    def wait_for_failure(self, timeout):
        """Wait until a read has failed, at most so many seconds."""
        self._thread.join(timeout)

    def _read(self):
        while not self._end.wait(READ_EVERY_SECONDS):
            try:
                file = os.open(self._path, os.O_RDONLY | os.O_DIRECT)
                try:
                    assert os.read(file, 100) == b"still here"
                finally:
                    os.close(file)
                self.reads += 1
            except (OSError, AssertionError) as failure:
                self.failure = failure
                return


def work(local, target):
    """Let each tool do its work once, in a new directory; every failure raises."""
    target.mkdir()
    run("cp", "-r", local / "tree", target / "copy")
    run("git", "clone", "--quiet", "--no-hardlinks", local / "repository", target / "clone")
    run("git", "-C", target / "clone", "fsck", "--full", "--strict")
    run("rsync", "-a", f"{local}/tree/", target / "synced")
    again = run("rsync", "-a", "--itemize-changes", f"{local}/tree/", target / "synced").stdout
    assert again == "", "the second rsync found something to transfer"
    (target / "untarred").mkdir()
    run("tar", "-C", target / "untarred", "-xf", local / "tree.tar")
    run("tar", "-C", target / "untarred", "-df", local / "tree.tar")


def copy_large(local, target):
    run("cp", local / "large", target, limit_seconds=180)
    hashes = run("sha256sum", local / "large", target, limit_seconds=180).stdout.split()
    assert hashes[0] == hashes[2]
    target.unlink()


def assumed(gateway, user):
    """Count the calls of STS that the server saw (POST to its root)."""
    return sum(
        access.method == "POST" and access.target == "/" and access.user == user
        for access in gateway.accesses()
    )


@pytest.fixture
def role_mount(role_place, bucket, make_role):
    role_arn = make_role(EVERYTHING)

    def mount(**options):
        return role_place.mounted(
            f"s3://{bucket}", role_arn=role_arn, duration_seconds=SESSION_SECONDS, metadata_ttl=2, **options
        )

    return mount


@pytest.mark.timeout(400)
def test_ten_sessions_pass_unnoticed(role_mount, local, radosgw):
    with role_mount() as mount:
        began = time.monotonic()
        before = assumed(radosgw, "visitor")
        (mount.path / "watched").write_bytes(b"still here")
        rounds = 0
        with Reader(mount.path / "watched") as reader:
            copy_large(local, mount.path / "large")
            while time.monotonic() - began < RUN_SECONDS:
                work(local, mount.path / f"round{rounds}")
                rounds += 1
                assert reader.failure is None
        seconds = time.monotonic() - began
        calls = assumed(radosgw, "visitor") - before
        role = mount.ask("status")["roles"][0]
        assert reader.failure is None
        assert reader.reads >= RUN_SECONDS
        assert rounds >= 1
        assert role["failures"] == 0
        assert role["longest_wait_seconds"] <= 0.1
        # Due after 0.60 to 0.67 of 10 s: 9 to 22 calls in 100 s with a session each, none more.
        assert 9 * seconds / RUN_SECONDS - 1 <= calls <= 22 * seconds / RUN_SECONDS

        def all_counted():
            # The first one was before `before`; one may come while we count.
            fetches = mount.ask("status")["roles"][0]["fetches"]
            return assumed(radosgw, "visitor") - before == fetches - 1

        wait_until(all_counted, 5.0)


@pytest.mark.timeout(120)
def test_without_renewal_the_same_work_fails(role_mount, local):
    with role_mount(renew="no", cred_wait=1) as mount:
        began = time.monotonic()
        failed_after = None
        (mount.path / "watched").write_bytes(b"still here")
        with Reader(mount.path / "watched") as reader:
            rounds = 0
            while failed_after is None and time.monotonic() - began < 3 * CONTROL_SECONDS:
                try:
                    work(local, mount.path / f"round{rounds}")
                except (AssertionError, OSError, subprocess.TimeoutExpired):
                    failed_after = time.monotonic() - began
                rounds += 1
            # The work may meet the end of the session between two reads.
            reader.wait_for_failure(CONTROL_SECONDS)
        assert failed_after is not None
        assert failed_after <= CONTROL_SECONDS
        assert reader.failure is not None
