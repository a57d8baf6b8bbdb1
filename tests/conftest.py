from __future__ import annotations

import fcntl
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.bed.clock import ManualClock
from tests.bed.radosgw import RadosGateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def machine() -> Iterator[None]:
    """Change what the machine has once (helpers in /sbin, /dev/fuse): one test at a time, of all runs."""
    with Path("/run/lock/s3rolefs-tests").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def radosgw() -> Iterator[RadosGateway]:
    """A real S3 and STS, one for each process of the run, started for the first test that asks."""
    with RadosGateway() as gateway:
        yield gateway


@pytest.fixture(scope="session")
def radosgw_s3(radosgw: RadosGateway) -> Any:
    """A boto3 client of radosgw's admin user."""
    return radosgw.client("s3")


@pytest.fixture(scope="session")
def bucket_names() -> Iterator[str]:
    return (f"bucket-{number}" for number in itertools.count(1))


@pytest.fixture
def buckets(radosgw_s3: Any, bucket_names: Iterator[str]) -> Callable[[], str]:
    """Make a fresh bucket on radosgw at every call; they go when the server does."""

    def make() -> str:
        name = next(bucket_names)
        radosgw_s3.create_bucket(Bucket=name)
        return name

    return make


@pytest.fixture
def bucket(buckets: Callable[[], str]) -> str:
    """A fresh bucket on radosgw."""
    return buckets()
