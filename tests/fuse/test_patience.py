import os
import time

import pytest
import trio

from s3rolefs.fuse.patience import QUICK_SECONDS, REQUESTS_IN_A_ROW, Lowlevel, Turn


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


class CountingPoll:
    """Say that nothing is there, and count who asks."""

    def __init__(self):
        self.asked = 0

    def poll(self, _timeout):
        self.asked += 1
        return []


async def test_other_tasks_have_their_turn_while_requests_never_cease(pipe):
    reader, writer = pipe
    os.write(writer, b"always readable")
    lowlevel = Lowlevel()
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await lowlevel.wait_readable(reader)
        lowlevel._quick = True
        before = turns
        for _ in range(10 * (REQUESTS_IN_A_ROW + 1)):
            await lowlevel.wait_readable(reader)
        assert 8 <= turns - before <= 30
        nursery.cancel_scope.cancel()


async def test_nobody_polls_after_a_long_wait(pipe):
    reader, writer = pipe
    lowlevel = Lowlevel()

    async def answer_after(seconds):
        await trio.sleep(seconds)
        os.write(writer, b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_after, 50 * QUICK_SECONDS)
        await lowlevel.wait_readable(reader)
    assert not lowlevel._quick
    lowlevel._poll = counting = CountingPoll()
    await lowlevel.wait_readable(reader)
    assert not counting.asked


async def test_after_a_short_wait_the_next_request_is_polled_for_and_only_for_a_moment(pipe):
    reader, writer = pipe
    lowlevel = Lowlevel()
    os.write(writer, b"x")
    while not lowlevel._quick:  # another program may have held this one up
        await lowlevel.wait_readable(reader)
    lowlevel._poll = counting = CountingPoll()
    began = time.perf_counter()
    await lowlevel.wait_readable(reader)
    assert counting.asked
    assert time.perf_counter() - began < 1


async def test_who_has_the_turn_may_have_it_again_and_others_when_it_waits():
    turn = Turn()
    order = []

    async def take(name, times):
        for _ in range(times):
            async with turn:
                order.append(name)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await turn.__aenter__()
        nursery.start_soon(take, "second", 2)
        await trio.testing.wait_all_tasks_blocked()
        await turn.__aexit__()
        async with turn:
            order.append("first")
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert order == ["first", "second", "second"]
        nursery.cancel_scope.cancel()
