"""Keep what was measured in a file, so that a report can be made of rows that were measured one by one.

Rows are compared within themselves only: one that is measured later may take the place of an older one.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.measuring import Cell, Run
from bench.results import Row
from bench.server import Asked
from bench.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path


def remember(path: Path, row: Row) -> None:
    """Put a row into the file."""
    known = _read(path)
    name = f"{row.workload.name}@{row.latency_ms}{'s' if row.tls else ''}"
    known[name] = {program: asdict(cell) for program, cell in row.cells.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known))


def recall(path: Path, *, tls: bool) -> list[Row]:
    """Return all rows of one protocol, in the order of `WORKLOADS` and by latency.

    What is not as this version writes it is left out, rather than lose what was measured just now.
    """
    known = _read(path)
    by_name = {workload.name: workload for workload in WORKLOADS}
    rows = []
    for key, cells in known.items():
        name, _, line = key.partition("@")
        if name in by_name and line.endswith("s") == tls:
            latency_ms = int(line.rstrip("s"))
            with contextlib.suppress(TypeError, KeyError):
                found = {program: _cell(cell) for program, cell in cells.items()}
                rows.append(Row(workload=by_name[name], latency_ms=latency_ms, tls=tls, cells=found))
    return sorted(rows, key=lambda row: (WORKLOADS.index(row.workload), row.latency_ms))


def _read(path: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return known


def _cell(known: dict[str, Any]) -> Cell:
    runs = [Run(**{**run, "asked": Asked(**run["asked"])}) for run in known["runs"]]
    return Cell(**{**known, "runs": runs})
