"""Run the workloads, ours and the peers' in turn, and report medians and ratios.

`make bench` runs everything; `make bench ONLY=read` one row; RUNS=5 sets the repetitions.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.config import Config
from rich.console import Console
from rich.table import Table

from bench.programs import Server, mounted, programs
from bench.workloads import WORKLOADS, Workload
from tests.bed.radosgw import RadosGateway

_COMMAND_SECONDS = 120
# radosgw frees deleted objects a few seconds later, at the cost of whoever is timed then.
_SETTLE_SECONDS = 6


@click.command(help=__doc__)
@click.option("--only", help="Run one workload by name.")
@click.option("--runs", default=5, show_default=True, help="Runs of each program and workload.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the table in Markdown here, too.")
@click.option("--require", type=float, help="Fail when a ratio to the best peer is above this.")
def main(only: str | None, runs: int, report: Path | None, require: float | None) -> None:
    """Time everything and print the table."""
    chosen = [workload for workload in WORKLOADS if only in (None, workload.name)]
    if not chosen:
        names = ", ".join(workload.name for workload in WORKLOADS)
        raise click.UsageError(f"no workload is called {only!r}; there are {names}")
    if len(programs()) < 2:
        raise click.UsageError("there is nothing to compare with: install s3fs (apt-get install s3fs)")
    with RadosGateway() as gateway:
        s3 = boto3.resource(
            "s3",
            endpoint_url=gateway.endpoint_url,
            aws_access_key_id=gateway.access_key,
            aws_secret_access_key=gateway.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        bucket = s3.create_bucket(Bucket="bench")
        server = Server(
            endpoint_url=gateway.endpoint_url,
            bucket="bench",
            access_key=gateway.access_key,
            secret_key=gateway.secret_key,
        )
        rows = [_row(workload, bucket, server, runs) for workload in chosen]
    _print(rows)
    if report is not None:
        report.write_text(_markdown(rows, runs))
    worst = max(row["ratio"] for row in rows)
    if require is not None and worst > require:
        raise SystemExit(f"the slowest row took {worst:.2f} times as long as the best peer")


def _row(workload: Workload, bucket: Any, server: Server, runs: int) -> dict[str, Any]:
    key = workload.command[1 if workload.name == "read" else 2].partition("=")[2]
    if workload.name == "read":
        workload.prepare(bucket, key)
    seconds: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    for _ in range(runs):
        for program in programs():
            if workload.name != "read":
                workload.prepare(bucket, key)
                time.sleep(_SETTLE_SECONDS)
            with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
                _drop_caches()
                with mounted(program, server, Path(scratch)) as mount:
                    before = mount.cpu_seconds()
                    began = time.monotonic()
                    subprocess.run(
                        workload.command, cwd=mount.directory, timeout=_COMMAND_SECONDS, check=True
                    )
                    seconds[program].append(time.monotonic() - began)
                    cpu[program].append(mount.cpu_seconds() - before)
            if not workload.check(bucket, key):
                raise SystemExit(f"{program} did not store what {workload.name!r} wrote")
    bucket.Object(key).delete()
    peers = [program for program in seconds if program != "s3rolefs"]
    best = min(peers, key=lambda peer: statistics.median(seconds[peer]))
    # Pair by pair: the machine's speed drifts between pairs, less so within one.
    ratios = [ours / theirs for ours, theirs in zip(seconds["s3rolefs"], seconds[best], strict=True)]
    return {
        "title": workload.title,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "cpu": {name: statistics.median(values) for name, values in cpu.items()},
        "ratio": statistics.median(ratios),
        "spread": (min(ratios), max(ratios)),
    }


def _drop_caches() -> None:
    subprocess.run(["sync"], timeout=60, check=True)
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1\n")
    except OSError:
        return  # not root: fresh mounts have empty caches of their own anyway


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["spread"]
    return [
        row["title"],
        *(f"{row['seconds'][name]:.2f} s ({row['cpu'][name]:.2f})" for name in programs()),
        f"{row['ratio']:.2f} ({low:.2f}–{high:.2f})",
    ]


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("workload", *programs(), "s3rolefs / best peer", title="median (CPU seconds of the mount)")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table)


def _markdown(rows: list[dict[str, Any]], runs: int) -> str:
    head = ["workload", *programs(), "s3rolefs / best peer"]
    lines = [f"Medians of {runs} paired runs; in brackets CPU seconds of the mount process.", ""]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
