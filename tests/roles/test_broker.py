"""Hold the broker to ROLES.md: states, renewal, single flight, waits, rejection, suspend."""

import json
import math
import timeit

import pytest
import trio

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.record import State


def expired(sentence="The file has expired."):
    return CredentialsError(Reason.SESSION_EXPIRED, sentence)


# Renewal --------------------------------------------------------------------------------------


async def test_sessions_of_ten_seconds_cost_9_to_22_fetches_in_100_seconds(clock, source, running):
    source.life_seconds = 10.0
    source.delay_seconds = 0.05
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        for _ in range(1000):
            await trio.sleep(0.1)
            assert broker.peek() is not None
            await broker.get()
    assert 9 <= len(source.fetched_at) <= 22
    assert broker.record.first_wait_seconds == pytest.approx(0.05)
    assert broker.record.longest_wait_seconds == 0
    assert broker.record.waits == 1001


async def test_a_session_of_900_seconds_costs_at_most_two_fetches_in_ten_minutes(clock, source, running):
    async with running(Broker(source, clock=clock)):
        await trio.sleep(599)
    assert len(source.fetched_at) <= 2


async def test_sessions_of_one_second_are_served(clock, source, running):
    source.life_seconds = 1.0
    source.delay_seconds = 0.01
    async with running(Broker(source, clock=clock)) as broker:
        for _ in range(100):
            assert (await broker.get()).expires_at > clock.wall_seconds()
            await trio.sleep(0.1)
    assert broker.record.longest_wait_seconds < 0.1


async def test_generations_increase_by_one(clock, source, running):
    source.life_seconds = 10.0
    async with running(Broker(source, clock=clock)) as broker:
        seen = []
        for _ in range(30):
            seen.append((await broker.get()).generation)
            await trio.sleep(1)
    assert sorted(set(seen)) == list(range(1, seen[-1] + 1))
    assert seen == sorted(seen)


async def test_500_callers_on_a_cold_broker_cost_one_fetch(clock, source, running):
    source.delay_seconds = 2.0
    answers = []

    async def ask(broker):
        answers.append(await broker.get())

    async with running(Broker(source, clock=clock)) as broker:
        await trio.sleep(0.1)
        assert broker.state is State.FETCHING
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(ask, broker)
    assert {answer.generation for answer in answers} == {1}
    assert len(answers) == 500
    assert len(source.fetched_at) == 1


async def test_without_renewal_a_session_ends_and_the_error_comes_at_once(clock, source, running):
    source.life_seconds = 10.0
    async with running(Broker(source, clock=clock, renew=False)) as broker:
        await broker.get()
        await trio.sleep(10.001)
        started = trio.current_time()
        with pytest.raises(CredentialsError) as caught:
            await broker.get()
        assert trio.current_time() == started
        assert not await broker.reject(1, code="ExpiredToken")
        with pytest.raises(UserError):
            await broker.refresh()
    assert caught.value.reason is Reason.SESSION_EXPIRED
    assert len(source.fetched_at) == 1


async def test_a_session_without_expiry_is_read_again_every_five_minutes(clock, source, running):
    source.life_seconds = None
    async with running(Broker(source, clock=clock)) as broker:
        await trio.sleep(601)
        assert broker.state is State.FRESH
    assert len(source.fetched_at) == 3


async def test_the_same_keys_again_are_no_new_generation(clock, source, running):
    source.life_seconds = 100.0
    source.same_keys = True
    async with running(Broker(source, clock=clock)) as broker:
        await trio.sleep(95)
        snapshot = broker.peek()
    assert len(source.fetched_at) > 2
    assert snapshot.generation == 1


async def test_a_changed_file_is_read_within_two_seconds(clock, source, running):
    source.renews_on_change = True
    source.file_version = 1
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.file_version = 2
        await trio.sleep(2)
        assert broker.peek().generation == 2
        await trio.sleep(60)
        assert broker.peek().generation == 2


