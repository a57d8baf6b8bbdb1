"""What a mount of a real bucket knows of objects from the mount before it."""

import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.bed.mounts import run
from tests.bed.patience import wait_until
from tests.bed.relay import Relay

FILES = [f"f{number}" for number in range(20)]


@pytest.fixture
def relay(radosgw):
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


@pytest.fixture(scope="module")
def bucket(radosgw_s3, bucket_names):
    """Objects whose Last-Modified is far enough behind for what is said of them to be remembered."""
    bucket = next(bucket_names)
    radosgw_s3.create_bucket(Bucket=bucket)
    for name in FILES:
        radosgw_s3.put_object(Bucket=bucket, Key=name, Body=b"x", Metadata={"mode": str(0o100640)})
    newest = radosgw_s3.head_object(Bucket=bucket, Key=FILES[-1])["LastModified"].timestamp()
    wait_until(lambda: time.time() > newest + 3, 10)
    return bucket


def remembered(place):
    """Return how many records are on disk."""
    with closing(sqlite3.connect(next(place.cache.glob("attributes/*.sqlite")))) as connection:
        return connection.execute("SELECT count(*) FROM record").fetchone()[0]


def listed(mount):
    return run("ls", "-ln", mount.path).stdout


def test_what_was_known_outlives_a_kill(place, bucket, relay):
    options = {"endpoint_url": relay.url, "metadata_ttl": 60}
    with place.mounted(f"s3://{bucket}", **options) as mount:
        before = listed(mount)
        wait_until(lambda: remembered(place) == len(FILES), 10)
        mount.signal(signal.SIGKILL)
        mount.wait_for_end()
    relay.reset()
    with place.mounted(f"s3://{bucket}", **options) as mount:
        assert listed(mount) == before
        assert relay.counts == {"LIST": 1}


def test_two_mounts_of_one_source_share_what_is_known(place, bucket, relay, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with place.mounted(f"s3://{bucket}", endpoint_url=relay.url, metadata_ttl=60) as mount:
        before = listed(mount)
        wait_until(lambda: remembered(place) == len(FILES), 10)
        place.directory, first = other, place.directory
        relay.reset()
        try:
            with place.mounted(f"s3://{bucket}", endpoint_url=relay.url, metadata_ttl=60) as second:
                assert listed(second) == before
                assert relay.counts == {"LIST": 1}
        finally:
            place.directory = first


def test_what_changed_while_nothing_was_mounted_is_seen(place, bucket, relay, radosgw_s3):
    options = {"endpoint_url": relay.url, "metadata_ttl": 60}
    with place.mounted(f"s3://{bucket}", **options) as mount:
        assert listed(mount).count("-rw-r-----") == len(FILES)
        run("umount", mount.path)
        mount.wait_for_end()
    radosgw_s3.copy_object(
        Bucket=bucket,
        Key="f0",
        CopySource=f"{bucket}/f0",
        Metadata={"mode": str(0o100601)},
        MetadataDirective="REPLACE",
    )
    relay.reset()
    with place.mounted(f"s3://{bucket}", **options) as mount:
        after = listed(mount).splitlines()
        assert [line for line in after if line.startswith("-rw------x") and line.endswith(" f0")]
        assert relay.counts == {"LIST": 1, "HEAD": 1}
