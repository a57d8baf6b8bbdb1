"""Decide when to renew and when to try again: pure functions of seconds and of a random number.

All moments are readings of the boot clock, which neither stops in suspend nor jumps when
somebody sets the time; `chance` is a number from [0, 1), drawn by the caller. The figures are
those of ROLES.md.
"""

from __future__ import annotations

import math

from s3rolefs.errors import Reason

SHORT_LIFE_SECONDS = 3600.0
EARLY_SECONDS = 1200.0
REREAD_SECONDS = 300.0
STEP_TOLERANCE_SECONDS = 2.0

_FIRST_RETRY_SECONDS = 1.0
_SLOWEST_RETRY_SECONDS = 60.0
_FIRST_DENIED_SECONDS = 60.0
_SLOWEST_DENIED_SECONDS = 300.0
_FASTEST_RETRY_SECONDS = 0.2


def renewal_delay(life_seconds: float | None, chance: float) -> float:
    """Return how long after it was obtained a session is to be renewed.

    A life up to an hour: after 60 to 67 percent of it. A longer one: 20 to 24 minutes before its
    end, so that both rules agree at an hour. Never within the first second. An unknown life is
    looked at again after five minutes.
    """
    if life_seconds is None:
        return REREAD_SECONDS
    if life_seconds <= SHORT_LIFE_SECONDS:
        return max(1.0, life_seconds * (0.60 + 0.07 * chance))
    return life_seconds - EARLY_SECONDS * (1.2 - 0.2 * chance)


def repeat_delay(left_seconds: float | None) -> float:
    """Return when to ask again a source that answered with the very session it gave before."""
    if left_seconds is None:
        return REREAD_SECONDS
    return min(REREAD_SECONDS, max(1.0, left_seconds / 10))


def due_at(asked_at: float, expires_at: float, *, is_repeat: bool, chance: float) -> float:
    """Return when to renew a session that was asked for and ends at these moments (inf: unknown).

    `is_repeat`: it is the very session that was there before.
    """
    left = None if expires_at == math.inf else expires_at - asked_at
    return asked_at + (repeat_delay(left) if is_repeat else renewal_delay(left, chance))


def retry_delay(reason: Reason, failures: int, left_seconds: float, chance: float) -> float:
    """Return how long to wait after the `failures`-th failure in a row (1 is the first).

    Transient: full jitter below 1, 2, 4 … 60 s, and never more than a tenth of what is left of
    the running session (`left_seconds`, 0 when there is none). A refusal is asked again slowly,
    60 to 300 s, however near the end is: only a person can lift it.
    """
    doublings = min(failures - 1, 10)
    if reason is Reason.ROLE_REFUSED:
        ceiling = min(_SLOWEST_DENIED_SECONDS, _FIRST_DENIED_SECONDS * 2.0 ** (doublings + 1))
        return _FIRST_DENIED_SECONDS + (ceiling - _FIRST_DENIED_SECONDS) * chance
    ceiling = min(_SLOWEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0**doublings)
    if left_seconds > 0:
        ceiling = min(ceiling, left_seconds / 10)
    return max(_FASTEST_RETRY_SECONDS, ceiling * chance)


def clock_step(offset_seconds: float, *, wall_seconds: float, boot_seconds: float) -> float:
    """Return by how much the wall clock was set since wall minus boot was `offset_seconds`.

    0.0 within the tolerance: NTP slews slowly. Suspend moves both clocks and is no step.
    """
    step = (wall_seconds - boot_seconds) - offset_seconds
    return step if abs(step) > STEP_TOLERANCE_SECONDS else 0.0
