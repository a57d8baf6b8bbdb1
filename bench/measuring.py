"""Measure: each program in turn on a fresh mount with nothing cached, again and again.

The machine's speed drifts, so programs are compared run by run, in an order that changes.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import floor, profiling
from bench.commands import Cost, cost, execute, settle_disk
from bench.datasets import remove
from bench.programs import FLOOR, OURS, Errand, Failure, Program, Stopped, mounted, nothing
from bench.workloads import Chain, Goal, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.floor import Floor
    from bench.server import Asked, Server

LIMIT_SECONDS = 45.0
# A peer may take so much longer than the best one, or than what our goal is reached with.
_HOPELESS = 2.0
_DECIDED = 1.25
_NO_GOAL = 0.01
# Requests are compared with peers that are not slower than this, in our own times.
COMPARABLE = 1.5
_LEAST_SECONDS = 2.0
NOT_MEASURED = "not measured, as what comes before it failed"
_ARRIVAL_SECONDS = 60.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Tell what one run of a command cost; the peak is the mount's since it began."""

    seconds: float
    cpu: float
    peak_rss_bytes: int
    asked: Asked


@dataclass(slots=True, kw_only=True)
class Cell:
    """Hold the runs of one program in one row, or why it failed; a slow one was stopped after some time."""

    runs: list[Run]
    failure: str = ""
    stopped_seconds: float | None = None

    def least_seconds(self) -> float | None:
        """Return the shortest run, or when it was stopped; None: it never ran, or failed."""
        if self.failure:
            return self.stopped_seconds
        return min((run.seconds for run in self.runs), default=None)


Cells = dict[str, Cell]


class Laboratory:
    """Measure the rows on one server; `folder` takes what programs keep on disk."""

    def __init__(self, server: Server, folder: Path, programs: Sequence[Program]) -> None:
        self._server = server
        self._folder = folder
        self._programs = programs
        self._present = ""
        self._known: dict[tuple[str, str], float] = {}

    def measure(
        self, chains: Sequence[Chain], latency_ms: int, runs: int, stacks: Mapping[str, Path]
    ) -> dict[str, Cells]:
        """Return for each row, by name, a cell for each program that takes part, ours first, the floor last.

        The rows of a chain follow one another on each mount. Chains differ in our options only, so what
        peers do is measured once for all. `stacks` has a file by the name of each row to profile.
        """
        first = chains[0][0]
        taking_part = [p for p in self._programs if p.name in first.peers | {OURS}]
        shared: list[Cells] = [{program.name: Cell(runs=[]) for program in taking_part} for _ in chains[0]]
        found = {
            row.name: cells | {OURS: Cell(runs=[])}
            for chain in chains
            for row, cells in zip(chain, shared, strict=True)
        }
        floors: dict[str, Cell] = {}
        # The quickest first, as far as is known: what they need says how long the others may take.
        taking_part.sort(key=lambda p: (p.name != OURS, self._known.get((first.name, p.name), 0.0)))
        for number in range(runs):
            for program in taking_part if number % 2 == 0 else taking_part[::-1]:
                if number and all(_is_settled(cells, program.name) for cells in found.values()):
                    continue
                lasts = [(chain[-1], found[chain[-1].name]) for chain in chains]
                limit = max(patience_seconds(row, latency_ms, cells, program.name) for row, cells in lasts)
                profiles = stacks if program.name == OURS else {}
                for chain in chains if program.name == OURS else chains[:1]:
                    outcomes = self._visit(program, chain, latency_ms, limit, profiles)
                    for row, outcome in zip(chain, outcomes, strict=True):
                        _put(found[row.name][program.name], outcome)
            for row, outcome in () if stacks else self._floors(chains, latency_ms):
                _put(floors.setdefault(row.name, Cell(runs=[])), outcome)
        for name, cell in found[first.name].items():
            self._known[first.name, name] = cell.least_seconds() or LIMIT_SECONDS
        for name, cell in floors.items():
            found[name][FLOOR] = cell
        return found

    def _floors(self, chains: Sequence[Chain], latency_ms: int) -> Iterator[tuple[Workload, Run | Failure]]:
        """Yield what no mount can undercut: a row's requests alone; where nothing is asked, FUSE alone."""
        for chain in chains:
            for row in chain:
                if row.floor is not None:
                    yield row, self._requests_alone(row, row.floor, latency_ms)
            if len(chain) > 1:
                outcomes = self._visit(nothing(), chain, latency_ms, LIMIT_SECONDS, {})
                yield from zip(chain[1:], outcomes[1:], strict=True)

    def _requests_alone(self, row: Workload, asked_of: Floor, latency_ms: int) -> Run | Failure:
        self._prepare(row)
        waves = asked_of(self._server.s3, row.data.prefix)
        begin = self._server.mark()
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            try:
                seconds = floor.seconds(waves, self._server, self._server.url(latency_ms), Path(name))
            except Failure as failure:
                return failure
        asked = self._server.asked(begin, self._server.mark())
        return Run(seconds=seconds, cpu=0.0, peak_rss_bytes=0, asked=asked)

    def _visit(
        self,
        program: Program,
        rows: Chain,
        latency_ms: int,
        limit_seconds: float,
        profiles: Mapping[str, Path],
    ) -> list[Run | Failure]:
        """Mount once, run the rows' commands, and return for each what it cost, or why it failed.

        The limit is for the last row: whoever is stopped before cannot show how it does there.
        """
        first = rows[0]
        self._prepare(first)
        costs: list[Cost] = []
        marks: list[int] = []
        failures: list[Failure] = []
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
            errand = self._errand(program, first, latency_ms, Path(name))
            try:
                if first.remount:
                    self._before(program, first, errand)
                settle_disk(drop_pages=not first.keeps_pages)
                with mounted(program, errand) as mount:
                    if first.first and not first.remount:
                        execute(first.first, mount, LIMIT_SECONDS, local=errand.local)
                    for row in rows:
                        limit = limit_seconds if row is rows[-1] else LIMIT_SECONDS
                        marks.append(self._server.quiet() if marks else self._server.mark())
                        with profiling.recorded(mount.pid, profiles.get(row.name)):
                            costs.append(cost(row.command, mount, limit, local=errand.local))
                for row in rows:
                    self._check(program, row, errand)
            except Failure as failure:
                # What S3 does not hold was not done, however quickly.
                costs = costs[: len(rows) - 1]
                failures = [failure]
        # Unmounting is part of the bill: what was asked for in advance is paid for, too.
        marks.append(self._server.mark())
        asked = [self._server.asked(begin, end) for begin, end in itertools.pairwise(marks)]
        runs = [
            Run(seconds=done.seconds, cpu=done.cpu, peak_rss_bytes=done.peak_rss_bytes, asked=what)
            for done, what in zip(costs, asked, strict=False)
        ]
        missing = len(rows) - len(runs) - len(failures)
        return [*runs, *failures, *[Failure(NOT_MEASURED)] * missing]

    def _errand(self, program: Program, workload: Workload, latency_ms: int, scratch: Path) -> Errand:
        (scratch / "mnt").mkdir()
        return Errand(
            server=self._server,
            url=self._server.url(latency_ms),
            directory=scratch / "mnt",
            scratch=scratch,
            local=self._folder / "local",
            options=workload.options if program.name == OURS else "",
        )

    def _before(self, program: Program, workload: Workload, errand: Errand) -> None:
        with mounted(program, errand) as mount:
            try:
                execute(workload.first, mount, LIMIT_SECONDS, local=errand.local)
            except Stopped as stopped:
                raise Failure(f"what comes before it took {stopped}") from None

    def _check(self, program: Program, workload: Workload, errand: Errand) -> None:
        """Raise Failure unless S3 holds what the command wrote.

        What may arrive `late` may do so while the program is mounted once more, with the same caches.
        """
        if workload.check(self._server.s3):
            return
        if workload.late:
            deadline = time.monotonic() + _ARRIVAL_SECONDS
            with mounted(program, errand):
                while time.monotonic() < deadline:
                    if workload.check(self._server.s3):
                        return
                    time.sleep(_POLL_SECONDS)
        raise Failure("S3 does not hold what the command wrote")

    def _prepare(self, workload: Workload) -> None:
        data, s3 = workload.data, self._server.s3
        if self._present == data.prefix and not workload.writes:
            return
        for prefix in {self._present, data.prefix} - {""}:
            remove(s3, prefix)
        self._present = data.prefix
        data.put(s3, self._folder / "local")
        self._server.free()


