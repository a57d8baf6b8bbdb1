import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3rolefs.fs.parts import LARGEST_FILE_BYTES, STREAM_PART_BYTES, plan_parts, stream_part, stream_part_at
from s3rolefs.fs.ranges import Ranges
from s3rolefs.model import GIB, MIB

sizes = st.one_of(st.integers(1, LARGEST_FILE_BYTES), st.integers(1, 200 * MIB))


@st.composite
def edits(draw):
    """Return a size, a base size and the ranges that were changed: all beyond the base is."""
    size = draw(sizes)
    base = draw(st.one_of(st.just(0), st.integers(0, size), st.just(size), st.integers(size, 2 * size)))
    changed = Ranges()
    changed.add(min(base, size), size)
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, size))
        changed.add(start, min(size, start + draw(st.sampled_from([1, 4096, MIB, 20 * MIB, GIB]))))
    return size, base, changed


@given(edits())
@example((LARGEST_FILE_BYTES, 0, Ranges()))
@example((16 * MIB, 16 * MIB, Ranges()))
def test_parts_cover_the_file_within_s3s_limits(edit):
    size, base, changed = edit
    parts = plan_parts(size, base, changed)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert len(parts) <= 10_000
    position = 0
    for part in parts:
        assert part.offset == position
        position += part.length
        assert part.length <= 5 * GIB
        assert part.length >= 5 * MIB or part is parts[-1]
        if part.copied:
            assert part.offset + part.length <= base
            assert not changed.touches(part.offset, part.offset + part.length)
    assert position == size


@pytest.mark.parametrize("size", [64 * GIB, LARGEST_FILE_BYTES])
def test_changes_all_over_a_file_do_not_make_too_many_parts(size):
    for apart in (8 * MIB, 20 * MIB, size // 3500, size // 3000, size // 1000):
        changed = Ranges()
        for start in range(0, size, max(apart, size // 20_000)):
            changed.add(start, start + 1)
        assert len(plan_parts(size, size, changed)) <= 10_000


@pytest.mark.parametrize(
    ("size", "copies"),
    [(20 * MIB, 1), (256 * MIB, 1), (GIB, 4), (4 * GIB, 8), (5 * GIB, 10), (64 * GIB, 128)],
)
def test_what_is_unchanged_is_copied_in_few_ranges_at_once(size, copies):
    changed = Ranges()
    changed.add(size, size + 1)
    assert [part.copied for part in plan_parts(size + 1, size, changed)] == [True] * copies + [False]


@given(st.integers(0, LARGEST_FILE_BYTES - 1))
@example(LARGEST_FILE_BYTES - 1)
@example(0)
def test_streamed_parts_lie_one_behind_the_other(offset):
    number = stream_part_at(offset)
    part = stream_part(number)
    assert 1 <= number <= 10_000
    assert part.offset <= offset < part.offset + part.length
    assert STREAM_PART_BYTES <= part.length <= 5 * GIB
    assert stream_part(number + 1).offset == part.offset + part.length
    assert stream_part_at(part.offset) == stream_part_at(part.offset + part.length - 1) == number


def test_the_first_streamed_part_begins_at_the_beginning():
    assert stream_part(1).offset == 0
