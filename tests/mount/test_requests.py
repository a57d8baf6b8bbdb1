"""What a mount costs in requests, counted between it and the server."""

import os
import time

import pytest

from tests.bed.mounts import run
from tests.bed.patience import wait_until
from tests.bed.relay import Relay

OBJECTS = 1000


@pytest.fixture
def relay(radosgw):
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


@pytest.fixture
def counted(place, bucket, relay):
    """A mount whose requests pass the relay, counted from when it is ready."""
    with place.mounted(f"s3://{bucket}", endpoint_url=relay.url, metadata_ttl=60) as mount:
        relay.reset()
        yield mount


@pytest.fixture
def thousand(radosgw_s3, bucket):
    """Fill the root of the bucket with objects of any S3 client."""
    for number in range(OBJECTS):
        radosgw_s3.put_object(Bucket=bucket, Key=f"object{number:04}", Body=b"x")


def shell(mount, command):
    return run("sh", "-c", command, cwd=mount.path).stdout


def test_the_page_that_says_it_is_ready_is_the_first_listing(thousand, place, bucket, relay):
    with place.mounted(f"s3://{bucket}", endpoint_url=relay.url, metadata_ttl=60) as mount:
        assert len(shell(mount, "ls | cat").splitlines()) == OBJECTS
        assert relay.counts == {"LIST": 1}


def test_ls_into_a_pipe_costs_one_list(thousand, place, bucket, relay):
    with place.mounted(f"s3://{bucket}", endpoint_url=relay.url, metadata_ttl=0.1) as mount:
        time.sleep(0.2)
        relay.reset()
        assert len(shell(mount, "ls | cat").splitlines()) == OBJECTS
        assert relay.counts == {"LIST": 1}


@pytest.mark.parametrize("options", [{}, {"metadata": "listing"}])
def test_a_walk_through_a_tree_costs_one_list(radosgw_s3, place, bucket, relay, options):
    size_bytes = 5000  # no symlink is so large: that it is a file needs no HEAD
    for number in range(200):
        key = f"top/d{number // 10:02}/f{number % 10}"
        radosgw_s3.put_object(Bucket=bucket, Key=key, Body=bytes(size_bytes))
    with place.mounted(f"s3://{bucket}", endpoint_url=relay.url, metadata_ttl=60, **options) as mount:
        assert len(shell(mount, "find top -type f").splitlines()) == 200
        assert relay.counts == {"LIST": 1}


def test_a_second_ls_l_costs_nothing(thousand, counted, relay):
    assert len(shell(counted, "ls -l").splitlines()) == OBJECTS + 1
    assert relay.counts == {"HEAD": OBJECTS}  # modes and owners stand in the metadata
    relay.reset()
    assert len(shell(counted, "ls -l").splitlines()) == OBJECTS + 1
    assert relay.counts == {}


def test_after_a_remount_ls_l_costs_the_listing_and_no_head(thousand, place, bucket, relay, radosgw_s3):
    options = {"endpoint_url": relay.url, "metadata_ttl": 60}
    newest = radosgw_s3.head_object(Bucket=bucket, Key=f"object{OBJECTS - 1:04}")["LastModified"]
    with place.mounted(f"s3://{bucket}", **options) as mount:
        # What is said of an object within two seconds of its change is not remembered.
        wait_until(lambda: time.time() > newest.timestamp() + 3, 10)
        listed = shell(mount, "ls -l")
        assert mount.ask("status")["requests"]["HEAD"] >= OBJECTS
        run("umount", mount.path)
        mount.wait_for_end()
    relay.reset()
    with place.mounted(f"s3://{bucket}", **options) as mount:
        assert shell(mount, "ls -l") == listed
        assert relay.counts == {"LIST": 1}
        assert "HEAD" not in mount.ask("status")["requests"]


def test_metadata_from_the_listing_costs_no_head(thousand, place, bucket, relay):
    options = {"endpoint_url": relay.url, "metadata_ttl": 60, "metadata": "listing"}
    with place.mounted(f"s3://{bucket}", **options) as mount:
        assert len(shell(mount, "ls -l").splitlines()) == OBJECTS + 1
        assert relay.counts == {"LIST": 1}


def test_echo_costs_one_put(counted, relay):
    shell(counted, "ls")
    relay.reset()
    shell(counted, "echo hi > f")
    assert relay.counts == {"PUT": 1}


def test_touch_costs_one_put(counted, relay):
    shell(counted, "ls")
    relay.reset()
    shell(counted, "touch f")
    run("umount", "-i", counted.path)
    counted.wait_for_end()
    assert relay.counts == {"PUT": 1}


def test_a_log_of_fifty_children_costs_fifty_puts(counted, relay):
    # The first overwrite of a mount finds out once what the service does with If-Match.
    shell(counted, "ls; echo a > other; echo b > other")
    relay.reset()
    shell(counted, "for i in $(seq 50); do /bin/echo line $i; done > log")
    assert relay.counts == {"PUT": 50}
    assert shell(counted, "cat log").splitlines() == [f"line {number}" for number in range(1, 51)]


def test_a_new_name_costs_a_head_and_a_list(place, bucket, relay):
    """Without a listing both are asked at once; with a complete one nothing is."""
    with place.mounted(f"s3://{bucket}", endpoint_url=relay.url, metadata_ttl=0.1) as mount:
        time.sleep(0.2)
        relay.reset()
        shell(mount, "echo hi > f")
        assert relay.counts == {"HEAD": 1, "LIST": 1, "PUT": 1}


def test_small_files_are_read_back_without_a_request(counted, relay):
    shell(counted, "echo hi > f")
    relay.reset()
    assert shell(counted, "cat f") == "hi\n"
    assert relay.counts == {}


@pytest.fixture
def large(radosgw_s3, bucket):
    """Fill the bucket with one large object; return its bytes."""
    content = os.urandom(32 << 20)
    radosgw_s3.put_object(Bucket=bucket, Key="large", Body=content)
    return content


def test_an_append_to_a_large_file_moves_only_the_end(large, counted, relay, radosgw_s3, bucket):
    shell(counted, "printf end >> large")
    assert relay.counts["UPLOAD_PART_COPY"] == 1
    assert relay.counts["UPLOAD_PART"] == 1
    assert relay.counts["GET"] == 0
    assert radosgw_s3.get_object(Bucket=bucket, Key="large")["Body"].read() == large + b"end"
