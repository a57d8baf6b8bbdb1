"""Run the workloads, ours and the peers' in turn, and report what it cost, and which goals are reached.

`make bench` runs everything and writes doc/PERFORMANCE.md; `make bench ONLY=read,cat` prints some rows.
RUNS=5 sets the repetitions, LATENCY=0,20 the round trips in ms, TLS=1 means https.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench import datasets, pictures, profiling, report
from bench.measuring import Cell, Laboratory, Run
from bench.programs import OURS, Program, programs
from bench.results import Row
from bench.server import Asked, Server
from bench.workloads import WORKLOADS, Workload

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
@click.option("--minutes", default=40.0, show_default=True, help="Begin no further row after so long.")
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
            for workload in chosen:
                for latency in latencies:
                    if time.monotonic() > deadline:
                        _console.print(
                            f"not begun, the {minutes:g} minutes are over: {workload.name} {latency} ms"
                        )
                        continue
                    stacks = profile / f"{workload.name}-{latency}ms.txt" if profile else None
                    cells = laboratory.measure(workload, latency, runs, stacks)
                    rows.append(Row(workload=workload, latency_ms=latency, tls=tls, cells=cells))
                    _console.print(_line(rows[-1]))
                    if stacks and stacks.exists():
                        _console.print(profiling.summary(stacks), markup=False)
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
    # Rows are compared within themselves, so that those measured later can take the place of older ones.
    about, all_rows = _remember(results, here, rows)
    if document is not None:
        drawn = pictures.draw(all_rows, document.parent / "performance")
        report.write(document, about, all_rows, drawn)


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


def _remember(path: Path, here: tuple[Program, ...], rows: list[Row]) -> tuple[str, list[Row]]:
    """Add rows to a file of results; return what to say about them, and all rows of this protocol."""
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for row in rows:
        known[f"{row.workload.name}@{row.latency_ms}{'s' if row.tls else ''}"] = {
            name: asdict(cell) for name, cell in row.cells.items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known))
    tls = any(row.tls for row in rows)
    found = []
    for workload in WORKLOADS:
        for key, cells in known.items():
            name, _, line = key.partition("@")
            if name == workload.name and line.endswith("s") == tls:
                found.append(
                    Row(
                        workload=workload,
                        latency_ms=int(line.rstrip("s")),
                        tls=tls,
                        cells={program: _cell(cell) for program, cell in cells.items()},
                    )
                )
    count = max(len(row.cells[OURS].runs) for row in found)
    versions = ", ".join(f"{program.name} {program.version()}" for program in here)
    about = (
        f"Medians of {count} paired runs over {'https' if tls else 'http'}, {os.cpu_count()} cores, Linux "
        f"{platform.release()}, radosgw on loopback: {versions}. In brackets the lowest and highest pair; "
        "¹ once only, as it took more than three times as long as the best peer."
    )
    return about, found


def _cell(known: dict[str, Any]) -> Cell:
    return Cell(
        runs=[
            Run(
                seconds=run["seconds"],
                cpu=run["cpu"],
                asked=Asked(**run["asked"]),
            )
            for run in known["runs"]
        ],
        failure=known["failure"],
    )


if __name__ == "__main__":
    main()
