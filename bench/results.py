"""Compare the programs' runs of one row, and judge them by the row's goals."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.measuring import COMPARABLE, Cell
from bench.programs import FLOOR, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.measuring import Run
    from bench.workloads import Workload

TLS_ALLOWANCE = 0.1
PRICE_LIMIT = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Tell how a goal stands: our ratio to the best peer, between the lowest and highest pair.

    `ratio` is None where no peer of the goal took part, infinite where ours failed, and `at_most` so much
    where the best peer was stopped. `floor` is the ratio of what nobody can undercut.
    """

    measure: str
    limit: float
    best: str = ""
    ratio: float | None = None
    low: float = 0.0
    high: float = 0.0
    at_most: bool = False
    floor: float | None = None

    @property
    def reachable(self) -> bool:
        """Return whether somebody could reach the goal who does only what nobody can leave out."""
        return self.floor is None or round(self.floor, 2) <= self.limit

    @property
    def is_below_floor(self) -> bool:
        """Return whether the goal is missed, and nobody could reach it."""
        return self.reached is False and not self.reachable

    @property
    def reached(self) -> bool | None:
        """Return whether the goal is reached; None: nobody to compare with."""
        return None if self.ratio is None else round(self.ratio, 2) <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Hold the cells of one workload at one latency."""

    workload: Workload
    latency_ms: int
    tls: bool
    cells: Mapping[str, Cell]

    @property
    def peers(self) -> list[str]:
        """Return who takes part beside us."""
        return [program for program in self.cells if program not in (OURS, FLOOR)]

    def seconds(self, program: str) -> float | None:
        """Return the median; for a program that was stopped, when that was, for others that failed None."""
        cell = self.cells.get(program)
        if cell is None:
            return None
        return cell.stopped_seconds if cell.failure else statistics.median(run.seconds for run in cell.runs)

    def median(self, program: str, value: Callable[[Run], float]) -> float | None:
        """Return the median of something over the runs; None where there is none, or one failed."""
        cell = self.cells.get(program)
        if cell is None or cell.failure:
            return None
        return statistics.median(value(run) for run in cell.runs)

    def time(self) -> Verdict:
        """Compare the seconds with the best peer's; the goal may name peers that are not here."""
        return self._compared("seconds", 0.0, None)

    def verdicts(self) -> list[Verdict]:
        """Return how each goal that this latency has stands."""
        found = [
            self._compared(
                goal.measure,
                goal.ratios[self.latency_ms]
                + (TLS_ALLOWANCE if self.tls and goal.measure == "seconds" else 0.0),
                goal.peers,
            )
            for goal in self.workload.goals
            # CPU over TLS is another matter than the goals, which are for http.
            if self.latency_ms in goal.ratios and not (self.tls and goal.measure == "cpu")
        ]
        return [*found, self._price()] if self.workload.counts_price else found

    def _compared(self, measure: str, limit: float, peers: frozenset[str] | None) -> Verdict:
        verdict = Verdict(measure=measure, limit=limit)
        value = _cpu if measure == "cpu" else _seconds
        medians = {
            program: self.seconds(program) if measure == "seconds" else self.median(program, value)
            for program in self.peers
            if peers is None or program in peers
        }
        present = {program: median for program, median in medians.items() if median is not None}
        ours = self.median(OURS, value)
        if ours is None:
            return _failed(verdict)
        if not present:
            return verdict
        best = min(present, key=lambda program: present[program])
        # Run by run: the machine's speed drifts between them, less so within one.
        stopped = bool(self.cells[best].failure)
        pairs = zip(self.cells[OURS].runs, [] if stopped else self.cells[best].runs, strict=False)
        ratios = [value(run) / max(value(peer), 0.01) for run, peer in pairs] or [ours / present[best]]
        ratio, low, high = statistics.median(ratios), min(ratios), max(ratios)
        alone = self.median(FLOOR, value) if measure == "seconds" else None
        floor = alone / present[best] if alone is not None else None
        return replace(verdict, best=best, ratio=ratio, low=low, high=high, at_most=stopped, floor=floor)

    def _price(self) -> Verdict:
        verdict = Verdict(measure="price", limit=PRICE_LIMIT)
        ours, seconds = self.median(OURS, price_of), self.median(OURS, _seconds)
        if ours is None or seconds is None:
            return _failed(verdict)
        prices = {
            program: self.median(program, price_of)
            for program in self.peers
            if (self.seconds(program) or math.inf) <= COMPARABLE * seconds
        }
        present = {program: price for program, price in prices.items() if price is not None}
        if not present:
            return verdict
        best = min(present, key=lambda program: present[program])
        # A row that costs the peer nothing may cost us nothing.
        ratio = ours / present[best] if present[best] else (1.0 if ours == 0 else float(ours) + 1)
        alone = self.median(FLOOR, price_of)
        floor = alone / present[best] if alone is not None and present[best] else None
        return replace(verdict, best=best, ratio=ratio, low=ratio, high=ratio, floor=floor)


def price_of(run: Run) -> float:
    """Return what AWS asks for a run, in GETs."""
    return float(run.asked.price)


def _failed(verdict: Verdict) -> Verdict:
    return replace(verdict, ratio=math.inf, low=math.inf, high=math.inf)


def _seconds(run: Run) -> float:
    return run.seconds


def _cpu(run: Run) -> float:
    return run.cpu
