"""Files made with O_EXCL by two mounts of one bucket, as two machines would."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.bed.mounts import LIMIT_SECONDS, Place
from tests.bed.patience import wait_until
from tests.bed.relay import Relay


@pytest.fixture
def places(tmp_path, radosgw):
    """Two places to mount, each as if on a machine of its own."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Place(folder, radosgw))
    yield made
    for place in made:
        place.clear()


def take(path):
    """Try once to make a file that must not be there yet."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


@contextmanager
def locked(folder):
    """Hold a lock file, as git and mail programs do: nobody looks at the errors of close."""
    lock = folder / "counter.lock"
    wait_until(lambda: take(lock), LIMIT_SECONDS)
    try:
        yield
    finally:
        lock.unlink()


def add_one(folder):
    with locked(folder):
        counter = os.open(folder / "counter", os.O_RDWR | os.O_DIRECT)
        try:
            number = int(os.read(counter, 20))
            os.pwrite(counter, b"%d" % (number + 1), 0)
            os.fsync(counter)
        finally:
            os.close(counter)


def test_a_lock_file_excludes_the_programs_of_two_machines(places, bucket, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="counter", Body=b"10")
    one, two = places
    options = {"metadata_ttl": 0.1}  # how soon one mount sees that the other has removed its lock
    with (
        one.mounted(f"s3://{bucket}", **options) as first,
        two.mounted(f"s3://{bucket}", **options) as second,
    ):
        folders = [first.path, second.path] * 10
        with ThreadPoolExecutor(4) as crowd:
            list(crowd.map(add_one, folders))
    assert radosgw_s3.get_object(Bucket=bucket, Key="counter")["Body"].read() == b"30"


def test_with_exclusive_open_one_of_two_makes_any_file(places, bucket):
    one, two = places
    options = {"exclusive": "open"}
    with (
        one.mounted(f"s3://{bucket}", **options) as first,
        two.mounted(f"s3://{bucket}", **options) as second,
        ThreadPoolExecutor(2) as both,
    ):
        for number in range(20):
            paths = [mount.path / f"f{number}" for mount in (first, second)]
            assert sorted(both.map(take, paths)) == [False, True]


def test_what_an_exclusive_create_costs(places, bucket, radosgw):
    place = places[0]
    costs = {}
    for exclusive in ("locks", "open"):
        with (
            Relay.to(radosgw.endpoint_url) as relay,
            place.mounted(f"s3://{bucket}", endpoint_url=relay.url, exclusive=exclusive) as mount,
        ):
            os.listdir(mount.path)  # noqa: PTH208 - the absence of names needs no request then
            for number in range(2):
                (mount.path / f"{exclusive}{number}").write_bytes(b"once")
                (mount.path / f"{exclusive}{number}").write_bytes(b"and how If-Match is understood")
            relay.reset()
            for number in range(10):
                with (mount.path / f"{exclusive}-x{number}").open("xb") as file:
                    file.write(b"content")
            costs[exclusive] = relay.counts
    assert costs == {"locks": {"PUT": 10}, "open": {"PUT": 20}}