async def test_a_change_during_a_fetch_is_noticed_after_it(clock, source, running):
    source.renews_on_change = True
    source.file_version = 1
    source.delay_seconds = 0.9
    async with running(Broker(source, clock=clock)) as broker:
        await trio.sleep(0.5)
        source.file_version = 2
        await trio.sleep(3)
        assert broker.generation == 2


async def test_a_change_below_an_assumed_role_matters_only_after_a_failure(clock, source, running, refused):
    source.file_version = 1
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.file_version = 2
        await trio.sleep(10)
        assert len(source.fetched_at) == 1
        source.trouble = refused
        with pytest.raises(CredentialsError):
            await broker.refresh()
        source.trouble = None
        source.file_version = 3
        await trio.sleep(2)
        assert broker.peek().generation == 2


async def test_a_forced_refresh_brings_the_next_generation(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        first = await broker.get()
        second = await broker.refresh()
        assert second.generation == first.generation + 1
        assert broker.peek() is second


async def test_a_failed_refresh_tells_why_and_leaves_the_session(clock, source, running, unreachable):
    async with running(Broker(source, clock=clock)) as broker:
        first = await broker.get()
        source.trouble = unreachable
        with pytest.raises(CredentialsError, match="cannot be reached"):
            await broker.refresh()
        assert broker.peek() is first
        assert broker.state is State.VALID_BUT_STALE
        source.hang()
        with trio.fail_after(31), pytest.raises(CredentialsError, match="No answer"):
            await broker.refresh()


# Trouble --------------------------------------------------------------------------------------


async def test_a_black_holed_sts_delays_nobody_until_the_session_ends(clock, source, running):
    source.life_seconds = 20.0
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        await trio.sleep(10)
        source.hang()
        while trio.current_time() < 19.9:
            assert (await broker.get()).generation == 1
            await trio.sleep(0.1)
        assert broker.state is State.REFRESHING
        assert broker.record.longest_wait_seconds == 0
        await trio.sleep(0.2)
        assert broker.peek() is None
        assert broker.state is State.EXPIRED
        started = trio.current_time()
        with pytest.raises(CredentialsError) as caught:
            await broker.get()
    assert trio.current_time() - started == pytest.approx(30.0)
    assert caught.value.reason is Reason.SESSION_EXPIRED


async def test_failures_near_the_end_are_retried_until_the_last_moment(clock, source, running, unreachable):
    source.life_seconds = 100.0
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.trouble = unreachable
        await trio.sleep(99)
        assert broker.state is State.VALID_BUT_STALE
        assert 8 < len(source.fetched_at) < 120
        source.trouble = None
        await trio.sleep(0.9)
        assert broker.peek().generation == 2
        assert broker.state is State.FRESH


async def test_an_expired_session_heals_soon_after_its_source_does(clock, source, running, unreachable):
    source.life_seconds = 10.0
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.trouble = unreachable
        await trio.sleep(600)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.get)
            await trio.sleep(3)
            source.trouble = None
    assert broker.record.longest_wait_seconds <= 10


async def test_a_service_out_of_reach_at_first_is_waited_for(clock, source, running, unreachable):
    source.trouble = unreachable
    async with running(Broker(source, clock=clock)) as broker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.get)
            await trio.sleep(15)
            source.trouble = None
        assert broker.peek() is not None
    assert 15 <= broker.record.first_wait_seconds <= 20


async def test_never_reached_is_unreachable_after_cred_wait(clock, source, running, unreachable):
    source.trouble = unreachable
    async with running(Broker(source, clock=clock, cred_wait_seconds=7.0)) as broker:
        with pytest.raises(CredentialsError, match="cannot be reached") as caught:
            await broker.get()
        assert broker.state in (State.EMPTY, State.FETCHING)
    assert caught.value.reason is Reason.UNREACHABLE
    assert trio.current_time() == pytest.approx(7.0)


async def test_a_refusal_is_told_at_once_and_asked_again_slowly(clock, source, running, refused):
    source.trouble = refused
    async with running(Broker(source, clock=clock)) as broker:
        for _ in range(3):
            with pytest.raises(CredentialsError, match="STS refuses") as caught:
                await broker.get()
        assert trio.current_time() == 0
        assert broker.state is State.DENIED
        await trio.sleep(600)
        assert 2 <= len(source.fetched_at) <= 8
        source.trouble = None
        await broker.refresh()
        assert broker.state is State.FRESH
    assert caught.value.reason is Reason.ROLE_REFUSED


