"""Draw what was measured: our ratio to the best peer in each row, and its goal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.results import Row

_TITLES = {"seconds": "time", "cpu": "CPU seconds", "price": "price of requests"}
_COLOURS = {True: "#2a7f4f", False: "#b3402a", None: "#8a8a8a"}


def draw(rows: Sequence[Row], folder: Path, suffix: str) -> list[Path]:
    """Write an SVG for time and one for the price of requests, with a suffix; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "s3rolefs", "svg.fonttype": "none", "font.size": 8})
    return [_draw(rows, measure, folder / f"{measure}{suffix}.svg") for measure in ("seconds", "price")]


def _draw(rows: Sequence[Row], measure: str, path: Path) -> Path:
    latencies = sorted({row.latency_ms for row in rows})
    names = list(dict.fromkeys(row.workload.name for row in rows))[::-1]
    figure = Figure(figsize=(4.5 * len(latencies), 0.24 * len(names) + 1), layout="constrained")
    axes = figure.subplots(1, len(latencies), sharey=True, squeeze=False)[0]
    for axis, latency in zip(axes, latencies, strict=True):
        for row in rows:
            verdict = next((v for v in row.verdicts() if v.measure == measure), None)
            if row.latency_ms != latency or verdict is None:
                continue
            shown = row.time() if verdict.ratio is None and measure == "seconds" else verdict
            place = names.index(row.workload.name)
            axis.plot([verdict.limit], [place], marker="|", color="black", markersize=9)
            if shown.ratio and math.isfinite(shown.ratio):
                colour = _COLOURS[verdict.reached]
                axis.plot([shown.low or shown.ratio, shown.high], [place, place], color=colour, linewidth=2)
                axis.plot([shown.ratio], [place], marker="o", color=colour, markersize=5)
        axis.axvline(1.0, color="#8a8a8a", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_title(f"{_TITLES[measure]}, ratio to the best peer, {latency} ms   ( | goal)", fontsize=8)
        axis.grid(axis="y", linewidth=0.3)
        axis.set_yticks(range(len(names)), names)
    return save(figure, path)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG, the same for the same figure."""
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib ends lines with blanks.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path
