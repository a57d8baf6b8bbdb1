import itertools

from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.fs.ranges import Ranges

SPAN = 40
spans = st.tuples(st.integers(0, SPAN), st.integers(0, SPAN)).map(sorted)
steps = st.lists(st.one_of(st.tuples(st.just("add"), spans), st.tuples(st.just("cut"), st.integers(0, SPAN))))


@given(steps=steps, window=spans)
def test_ranges_are_a_set_of_bytes(steps, window):
    ranges, model = Ranges(), set()
    for step, value in steps:
        if step == "add":
            ranges.add(*value)
            model |= set(range(*value))
        else:
            ranges.cut(value)
            model = {byte for byte in model if byte < value}
    pieces = list(ranges)
    assert {byte for start, end in pieces for byte in range(start, end)} == model
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(pieces))
    assert bool(ranges) == bool(model)
    start, end = window
    assert {byte for gap in ranges.missing(start, end) for byte in range(*gap)} == set(
        range(start, end)
    ) - model
    assert ranges.first_gap() == next(byte for byte in range(SPAN + 1) if byte not in model)
    ranges.clear()
    assert not ranges