async def test_missing_credentials_are_told_at_once_and_found_when_they_appear(clock, source, running):
    source.trouble = CredentialsError(Reason.SESSION_MISSING, "There is no file.")
    source.file_version = 0
    async with running(Broker(source, clock=clock)) as broker:
        with pytest.raises(CredentialsError, match="There is no file"):
            await broker.get()
        assert broker.state is State.NEEDS_USER
        source.trouble, source.file_version = None, 1
        await trio.sleep(1.5)
        assert broker.state is State.FRESH


async def test_a_session_that_comes_expired_is_refused(clock, source, running):
    source.life_seconds = -5.0
    async with running(Broker(source, clock=clock)) as broker:
        with pytest.raises(CredentialsError, match="has expired") as caught:
            await broker.get()
        assert broker.state is State.NEEDS_USER
    assert caught.value.reason is Reason.SESSION_EXPIRED


async def test_an_expired_file_is_waited_for_once_it_had_worked(clock, source, running):
    source.life_seconds = 10.0
    source.file_version = 0
    source.renews_on_change = True
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.trouble = expired()
        await trio.sleep(11)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.get)
            await trio.sleep(10)
            source.trouble, source.file_version = None, 1
    assert 9 < broker.record.longest_wait_seconds < 13


# Clocks ---------------------------------------------------------------------------------------


