"""Measure the line to the store while it is used: how long a round trip takes, how many bytes pass meanwhile.

Everything is told by the requests for blocks, and by HEADs; nothing is sent to measure. Time is trio's.
"""

from __future__ import annotations

import trio

from s3rolefs.model import MIB

# Until a long answer was seen: what a single connection to S3 brings, about.
_ASSUMED_BYTES_PER_SECOND = 100 * MIB
# An answer says something of the rate when so much of it came after its first part.
_TELLING_BYTES = MIB
# A lone read may take so much longer for what nobody asked for: an eighth.
_LONE_SHARE = 8
_LARGEST_LONE_BYTES = 16 * MIB
# Beyond, a round trip is what waiting is about; below, the work of both ends is.
_FAR_SECONDS = 0.005
# What is brought before two numbers of requests at once are compared; how much more the higher has to bring.
_SAMPLE_BYTES = 16 * MIB
_WORTH_DOUBLING = 1.5
_MOST_STREAMS = 16
# What is known gets old.
_PERIOD_SECONDS = 60.0
_LONGEST_ANSWER_SECONDS = 2.0
_LEAST_LONGEST_BYTES = 16 * MIB


class Line:
    """Know what a round trip costs, as seconds and as bytes, and how many requests at once bring most."""

    def __init__(self) -> None:
        # The best of this period and of the one before: what lasted longer, something else held up.
        self._round_trips: list[float] = []
        self._round_trips_before: list[float] = []
        # Of one answer; of all of them together, by how many there were at once.
        self._stream_rate = 0.0
        self._rates: dict[int, float] = {}
        self._period_began = float("-inf")
        self._flowing = 0
        self._sample_began = 0.0
        self._sample_bytes = 0

    @property
    def round_trip_seconds(self) -> float:
        """Return how long the first byte of an answer takes (0: not known yet)."""
        return min([*self._round_trips, *self._round_trips_before], default=0.0)

    @property
    def is_far(self) -> bool:
        """Say whether whoever waits for a round trip leaves the line idle."""
        return self.round_trip_seconds > _FAR_SECONDS

    @property
    def bytes_per_second(self) -> float:
        """Return what the line brings at its best."""
        return max([self._stream_rate, *self._rates.values()]) or _ASSUMED_BYTES_PER_SECOND

    @property
    def round_trip_bytes(self) -> int:
        """Return how many bytes take as long as one round trip."""
        return int(self.round_trip_seconds * self.bytes_per_second)

    def lone_bytes(self, at_once: int) -> int:
        """Return what a lone read may ask for at hardly more than its round trip costs: a power of two.

        `at_once` such requests share the line.
        """
        spare = self.round_trip_bytes // _LONE_SHARE // at_once
        return min(1 << max(0, spare.bit_length() - 1), _LARGEST_LONE_BYTES)

    @property
    def longest_answer_bytes(self) -> int:
        """Return what one request may ask for without holding its connection for very long."""
        rate = self._stream_rate or _ASSUMED_BYTES_PER_SECOND
        return max(_LEAST_LONGEST_BYTES, int(rate * _LONGEST_ANSWER_SECONDS))

    @property
    def streams(self) -> int:
        """Return how many requests at once to read with: twice as many are tried while they bring more."""
        if not self.is_far:
            return 1
        streams = 1
        while streams < _MOST_STREAMS and streams in self._rates:
            more = self._rates.get(2 * streams)
            if more is not None and more < _WORTH_DOUBLING * self._rates[streams]:
                break
            streams *= 2
        return streams

    def flow(self) -> Flow:
        """Follow a request that is sent now."""
        return Flow(self, trio.current_time())

    def told_round_trip(self, seconds: float, size_bytes: int = 0) -> None:
        """Take a sample: when the first `size_bytes` of an answer were here."""
        now = trio.current_time()
        if now - self._period_began > _PERIOD_SECONDS:
            self._period_began = now
            self._round_trips_before, self._round_trips = self._round_trips, []
            self._rates.clear()
        passing = size_bytes / self._stream_rate if self._stream_rate else 0.0
        self._round_trips = [min([max(0.0, seconds - passing), *self._round_trips])]

    def told_rate(self, bytes_per_second: float) -> None:
        """Take what one answer brought, alone or beside others."""
        known = self._stream_rate or bytes_per_second
        self._stream_rate = known + (bytes_per_second - known) / (2 if bytes_per_second > known else 8)

    def began_to_flow(self, now: float) -> None:
        """Note that one more answer is coming in."""
        self._flowing += 1
        self.begin_sample(now)

    def ended_to_flow(self, now: float) -> None:
        """Note that one answer less is coming in."""
        self._flowing -= 1
        self.begin_sample(now)

    def begin_sample(self, now: float) -> None:
        """Count anew."""
        self._sample_began, self._sample_bytes = now, 0

    def flowed(self, now: float, size_bytes: int) -> None:
        """Count bytes of any answer."""
        self._sample_bytes += size_bytes
        passed = now - self._sample_began
        if self._sample_bytes >= _SAMPLE_BYTES and passed > 0:
            streams = 1 << (self._flowing.bit_length() - 1)
            rate = self._sample_bytes / passed
            self._rates[streams] = (self._rates.get(streams, rate) + rate) / 2
            self.begin_sample(now)


class Flow:
    """Follow one request from sending to its last byte."""

    __slots__ = ("_began", "_bytes", "_first_at", "_held_up", "_last_at", "_line")

    def __init__(self, line: Line, now: float) -> None:
        self._line = line
        self._began = now
        self._first_at: float | None = None
        self._last_at = self._began
        self._bytes = 0
        self._held_up = False

    def arrived(self, size_bytes: int, now: float, *, held_up: bool = False) -> None:
        """Count a part that was here `now`; `held_up`: it could have been here before."""
        self._last_at = now
        line = self._line
        if self._first_at is None:
            self._first_at = now
            line.told_round_trip(now - self._began, size_bytes)
            line.began_to_flow(now)
        elif held_up:
            self._held_up = True
            line.begin_sample(now)
        else:
            self._bytes += size_bytes
            line.flowed(now, size_bytes)

    def end(self) -> None:
        """Note that nothing more comes."""
        if self._first_at is None:
            return
        passed = self._last_at - self._first_at
        if self._bytes >= _TELLING_BYTES and passed > 0 and not self._held_up:
            self._line.told_rate(self._bytes / passed)
        self._line.ended_to_flow(self._last_at)
