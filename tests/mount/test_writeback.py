"""`writeback` on real mounts: programs, kills, outages of S3 and STS, and what a person is told."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.bed.mounts import LIMIT_SECONDS, PROGRAM, run
from tests.bed.patience import wait_until
from tests.bed.relay import Relay

EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


@pytest.fixture
def relay(radosgw):
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


def objects(s3, bucket, owner=None):
    """Return what the bucket holds, directories left out; what a role wrote only its `owner` may read."""
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {
        key: (owner or s3).get_object(Bucket=bucket, Key=key)["Body"].read()
        for key in keys
        if not key.endswith("/")
    }


def tree(folder):
    """Return every path below a folder with what `stat` and a reader find there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path.relative_to(folder))] = (oct(status.st_mode), status.st_mtime_ns // 10**9, content)
    return found


def files(count, size=3000):
    return {f"{number:03}": os.urandom(size) for number in range(count)}


@pytest.mark.timeout(180)
def test_what_programs_write_and_remove_is_there_on_another_mount(place, bucket, tmp_path):
    source = tmp_path / "source"
    run("git", "init", "-q", "-b", "main", source)
    for number in range(40):
        (source / f"{number}.txt").write_text(f"{number}\n" * 100)
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "run").write_bytes(os.urandom(2 << 20))
    (source / "deep" / "er" / "run").chmod(0o755)
    (source / "link").symlink_to("deep/er/run")
    who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    run("git", "-C", source, "add", ".")
    run("git", "-C", source, *who, "commit", "-qm", "all")
    run("tar", "-C", source, "-cf", tmp_path / "archive.tar", ".")
    with place.mounted(f"s3://{bucket}", writeback=True) as mount:
        run("cp", "-a", source, mount.path / "copied")
        (mount.path / "unpacked").mkdir()
        run("tar", "-C", mount.path / "unpacked", "-xf", tmp_path / "archive.tar")
        run("git", "clone", "-q", f"file://{source}", mount.path / "cloned")
        run("cp", "-a", mount.path / "copied", mount.path / "gone")
        run("rm", "-r", mount.path / "gone")
        (mount.path / "copied" / "1.txt").unlink()
        (mount.path / "copied" / "2.txt").rename(mount.path / "copied" / "two.txt")
        shutil.rmtree(mount.path / "unpacked" / ".git")
        run(PROGRAM, "umount", mount.path)
        mount.wait_for_end()
    assert list(place.spool.iterdir()) == []
    with place.mounted(f"s3://{bucket}") as mount:
        assert sorted(path.name for path in mount.path.iterdir()) == ["cloned", "copied", "unpacked"]
        expected = tree(source)
        unpacked = {path: found for path, found in expected.items() if not path.startswith(".git")}
        assert tree(mount.path / "unpacked") == unpacked
        expected["two.txt"] = expected.pop("2.txt")
        del expected["1.txt"]
        assert tree(mount.path / "copied") == expected
        run("git", "-C", mount.path / "cloned", "fsck", "--full", "--strict")
        assert run("git", "-C", mount.path / "cloned", "status", "--porcelain").stdout == ""


def test_a_kill_loses_no_closed_file_and_brings_no_removed_one_back(
    place, bucket, radosgw_s3, relay, tmp_path
):
    before = {f"old/{name}": b"old" for name in files(20)}
    for key, content in before.items():
        radosgw_s3.put_object(Bucket=bucket, Key=key, Body=content)
    written = files(60) | {"large": os.urandom(5 << 20)}
    log = tmp_path / "log"
    with place.logged(f"s3://{bucket}", log, endpoint_url=relay.url, writeback=True) as mount:
        assert len(list((mount.path / "old").iterdir())) == 20
        relay.latency_seconds = 0.3
        for name, content in written.items():
            (mount.path / name).write_bytes(content)
        for number in range(0, 20, 2):
            (mount.path / "old" / f"{number:03}").unlink()
        (mount.path / "000").unlink()
        (mount.path / "001").rename(mount.path / "renamed")
        (mount.path / "002").write_bytes(b"again")
        mount.signal(signal.SIGKILL)
        mount.wait_for_end()
        relay.break_connections()
        relay.latency_seconds = 0.0
    del written["000"]
    written |= {"renamed": written.pop("001"), "002": b"again"}
    kept = {key: content for key, content in before.items() if int(key[-3:]) % 2}
    with place.logged(f"s3://{bucket}", log, endpoint_url=relay.url) as mount:
        assert {p.name: p.read_bytes() for p in mount.path.iterdir() if p.is_file()} == written
        assert {p.name for p in (mount.path / "old").iterdir()} == {key[-3:] for key in kept}
        wait_until(lambda: not mount.ask("status")["unsent"], LIMIT_SECONDS)
        wait_until(lambda: not mount.ask("status")["waiting"]["removals"], LIMIT_SECONDS)
    assert objects(radosgw_s3, bucket) == written | kept
    assert "an earlier mount ended while" in log.read_text()
    assert "conflict" not in log.read_text()


