"""Run the workloads, ours and the peers' in turn, and report what it cost, and which goals are reached.

`make bench` runs everything and writes doc/PERFORMANCE.md; `make bench ONLY=read,cat` prints some rows.
RUNS=5 sets the repetitions, LATENCY=0,20 the round trips in ms, TLS=1 means https.
"""

from __future__ import annotations

import os
import platform
import signal
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench import datasets, pictures, profiling, record, report
from bench.measuring import Laboratory
from bench.programs import OURS, Program, programs
from bench.results import Row
from bench.server import Server
from bench.workloads import WORKLOADS, Workload, grouped

_BY_NAME = {workload.name: workload for workload in WORKLOADS}
_console = Console(width=200, highlight=False)


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[Workload]:
    if not value:
        return list(WORKLOADS)
    names = value.split(",")
    if unknown := [name for name in names if name not in _BY_NAME]:
        raise click.BadParameter(f"no row is called {', '.join(unknown)}; there are {', '.join(_BY_NAME)}")
    return [_BY_NAME[name] for name in names]


def _numbers(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    try:
        return [int(number) for number in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of milliseconds such as 0,20") from None


@click.command(help=__doc__)
@click.option("--only", "chosen", callback=_names, help="Rows, by name, joined with commas.")
@click.option("--runs", default=3, show_default=True, help="Runs of each program and row.")
@click.option("--latency", "latencies", callback=_numbers, default="0,20", show_default=True)
@click.option("--tls", is_flag=True, help="Speak https to the server.")
@click.option("--minutes", default=110.0, show_default=True, help="Begin no further row after so long.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("build/bench.json"), show_default=True
)
@click.option(
    "--report", "document", type=click.Path(path_type=Path), help="Write all results into this file."
)
@click.option(
    "--profile", type=click.Path(path_type=Path), help="Profile our mount alone; stacks go to this folder."
)
def main(
    chosen: list[Workload],
    runs: int,
    latencies: list[int],
    tls: bool,
    minutes: float,
    results: Path,
    document: Path | None,
    profile: Path | None,
) -> None:
    """Measure, print, and write."""
    here = programs()[:1] if profile else programs()
    if len(here) < 2 and not profile:
        raise click.UsageError("there is nothing to compare with: install s3fs (apt-get install s3fs)")
    deadline = time.monotonic() + minutes * 60
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(
        dir="/var/tmp", prefix="s3rolefs-bench-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        (folder / "local").mkdir()
        datasets.put_local(folder / "local")
        with Server(folder, tls=tls) as server:
            laboratory = Laboratory(server, folder, here)
            for group in grouped(chosen):
                members = {row.name: row for chain in group for row in chain}
                for latency in latencies:
                    if time.monotonic() > deadline:
                        names = ", ".join(members)
                        _console.print(f"not begun, the {minutes:g} minutes are over: {names} {latency} ms")
                        continue
                    stacks = {n: profile / f"{n}-{latency}ms.txt" for n in members} if profile else {}
                    found = laboratory.measure(group, latency, 1 if profile else runs, stacks)
                    for row_name, cells in found.items():
                        row = Row(workload=members[row_name], latency_ms=latency, tls=tls, cells=cells)
                        rows.append(row)
                        _console.print(_line(row))
                        if not profile:
                            record.remember(results, row)
                    for path in filter(Path.exists, stacks.values()):
                        _console.print(path.name, profiling.summary(path), sep="\n", markup=False)
    if profile:
        return
    for title, head, lines in report.tables(rows):
        table = Table(*head, title=title)
        for line in lines:
            table.add_row(*line)
        _console.print(table)
    for sentence in report.failures(rows):
        _console.print(sentence, markup=False)
    _console.print(report.score(rows))
    if document is not None:
        _write(document, results, here)


def _write(document: Path, results: Path, here: tuple[Program, ...]) -> None:
    """Write all that is known, over http and over https, into the document."""
    sections = []
    for tls in (False, True):
        if known := record.recall(results, tls=tls):
            drawn = pictures.draw(known, document.parent / "performance", "-https" if tls else "")
            sections.append(report.section(_about(here, known), known, drawn, document.parent))
    report.write(document, sections)


def _line(row: Row) -> str:
    verdicts = ", ".join(
        f"{v.measure} {v.ratio:.2f} ≤ {v.limit:.2f} of {v.best}: {'yes' if v.reached else 'NO'}"
        if v.ratio is not None
        else f"{v.measure}: nobody"
        for v in row.verdicts()
    )
    seconds = " ".join(
        f"{name} {cell.failure or f'{row.seconds(name):.2f}'}" for name, cell in row.cells.items()
    )
    return f"{row.workload.name} {row.latency_ms} ms: {seconds}; {verdicts}"


def _about(here: tuple[Program, ...], rows: list[Row]) -> str:
    counts = sorted({len(row.cells[OURS].runs) for row in rows})
    many = str(counts[-1]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    runs = "One run of each" if counts[-1] == 1 else f"Medians of {many} paired runs"
    versions = ", ".join(f"{program.name} {program.version()}" for program in here)
    return (
        f"{runs}, {os.cpu_count()} cores, Linux {platform.release()}, radosgw on "
        f"loopback: {versions}. In brackets the lowest and highest pair; ¹ not every time, as it took more "
        "than twice as long as the best peer; > stopped, as more could not change how our goal stands."
    )


if __name__ == "__main__":
    # What stops it from outside leaves no mount behind, either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