async def test_after_a_suspend_the_session_is_gone_or_renewed_within_five_seconds(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        clock.slept_seconds = 7200.0
        await trio.sleep(5.1)
        assert broker.peek().generation == 2
        source.hang()
        clock.slept_seconds += 7200.0
        await trio.sleep(5.1)
        assert broker.peek() is None


@pytest.mark.parametrize("step", [1200.0, -1200.0, 86400.0])
async def test_a_clock_that_is_set_costs_one_renewal_and_never_the_session(clock, source, running, step):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        clock.set_by_seconds = step
        for _ in range(100):
            assert broker.peek() is not None
            await trio.sleep(0.1)
        assert broker.peek().generation == 2
        await trio.sleep(400)
        assert len(source.fetched_at) == 2


async def test_a_clock_that_was_slow_when_the_session_came_is_found_out(clock, source, running):
    """A life that looks 20 minutes longer than it is, until the clock is set right."""
    source.life_seconds = 900.0 + 1200.0
    clock.set_by_seconds = -1200.0
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.life_seconds = 900.0
        clock.set_by_seconds = 0.0
        await trio.sleep(6)
        assert broker.peek().generation == 2
        assert broker.describe()["next_refresh_at"] <= clock.wall_seconds() + 0.67 * 900


async def test_slewing_is_no_step(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        for _ in range(50):
            clock.set_by_seconds += 0.5
            await trio.sleep(5)
    assert len(source.fetched_at) == 1


# Rejection ------------------------------------------------------------------------------------


async def test_an_expired_token_forces_one_renewal_for_all_who_saw_it(clock, source, running):
    source.delay_seconds = 0.5
    answers = []

    async def reject(broker):
        answers.append(await broker.reject(1, code="ExpiredToken"))

    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(reject, broker)
        assert answers == [True] * 100
        assert broker.generation == 2
        assert await broker.reject(1, code="AccessDenied")
    assert len(source.fetched_at) == 2
    assert broker.record.forced == 1


async def test_an_early_revocation_costs_one_renewal(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        assert await broker.reject(1, code="AccessDenied", worked=True)
        assert broker.peek().generation == 2


async def test_a_young_session_that_never_worked_is_refused_for_good_reason(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        assert not await broker.reject(1, code="AccessDenied")
        await trio.sleep(31)
        assert await broker.reject(1, code="403")
    assert len(source.fetched_at) == 2


async def test_a_thousand_genuine_denials_cost_one_fetch_per_session(clock, source, running):
    """As a client does: ask, be refused, renew, repeat once, be refused again."""
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        for _ in range(1000):
            generation = broker.peek().generation
            if await broker.reject(generation, code="AccessDenied", worked=True):
                assert not await broker.reject(broker.peek().generation, code="AccessDenied", worked=True)
            await trio.sleep(0.4)
        assert trio.current_time() < 0.60 * 900  # so there was no scheduled renewal
    assert len(source.fetched_at) == 2


async def test_forced_renewals_keep_five_seconds_distance(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        for _ in range(4):
            assert await broker.reject(broker.generation, code="InvalidToken")
    gaps = [
        later - earlier for earlier, later in zip(source.fetched_at[1:], source.fetched_at[2:], strict=False)
    ]
    assert gaps == pytest.approx([5.0, 5.0, 5.0])


async def test_a_denial_while_sts_is_away_is_answered_after_one_try(clock, source, running, unreachable):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.trouble = unreachable
        assert not await broker.reject(1, code="AccessDenied", worked=True)
        fetched = len(source.fetched_at)
        assert not await broker.reject(1, code="AccessDenied", worked=True)
        assert trio.current_time() < 0.1
        assert len(source.fetched_at) == fetched == 2


async def test_an_expired_token_waits_until_sts_is_back(clock, source, running, unreachable):
    async with running(Broker(source, clock=clock, chance=lambda: 0.5)) as broker:
        await broker.get()
        source.trouble = unreachable
        answers = []
        async with trio.open_nursery() as nursery:

            async def reject():
                answers.append(await broker.reject(1, code="ExpiredToken"))

            nursery.start_soon(reject)
            await trio.sleep(10)
            source.trouble = None
    assert answers == [True]


async def test_an_expired_token_waits_no_longer_than_cred_wait(clock, source, running):
    async with running(Broker(source, clock=clock, cred_wait_seconds=4.0)) as broker:
        await broker.get()
        source.hang()
        assert not await broker.reject(1, code="ExpiredToken")
    assert trio.current_time() == pytest.approx(4.0)


async def test_a_triple_that_cannot_change_is_given_up_at_once(clock, source, running):
    source.same_keys, source.life_seconds = True, None
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        for _ in range(3):
            assert not await broker.reject(1, code="ExpiredToken")
    assert trio.current_time() == 0
    assert len(source.fetched_at) == 2


async def test_a_wrong_clock_is_no_reason_to_renew(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        await trio.sleep(60)
        assert not await broker.reject(1, code="RequestTimeTooSkewed", worked=True)
    assert len(source.fetched_at) == 1


# What is shown ---------------------------------------------------------------------------------


async def test_describe_is_json_without_secrets(clock, source, running, unreachable, secrets):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        source.trouble = unreachable
        with pytest.raises(CredentialsError):
            await broker.refresh()
        described = broker.describe()
        shown = json.dumps(described) + repr(broker) + repr(broker.record) + repr(vars(broker))
    assert not [secret for secret in (*secrets, "ASIA1") if secret in shown]
    assert described["state"] == "valid but stale"
    assert described["arn"] == "arn:aws:sts::111122223333:assumed-role/data/test"
    assert described["last_error"] == "STS cannot be reached."
    assert (described["fetches"], described["failures"], described["generation"]) == (2, 1, 1)
    assert described["expires_at"] == pytest.approx(clock.wall_seconds() + 900, abs=1)
    assert clock.wall_seconds() <= described["next_refresh_at"] < math.inf


async def test_peek_costs_at_most_five_attribute_reads(clock, source, running):
    async with running(Broker(source, clock=clock)) as broker:
        await broker.get()
        names = {"broker": broker, "snapshot": broker.peek()}

        def seconds(statement):
            return timeit.timeit(statement, globals=names, number=10_000)

        # Side by side, so that a busy machine slows both; the best of each is what they cost.
        pairs = [(seconds("broker.peek()"), seconds("snapshot.generation")) for _ in range(50)]
    peek, plain = (min(column) for column in zip(*pairs, strict=True))
    assert peek <= 5 * plain
