"""Many mounts begin at once and STS throttles them: they come apart, and each gets its session."""

import random
from collections import Counter

import trio

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.snapshot import Snapshot

CROWD = 50
PER_SECOND = 5.0
LIFE_SECONDS = 900.0
BIN_SECONDS = 0.1


class ThrottlingSts:
    """Give `PER_SECOND` sessions a second, as many in a burst, and refuse what goes beyond."""

    renews_on_change = False

    def __init__(self, clock):
        self._clock = clock
        self._free = PER_SECOND
        self._since = clock.boot_seconds()
        self.asked_at = []
        self.given = 0

    async def fetch(self):
        await trio.sleep(0.01)
        now = self._clock.boot_seconds()
        self.asked_at.append(now)
        self._free = min(PER_SECOND, self._free + (now - self._since) * PER_SECOND)
        self._since = now
        if self._free < 1:
            raise CredentialsError(Reason.UNREACHABLE, "Rate exceeded", code="Throttling")
        self._free -= 1
        self.given += 1
        wall = self._clock.wall_seconds()
        number = self.given
        return Snapshot(access_key_id=f"A{number}", secret_access_key="x", expires_at=wall + LIFE_SECONDS)

    async def stamp(self):
        return None

    def describe(self):
        return "a busy STS"

    def needs(self):
        return ()

    def busiest(self, *, after_seconds=0.0):
        """Return the most calls in a tenth of a second, that long after the first call."""
        first = self.asked_at[0]
        bins = Counter(int((at - first) / BIN_SECONDS) for at in self.asked_at)
        return max(count for bin_, count in bins.items() if bin_ * BIN_SECONDS >= after_seconds)


async def meet(clock, chance):
    """Let the crowd begin at the same moment and renew once; return the STS and who was given what."""
    sts = ThrottlingSts(clock)
    brokers = [Broker(sts, clock=clock, cred_wait_seconds=60, chance=chance) for _ in range(CROWD)]
    async with trio.open_nursery() as nursery:
        for broker in brokers:
            await nursery.start(broker.run)
        async with trio.open_nursery() as waiting:
            for broker in brokers:
                waiting.start_soon(broker.get)
        began = len(sts.asked_at)
        await trio.sleep(0.7 * LIFE_SECONDS)
        nursery.cancel_scope.cancel()
    return sts, brokers, began


async def test_fifty_brokers_that_sts_throttles_come_apart(clock):
    sts, brokers, began = await meet(clock, random.Random(7).random)
    assert sts.busiest() == CROWD  # all at once in the beginning
    assert sts.busiest(after_seconds=BIN_SECONDS) <= CROWD / 2
    assert began <= 6 * CROWD
    # Nobody was left out, and the renewals, 60 to 67 percent later, hardly met.
    assert [broker.generation for broker in brokers] == [2] * CROWD
    assert max(broker.record.first_wait_seconds for broker in brokers) < 60
    assert len(sts.asked_at) - began <= 2 * CROWD


async def test_without_chance_they_would_meet_each_time(clock):
    """The control for the above."""
    sts, _, began = await meet(clock, lambda: 0.5)
    assert sts.busiest(after_seconds=BIN_SECONDS) >= CROWD - PER_SECOND
    assert began > 6 * CROWD
