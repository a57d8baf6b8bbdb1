"""Hold the arithmetic of renewal to ROLES.md for every life, failure count and chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.errors import Reason
from s3rolefs.roles import schedule

chances = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


@given(life=st.floats(min_value=1.7, max_value=3600.0), chance=chances)
def test_a_life_up_to_an_hour_is_renewed_after_60_to_67_percent(life, chance):
    assert 0.5999 <= schedule.renewal_delay(life, chance) / life <= 0.6701


@given(life=st.floats(min_value=3600.1, max_value=43200.0), chance=chances)
def test_a_longer_life_is_renewed_20_to_24_minutes_before_its_end(life, chance):
    assert 1199.9 <= life - schedule.renewal_delay(life, chance) <= 1440.1


@given(life=st.floats(min_value=0.001, max_value=1.4), chance=chances)
def test_nothing_is_renewed_within_its_first_second(life, chance):
    assert schedule.renewal_delay(life, chance) == 1.0


@given(chance=chances)
def test_both_rules_meet_at_an_hour(chance):
    hour, more = schedule.renewal_delay(3600.0, chance), schedule.renewal_delay(3600.0001, chance)
    assert abs(hour - more) < 13  # two thirds of an hour are 2400 s, 67 percent are 2412 s


def test_an_unknown_life_is_looked_at_again_after_five_minutes():
    assert schedule.renewal_delay(None, 0.5) == 300
    assert schedule.repeat_delay(None) == 300


@given(left=st.floats(min_value=0.0, max_value=43200.0))
def test_a_source_that_repeats_itself_is_asked_again_before_the_session_ends(left):
    assert 1 <= schedule.repeat_delay(left) <= 300
    assert schedule.repeat_delay(left) <= max(1.0, left / 10)


transient = st.sampled_from([Reason.UNREACHABLE, Reason.SESSION_MISSING, Reason.SESSION_EXPIRED])


@given(reason=transient, failures=st.integers(1, 10_000), chance=chances)
def test_transient_failures_back_off_with_full_jitter_to_a_minute(reason, failures, chance):
    delay = schedule.retry_delay(reason, failures, 0.0, chance)
    assert 0.2 <= delay <= min(60.0, 2.0 ** (min(failures, 20) - 1))
    if chance > 0.3:
        assert delay == pytest.approx(chance * min(60.0, 2.0 ** (min(failures, 20) - 1)))


@given(failures=st.integers(1, 100), left=st.floats(min_value=2.0, max_value=900.0), chance=chances)
def test_near_the_end_of_a_session_a_retry_takes_a_tenth_of_what_is_left(failures, left, chance):
    assert schedule.retry_delay(Reason.UNREACHABLE, failures, left, chance) <= max(0.2, left / 10)


@given(failures=st.integers(1, 100), left=st.floats(min_value=0.0, max_value=900.0), chance=chances)
def test_a_refusal_is_asked_again_slowly_however_near_the_end(failures, left, chance):
    assert 60 <= schedule.retry_delay(Reason.ROLE_REFUSED, failures, left, chance) <= 300


@given(
    boot=st.floats(min_value=0, max_value=1e7),
    slept=st.floats(min_value=0, max_value=1e6),
    step=st.floats(min_value=-1e5, max_value=1e5),
)
def test_a_step_of_the_wall_clock_is_told_from_suspend(boot, slept, step):
    offset = 1_800_000_000.0
    now = boot + slept
    seen = schedule.clock_step(offset, wall_seconds=offset + now + step, boot_seconds=now)
    if abs(step) > 2.1:
        assert seen == pytest.approx(step, abs=0.01)
    elif abs(step) < 1.9:
        assert seen == 0.0
