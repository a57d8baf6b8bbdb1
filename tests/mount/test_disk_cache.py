"""What a mount of a real bucket reads from the disk cache of the mount before it."""

import hashlib
import random
import signal
import subprocess

import pytest

from s3rolefs.model import MIB
from tests.bed.mounts import run
from tests.bed.patience import wait_until
from tests.bed.relay import Relay

LARGE = random.Random(5).randbytes(48 * MIB + 5)
SMALL = {f"small/{number}": b"%d" % number for number in range(20)}


@pytest.fixture
def relay(radosgw):
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


@pytest.fixture
def bucket(radosgw_s3, buckets):
    bucket = buckets()
    for key, content in {"large": LARGE, **SMALL}.items():
        radosgw_s3.put_object(Bucket=bucket, Key=key, Body=content)
    return bucket


def digests(mount):
    """Return the digests of all files, read in large pieces and in order."""
    found = {}
    for name in ["large", *SMALL]:
        with (mount.path / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


EXPECTED = {name: hashlib.sha256(content).hexdigest() for name, content in {"large": LARGE, **SMALL}.items()}


def kept(place):
    return list(place.cache.glob("blocks/*/*"))


def test_after_a_remount_no_byte_comes_from_s3(place, bucket, relay):
    options = {"endpoint_url": relay.url, "cache_size": "1G"}
    with place.mounted(f"s3://{bucket}", **options) as mount:
        assert digests(mount) == EXPECTED
        run("umount", mount.path)
        mount.wait_for_end()
    assert len(kept(place)) == 49 + len(SMALL)
    with place.mounted(f"s3://{bucket}", **options) as mount:
        relay.reset()
        assert digests(mount) == EXPECTED
        assert relay.counts["GET"] == 0
        assert relay.passed_bytes < MIB


def test_what_a_kill_left_half_written_is_never_read(place, bucket, relay):
    options = {"endpoint_url": relay.url, "cache_size": "1G"}
    with place.mounted(f"s3://{bucket}", **options) as mount:
        reader = subprocess.Popen(["cat", str(mount.path / "large")], stdout=subprocess.DEVNULL)
        wait_until(lambda: len(kept(place)) > 5, 20)
        mount.signal(signal.SIGKILL)
        mount.wait_for_end()
        reader.wait(timeout=20)
    found = kept(place)
    # As a kill or a crash may leave them, in the middle of writing and before anything was synced.
    found[0].write_bytes(found[0].read_bytes()[:5000])
    found[1].write_bytes(bytes(found[1].stat().st_size))
    for _ in range(2):
        with place.mounted(f"s3://{bucket}", **options) as mount:
            relay.reset()
            assert digests(mount) == EXPECTED
            asked = relay.counts["GET"]
            run("umount", mount.path)
            mount.wait_for_end()
    assert asked == 0


def test_a_full_or_missing_disk_does_no_harm(place, bucket, relay, tmp_path):
    options = {"endpoint_url": relay.url, "cache_size": "1G"}
    place.cache.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=20M,mode=0700", "tmpfs", place.cache)
    log = tmp_path / "log"
    try:
        with place.logged(f"s3://{bucket}", log, **options) as mount:
            for _ in range(2):
                assert digests(mount) == EXPECTED
            used_bytes = sum(path.stat().st_size for path in kept(place))
            run("umount", mount.path)
        assert 10 * MIB < used_bytes < 20 * MIB
        # A disk with a file that is open for writing, as that of attributes, cannot become read-only.
        with place.logged(f"s3://{bucket}", log, **options, metadata="listing") as mount:
            run("mount", "-o", "remount,ro", place.cache)
            assert digests(mount) == EXPECTED
            run("umount", mount.path)
        assert log.read_text().count("blocks are not kept in") <= 2
    finally:
        run("umount", "-l", place.cache)


def test_a_cache_inside_the_mount_is_refused(place, bucket):
    inside = place.directory / "cache"
    result = run(*place.command(f"s3://{bucket}", cache_dir=inside, cache_size="1G"), check=False)
    assert result.returncode
    assert f"cache_dir={inside}" in result.stderr