def patience_seconds(workload: Workload, latency_ms: int, cells: Cells, name: str) -> float:
    """Return how long a program may take before it cannot change any more how a goal stands.

    So a peer far behind the best, or one that we are faster than by more than the goal, is stopped early.
    """
    ours = cells[OURS].least_seconds()
    if name == OURS or ours is None or cells[name].runs:
        return LIMIT_SECONDS
    goals = [goal for goal in workload.goals if latency_ms in goal.ratios and goal.counts(name)]
    if any(goal.measure == "cpu" for goal in goals):
        return LIMIT_SECONDS
    enough = [_LEAST_SECONDS, COMPARABLE * ours]
    for goal in goals or [Goal(ratios={latency_ms: _NO_GOAL})]:
        others = [cell for peer, cell in cells.items() if goal.counts(peer) and peer not in (OURS, name)]
        best = min((s for cell in others if (s := cell.least_seconds())), default=LIMIT_SECONDS)
        enough.append(min(_HOPELESS * best, _DECIDED * ours / goal.ratios[latency_ms]))
    return min(LIMIT_SECONDS, max(enough))


def _put(cell: Cell, outcome: Run | Failure) -> None:
    if isinstance(outcome, Run):
        cell.runs.append(outcome)
        return
    cell.failure = str(outcome)
    cell.stopped_seconds = outcome.seconds if isinstance(outcome, Stopped) else None


def _is_settled(cells: Cells, name: str) -> bool:
    """Return whether another run would tell nothing."""
    if cells[name].failure:
        return True
    peers = [s for peer, cell in cells.items() if peer != OURS and (s := cell.least_seconds())]
    return name != OURS and (cells[name].least_seconds() or 0.0) > _HOPELESS * min(peers)
