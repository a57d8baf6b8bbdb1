"""The move of a directory, and what is left of it when the serving process is killed in the middle."""

import signal
import subprocess
import sys

import pytest

from tests.bed.mounts import LIMIT_SECONDS
from tests.bed.patience import wait_until
from tests.bed.relay import Relay

FILES = 300
CONTENT = {f"{number:03}": b"%d" % number for number in range(FILES)}


@pytest.fixture
def relay(radosgw):
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


@pytest.fixture
def many(radosgw_s3, bucket):
    """Fill a directory."""
    for name, content in CONTENT.items():
        radosgw_s3.put_object(Bucket=bucket, Key=f"old/{name}", Body=content)


def keys_of(s3, bucket, prefix):
    contents = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {entry["Key"].removeprefix(prefix) for entry in contents} - {""}


def begin_to_move(mount):
    """Begin a rename in a process of its own, which the end of the mount fails."""
    script = "import os, sys; os.rename(*sys.argv[1:])"
    names = [mount.path / "old", mount.path / "new"]
    return subprocess.Popen([sys.executable, "-c", script, *names], stderr=subprocess.DEVNULL)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(("kind", "count"), [("COPY", 150), ("DELETE_MANY", 1)])
def test_a_mount_killed_in_the_middle_of_a_move_loses_nothing_and_the_next_finishes_it(
    place, bucket, radosgw_s3, relay, tmp_path, kind, count
):
    log = tmp_path / "log"
    with place.logged(f"s3://{bucket}", log, endpoint_url=relay.url) as mount:
        relay.reset()
        relay.latency_seconds = 0.1
        mover = begin_to_move(mount)
        wait_until(lambda: relay.counts[kind] >= count, LIMIT_SECONDS)
        mount.signal(signal.SIGKILL)
        mount.wait_for_end()
        relay.break_connections()
        assert mover.wait(LIMIT_SECONDS) != 0
        relay.latency_seconds = 0.0
    old, new = (keys_of(radosgw_s3, bucket, prefix) for prefix in ("old/", "new/"))
    assert old | new == set(CONTENT)
    assert kind != "COPY" or old == set(CONTENT)
    relay.reset()
    with place.logged(f"s3://{bucket}", log, endpoint_url=relay.url) as mount:
        wait_until(lambda: "the move of /old to /new is finished" in log.read_text(), LIMIT_SECONDS)
        assert [path.name for path in mount.path.iterdir()] == ["new"]
        assert {path.name: path.read_bytes() for path in (mount.path / "new").iterdir()} == CONTENT
        # What was there is not copied again; the first ones find out what the service does with conditions.
        assert relay.counts["COPY"] <= len(old - new) + 32
    assert keys_of(radosgw_s3, bucket, "old/") == set()
    assert keys_of(radosgw_s3, bucket, "new/") == set(CONTENT)
    assert "the move of /old to /new was broken off when its mount ended" in log.read_text()
    assert f"of {FILES} files were copied" in log.read_text()
