"""What is written down, and when; the disk is a fake where it has to be slow."""

import threading
from contextlib import asynccontextmanager

import pytest
import trio

from s3rolefs.cache import recollection
from s3rolefs.cache.background import Background
from s3rolefs.cache.listings import NOTHING
from s3rolefs.cache.metadata import MetadataCache
from s3rolefs.cache.recollection import Recollection
from s3rolefs.model import Key, ObjectInfo

SECOND_NS = 10**9
NOW_NS = 1_700_000_000 * SECOND_NS


def described(key, *, etag="e", modified_ns=NOW_NS, asked_ns=NOW_NS + 60 * SECOND_NS, mode="1"):
    return ObjectInfo(
        key=Key(key),
        size_bytes=1,
        etag=etag,
        last_modified_ns=modified_ns,
        metadata={"mode": mode},
        asked_at_ns=asked_ns,
    )


class Disk:
    """Stand for the file; hangs while told to."""

    def __init__(self):
        self.records = {}
        self.calls = []
        self.works = threading.Event()
        self.works.set()

    def read(self, keys):
        self.calls.append("read")
        self.works.wait()
        return [self.records[key] for key in keys if key in self.records]

    def write(self, records):
        self.calls.append("write")
        self.works.wait()
        for key, info in records.items():
            self.records.pop(key, None)
            if info is not None:
                self.records[key] = info

    def close(self):
        self.calls.append("close")

    async def written(self, condition):
        for _ in range(200):
            await trio.sleep(1)
            if condition():
                return
        raise AssertionError


@pytest.fixture
def disk():
    made = Disk()
    yield made
    made.works.set()


@pytest.fixture
def jumping(autojump_clock):
    """Jump only when the thread, too, has had time to answer."""
    autojump_clock.autojump_threshold = 0.03
    return autojump_clock


@asynccontextmanager
async def remembering(disk, clock):
    """Yield a cache above the disk; everything that is due is on it afterwards."""
    async with trio.open_nursery() as nursery:
        made = Recollection(disk, Background(nursery), clock)
        yield MetadataCache(clock, ttl_seconds=10, recollection=made)
        await made.aclose()
        nursery.cancel_scope.cancel()


async def test_only_an_answer_that_is_surely_older_than_its_second_is_written_down(disk, clock):
    async with remembering(disk, clock) as cache:
        cache.remember(described("settled", asked_ns=NOW_NS + 2 * SECOND_NS), 0)
        cache.remember(described("racy", asked_ns=NOW_NS + 2 * SECOND_NS - 1), 0)
        cache.remember(described("undated", asked_ns=0), 0)
        cache.remember(described("marker/"), 0)
    assert set(disk.records) == {"settled", "marker/"}
    assert disk.calls == ["write", "close"]


async def test_own_changes_replace_and_remove_records(disk, clock):
    disk.records = {Key(key): described(key) for key in ("changed", "removed", "doubted", "kept")}
    async with remembering(disk, clock) as cache:
        cache.changed("", "changed", described("changed", mode="2", asked_ns=0))
        cache.changed("", "removed", NOTHING)
        cache.doubt("", "doubted")
        clock.advance(2)
    assert {key: info.metadata["mode"] for key, info in disk.records.items()} == {"changed": "2", "kept": "1"}


async def test_an_own_change_is_written_down_when_no_later_one_can_look_the_same(disk, clock, jumping):
    async with remembering(disk, clock) as cache:
        cache.changed("", "young", described("young", asked_ns=0))
        await trio.sleep(5)
        assert disk.calls == []
        cache.changed("", "young", described("young", mode="2", asked_ns=0))
        clock.advance(2)
        await disk.written(lambda: disk.calls)
        assert disk.records["young"].metadata == {"mode": "2"}
        cache.changed("", "younger", described("younger", asked_ns=0))
    # The end does not wait.
    assert set(disk.records) == {"young"}


async def test_an_answer_older_than_an_own_change_is_not_written_down(disk, clock):
    async with remembering(disk, clock) as cache:
        cache.changed("", "k", described("k", mode="own", asked_ns=0))
        cache.remember(described("k", mode="older"), 0)
        clock.advance(2)
    assert disk.records["k"].metadata == {"mode": "own"}


async def test_records_are_believed_for_the_version_that_a_listing_names(disk, clock):
    disk.records = {Key(key): described(key) for key in ("same", "etag", "time", "own")}
    async with remembering(disk, clock) as cache:
        asked_after = cache.changes
        cache.changed("", "own", described("own", mode="2", asked_ns=0))
        listed = [
            described("same", modified_ns=NOW_NS + SECOND_NS - 1),
            described("etag", etag="other"),
            described("time", modified_ns=NOW_NS + SECOND_NS),
            described("own"),
            described("unknown"),
        ]
        await cache.recall(listed, asked_after)
        known = {info.key: cache.full(info) for info in listed}
        assert [key for key, info in known.items() if info is not None] == ["same", "own"]
        assert known["own"].metadata == {"mode": "2"}
        await cache.recall([listed[0]], cache.changes)
        assert disk.calls == ["read"]  # what is known in memory is not read again


async def test_a_disk_that_hangs_holds_up_one_page_and_for_a_second(disk, clock, jumping):
    disk.records = {Key("k"): described("k")}
    disk.works.clear()
    async with remembering(disk, clock) as cache:
        began = trio.current_time()
        for _ in range(5):
            await cache.recall([described("k")], cache.changes)
        assert trio.current_time() - began == pytest.approx(1)
        assert cache.full(described("k")) is None
        disk.works.set()
        while cache.full(described("k")) is None:
            await trio.sleep(0.1)
            await cache.recall([described("k")], cache.changes)


async def test_a_disk_that_hangs_holds_up_the_end_for_seconds_only(disk, clock, jumping):
    disk.works.clear()
    began = trio.current_time()
    async with remembering(disk, clock) as cache:
        cache.remember(described("k"), 0)
    assert trio.current_time() - began <= 5
    assert disk.records == {}


async def test_what_waits_for_the_disk_is_bounded(disk, clock, monkeypatch):
    monkeypatch.setattr(recollection, "WAITING_LIMIT", 10)
    async with remembering(disk, clock) as cache:
        for number in range(100):
            cache.remember(described(f"{number:03}"), 0)
    assert sorted(disk.records) == [f"{number:03}" for number in range(90, 100)]


async def test_records_are_written_in_batches(disk, clock, jumping):
    async with remembering(disk, clock) as cache:
        for number in range(100):
            cache.remember(described(f"{number:03}"), 0)
            if number % 20 == 0:
                await trio.sleep(0.25)
        await disk.written(lambda: len(disk.records) == 100)
        assert disk.calls.count("write") <= 3
