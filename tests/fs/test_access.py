import random

from s3rolefs.fs.access import Access, Pattern
from s3rolefs.model import KIB, MIB


def follow(*reads):
    pattern = Pattern()
    return [pattern.follow(offset, offset + size) for offset, size in reads], pattern


def test_reads_in_order_are_onward_also_when_two_change_places():
    kinds, pattern = follow((0, MIB), (2 * MIB, MIB), (MIB, MIB), (3 * MIB, MIB))
    assert kinds == [Access.ONWARD] * 4
    assert pattern.run == 1


def test_one_read_that_strays_does_not_end_a_run():
    kinds, pattern = follow((0, MIB), (MIB, MIB), (900 * MIB, 8), (2 * MIB, MIB))
    assert kinds == [Access.ONWARD, Access.ONWARD, Access.LONE, Access.ONWARD]
    assert pattern.run == 1


def test_reading_on_elsewhere_is_another_run():
    kinds, pattern = follow((0, MIB), (500 * MIB, MIB), (501 * MIB, MIB), (0, MIB), (MIB, MIB))
    assert kinds == [Access.ONWARD, Access.LONE, Access.ONWARD, Access.LONE, Access.ONWARD]
    assert (pattern.run, pattern.run_began) == (3, 0)


def test_from_the_end_to_the_beginning():
    kinds, _ = follow(*[(place, 64 * KIB) for place in range(20 * MIB, 10 * MIB, -64 * KIB)])
    assert set(kinds[3:]) == {Access.BACKWARD}


def test_equal_steps_are_strides_both_ways():
    for begin, step in ((0, 5 * MIB), (400 * MIB, -5 * MIB)):
        kinds, pattern = follow(*[(begin + place * step, 4 * KIB) for place in range(10)])
        assert set(kinds[3:]) == {Access.STRIDED}
        assert pattern.step == step


def test_chance_is_nothing_of_the_kind():
    chance = random.Random(1)
    kinds, _ = follow(*[(chance.randrange(1 << 40), 4 * KIB) for _ in range(500)])
    assert set(kinds) == {Access.LONE}
