"""What a mount survives when somebody sets its clock, or the machine has slept; radosgw's clock goes on."""

import time

import pytest

from tests.bed import driven
from tests.bed.driven import DrivenClock
from tests.bed.patience import wait_until
from tests.bed.relay import Relay
from tests.bed.traffic import Traffic
from tests.mount.test_survival import EVERYTHING

OFF_SECONDS = 1200.0
SLEPT_SECONDS = 7200.0


@pytest.fixture
def clock(tmp_path):
    return DrivenClock.make(tmp_path / "clock")


@pytest.fixture
def sts(radosgw):
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


def settled(mount, traffic, generation):
    """Return the role's status once it has that session, and ten rounds of traffic after it."""
    wait_until(lambda: mount.ask("status")["roles"][0]["generation"] >= generation, 20)
    rounds = traffic.rounds
    wait_until(lambda: traffic.rounds >= rounds + 10, 20)
    return mount.ask("status")["roles"][0]


@pytest.mark.timeout(120)
def test_a_clock_that_is_set_twenty_minutes_wrong_costs_one_renewal(
    role_place, bucket, make_role, sts, radosgw, clock, tmp_path
):
    options = {"role_arn": make_role(EVERYTHING), "duration_seconds": 900, "sts_endpoint": sts.url}
    with (
        Relay.to(radosgw.endpoint_url) as s3,
        driven.mounted(
            role_place, tmp_path / "clock", f"s3://{bucket}", endpoint_url=s3.url, **options
        ) as mount,
        Traffic(mount.path) as traffic,
    ):
        for generation, step in ((2, OFF_SECONDS), (3, -2 * OFF_SECONDS)):
            clock.step_wall(step)
            role = settled(mount, traffic, generation)
            assert (role["generation"], role["failures"], role["forced"]) == (generation, 0, 0)
            assert role["longest_wait_seconds"] <= 0.1
            # Planned by the service's time: the new session is neither old nor endless.
            left = role["next_refresh_at"] - clock.wall_seconds()
            assert 0.5 * 900 < left < 0.7 * 900
    assert traffic.errors == []
    assert traffic.slowest_seconds < 5
    # Each time S3 and STS refused what was signed by the wrong clock, and took it signed by their own.
    log = (tmp_path / "clock.log").read_text()
    assert log.count("this machine's clock is") == 2
    assert sts.counts == {"AssumeRole": 1 + 2 * 2}


@pytest.mark.timeout(120)
def test_after_two_hours_of_sleep_the_session_is_renewed_within_five_seconds(
    role_place, bucket, make_role, sts, clock, tmp_path
):
    options = {"role_arn": make_role(EVERYTHING), "duration_seconds": 900, "sts_endpoint": sts.url}
    with (
        driven.mounted(role_place, tmp_path / "clock", f"s3://{bucket}", **options) as mount,
        Traffic(mount.path) as traffic,
    ):
        wait_until(lambda: traffic.rounds > 5, 20)
        clock.suspend(SLEPT_SECONDS)
        woken_at = time.monotonic()
        wait_until(lambda: mount.ask("status")["roles"][0]["generation"] == 2, 20)
        assert time.monotonic() - woken_at < 5 + 2  # a tick of the broker, and a slow machine
        role = settled(mount, traffic, 2)
        assert (role["state"], role["generation"], role["failures"]) == ("fresh", 2, 0)
    assert traffic.errors == []
    assert traffic.slowest_seconds < 10