@pytest.mark.timeout(120)
def test_a_session_is_renewed_while_files_wait(role_place, bucket, make_role, radosgw_s3, radosgw, visitor):
    """STS does not answer until the session is over; what was closed meanwhile arrives all the same."""
    owner = radosgw.client("s3", visitor)
    content = files(50)
    with Relay.to(radosgw.endpoint_url) as sts:
        options = {"role_arn": make_role(EVERYTHING), "duration_seconds": 12, "sts_endpoint": sts.url}
        ttls = {"metadata_ttl": 300, "negative_ttl": 300}
        with role_place.mounted(f"s3://{bucket}", writeback=True, **ttls, **options) as mount:
            assert list(mount.path.iterdir()) == []  # what is not there is known from now on
            sts.blackhole()
            wait_until(lambda: mount.ask("status")["roles"][0]["state"] == "expired", LIMIT_SECONDS)
            for name, each in content.items():
                (mount.path / name).write_bytes(each)
            assert mount.ask("status")["waiting"]["files"] > 0
            sts.flow()
            wait_until(lambda: not mount.ask("status")["waiting"]["files"], LIMIT_SECONDS)
            assert mount.ask("status")["unsent"] == []
            assert objects(radosgw_s3, bucket, owner) == content


@pytest.mark.timeout(120)
def test_umount_waits_and_says_what_for_and_the_next_mount_goes_on(
    place, bucket, radosgw_s3, relay, tmp_path
):
    radosgw_s3.put_object(Bucket=bucket, Key="old", Body=b"old")
    options = {"endpoint_url": relay.url, "writeback": True, "metadata_ttl": 300}
    with place.mounted(f"s3://{bucket}", **options) as mount:
        assert [path.name for path in mount.path.iterdir() if path.is_file()] == ["old"]
        relay.blackhole()
        for name in ("f", "g"):
            (mount.path / name).write_bytes(b"content")
        (mount.path / "old").unlink()
        status = mount.ask("status")
        assert (status["waiting"]["files"], status["waiting"]["removals"]) == (2, 1)
        assert "2 files (14 bytes) and 1 removals" in run(PROGRAM, "status", mount.path).stdout
        relay.flow()
        run(PROGRAM, "umount", mount.path)
    assert objects(radosgw_s3, bucket) == {"f": b"content", "g": b"content"}
    with place.mounted(f"s3://{bucket}", stop_timeout=5, io_timeout=1, **options) as mount:
        assert sorted(path.name for path in mount.path.iterdir() if path.is_file()) == ["f", "g"]
        relay.blackhole()
        (mount.path / "g").unlink()
        (mount.path / "f").write_bytes(b"changed")
        unmounted = run(PROGRAM, "umount", mount.path, check=False)
        assert unmounted.returncode == 2
        assert "kept for the next mount" in unmounted.stderr
        assert "waiting until 1 file is sent and 1 file is removed" in unmounted.stderr
    relay.flow()
    with place.mounted(f"s3://{bucket}", **options) as mount:
        wait_until(lambda: not mount.ask("status")["unsent"], LIMIT_SECONDS)
        wait_until(lambda: not mount.ask("status")["waiting"]["removals"], LIMIT_SECONDS)
    assert objects(radosgw_s3, bucket) == {"f": b"changed"}


def test_fsync_of_a_file_and_of_a_directory_mean_s3(place, bucket, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="d/old", Body=b"old")
    with place.mounted(f"s3://{bucket}", writeback=True) as mount:
        with (mount.path / "synced").open("wb") as file:
            file.write(b"content")
            file.flush()
            os.fsync(file.fileno())
            assert objects(radosgw_s3, bucket) == {"synced": b"content", "d/old": b"old"}
        (mount.path / "d" / "new").write_bytes(b"new")
        (mount.path / "d" / "old").unlink()
        directory = os.open(mount.path / "d", os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)
        assert objects(radosgw_s3, bucket) == {"synced": b"content", "d/new": b"new"}


def test_a_stop_within_its_time_sends_everything(place, bucket, radosgw_s3, tmp_path):
    content = files(100)
    with (tmp_path / "log").open("wb") as log:
        command = [*place.command(f"s3://{bucket}", writeback=True), "--foreground"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        wait_until(lambda: "is mounted on" in (tmp_path / "log").read_text(), LIMIT_SECONDS)
        for name, each in content.items():
            (place.directory / name).write_bytes(each)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_SECONDS) == 0
    assert objects(radosgw_s3, bucket) == content
    assert list(place.spool.iterdir()) == []
