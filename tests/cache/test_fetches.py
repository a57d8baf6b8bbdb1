"""Which buffers a long answer takes, and when; a thread stands for the worker that fills them."""

import threading

import pytest

from s3rolefs.cache import fetches
from s3rolefs.cache.blocks import ObjectVersion
from s3rolefs.cache.buffers import BLOCK_BYTES, BufferPool
from s3rolefs.cache.fetches import Fetch
from s3rolefs.model import Key
from tests.bed.patience import wait_until

BLOCKS = 40
VERSION = ObjectVersion(key=Key("k"), etag="e", size_bytes=BLOCKS * BLOCK_BYTES, token="k")


@pytest.fixture
def lent(monkeypatch):
    """Count the buffers that were lent."""
    counted = []
    lend = BufferPool.lend
    monkeypatch.setattr(BufferPool, "lend", lambda self, size: counted.append(size) or lend(self, size))
    return counted


@pytest.fixture
async def filling(lent):
    """Start a thread that asks for all buffers of a fetch from block 10 on."""
    threads = []

    def start(fetch):
        threads.append(threading.Thread(target=lambda: [fetch[index] for index in range(len(fetch))]))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


async def test_a_long_answer_takes_its_memory_as_it_comes(lent):
    fetch = Fetch(VERSION, 0, BLOCKS, BufferPool())
    assert (len(fetch), fetch.left_bytes, lent) == (BLOCKS, VERSION.size_bytes, [])
    assert fetch[0] is fetch[0]
    assert len(lent) == 1


async def test_a_reader_that_lags_holds_its_answer_up(lent, filling, monkeypatch):
    monkeypatch.setattr(fetches, "_PATIENCE_SECONDS", 60)
    fetch = Fetch(VERSION, 10, 30, BufferPool())
    fetch.keep_pace()
    filling(fetch)
    for place in (0, 3, 9):
        fetch.reach(10 + place)
        wait_until(lambda place=place: len(lent) >= 16 + place, 10)
        assert len(lent) == 16 + place
    fetch.reach(39)
    wait_until(lambda: len(lent) == 30, 10)


async def test_but_not_for_long(lent, filling, monkeypatch):
    monkeypatch.setattr(fetches, "_PATIENCE_SECONDS", 0.2)
    fetch = Fetch(VERSION, 0, BLOCKS, BufferPool())
    fetch.keep_pace()
    filling(fetch)
    wait_until(lambda: len(lent) == BLOCKS, 10)
    assert fetch.was_held_up


async def test_an_abandoned_fetch_holds_nobody_up(lent, filling, monkeypatch):
    monkeypatch.setattr(fetches, "_PATIENCE_SECONDS", 60)
    fetch = Fetch(VERSION, 0, BLOCKS, BufferPool())
    fetch.keep_pace()
    filling(fetch)
    wait_until(lambda: len(lent) == 16, 10)
    fetch.abandon()
    wait_until(lambda: len(lent) == BLOCKS, 10)


async def test_without_a_reader_in_order_nothing_is_held_up(lent, filling):
    filling(Fetch(VERSION, 0, BLOCKS, BufferPool()))
    wait_until(lambda: len(lent) == BLOCKS, 0.5)


async def test_the_loop_is_never_held_up(lent, monkeypatch):
    """A small rest of an answer is received there."""
    monkeypatch.setattr(fetches, "_PATIENCE_SECONDS", 60)
    fetch = Fetch(VERSION, 0, BLOCKS, BufferPool())
    fetch.keep_pace()
    assert len(fetch[BLOCKS - 1]) == BLOCK_BYTES
    assert (len(lent), fetch.was_held_up) == (1, False)
