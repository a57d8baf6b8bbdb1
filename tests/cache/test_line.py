"""What is believed of the line to the store, with times that the test tells."""

import pytest
import trio

from s3rolefs.cache.line import Line
from s3rolefs.model import KIB, MIB

NEAR_SECONDS, FAR_SECONDS = 0.001, 0.02


@pytest.fixture
def line(mock_clock):
    return Line()


async def ask(line, clock, *parts, round_trip, rate):
    """Follow one request whose parts come one after the other."""
    flow = line.flow()
    clock.jump(round_trip)
    for size in parts:
        clock.jump(size / rate)
        flow.arrived(size, trio.current_time())
    flow.end()


@pytest.mark.parametrize(
    ("round_trip", "rate", "alone", "of_sixteen"),
    [
        (NEAR_SECONDS, 800 * MIB, 64 * KIB, 4 * KIB),
        (FAR_SECONDS, 500 * MIB, MIB, 64 * KIB),
        (0.2, 500 * MIB, 8 * MIB, 512 * KIB),
        (1.0, 500 * MIB, 16 * MIB, 2 * MIB),
    ],
)
async def test_a_lone_read_asks_for_what_costs_hardly_more_than_its_round_trip(
    line, mock_clock, round_trip, rate, alone, of_sixteen
):
    await ask(line, mock_clock, *[MIB] * 8, round_trip=round_trip, rate=rate)
    await ask(line, mock_clock, 4 * KIB, round_trip=round_trip, rate=rate)
    assert line.round_trip_seconds == pytest.approx(round_trip, rel=0.01)
    assert line.bytes_per_second == pytest.approx(rate)
    assert line.is_far == (round_trip > NEAR_SECONDS)
    assert (line.lone_bytes(1), line.lone_bytes(16)) == (alone, of_sixteen)


async def test_before_anything_was_asked_for_nothing_is_believed(line):
    assert (line.round_trip_seconds, line.is_far, line.streams, line.lone_bytes(1)) == (0, False, 1, 1)


async def test_a_busy_machine_does_not_make_a_line_far_but_a_longer_way_does(line, mock_clock):
    for round_trip in (NEAR_SECONDS, 0.3, 0.05):
        await ask(line, mock_clock, 4 * KIB, round_trip=round_trip, rate=800 * MIB)
    assert not line.is_far
    for _ in range(3):  # nothing better for more than a period
        mock_clock.jump(61)
        await ask(line, mock_clock, 4 * KIB, round_trip=FAR_SECONDS, rate=800 * MIB)
    assert line.round_trip_seconds == pytest.approx(FAR_SECONDS, rel=0.01)


async def read(line, clock, *, per_stream, in_all, seconds=1.0):
    """Read with as many requests at once as the line says, for a while; return how many that was."""
    streams = line.streams
    flows = [line.flow() for _ in range(streams)]
    clock.jump(FAR_SECONDS)
    rate = min(in_all, streams * per_stream)
    parts = int(seconds * rate / streams / MIB)
    for _ in range(parts):
        clock.jump(streams * MIB / rate)
        for flow in flows:
            flow.arrived(MIB, trio.current_time())
    for flow in flows:
        flow.end()
    return streams


async def test_more_requests_at_once_are_made_while_they_bring_more(line, mock_clock):
    tried = [await read(line, mock_clock, per_stream=100 * MIB, in_all=450 * MIB) for _ in range(8)]
    assert tried[:4] == [1, 2, 4, 8]
    assert set(tried[4:]) == {4}


async def test_one_request_at_once_stays_where_it_fills_the_line(line, mock_clock):
    tried = [await read(line, mock_clock, per_stream=400 * MIB, in_all=450 * MIB) for _ in range(6)]
    assert tried == [1, 2, 1, 1, 1, 1]


async def test_what_the_reader_held_up_says_nothing_of_the_line(line, mock_clock):
    await ask(line, mock_clock, *[MIB] * 4, round_trip=FAR_SECONDS, rate=400 * MIB)
    flow = line.flow()
    for _ in range(64):
        mock_clock.jump(1)
        flow.arrived(MIB, trio.current_time(), held_up=True)
    flow.end()
    assert line.bytes_per_second == pytest.approx(400 * MIB)
