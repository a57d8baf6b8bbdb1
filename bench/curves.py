"""Draw how time and memory grow with size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.pictures import save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.growth import Point, Study

_COLOURS = ("#1f5fa8", "#b3402a", "#2a7f4f")
_STYLES = {0: "-", 20: "--"}


def draw(studies: Sequence[Study], points: Sequence[Point], path: Path) -> Path:
    """Write an SVG: for each thing that grows the time per unit above, and the peak of memory below."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "s3rolefs", "svg.fonttype": "none", "font.size": 8})
    axes_by_name = list(dict.fromkeys(study.axis for study in studies))
    figure = Figure(figsize=(4.2 * len(axes_by_name), 5), layout="constrained")
    grid = figure.subplots(2, len(axes_by_name), sharex="col", squeeze=False)
    for column, axis in enumerate(axes_by_name):
        upper, lower = grid[0][column], grid[1][column]
        shown = [study for study in studies if study.axis == axis]
        for colour, study in zip(_COLOURS, shown, strict=False):
            for latency_ms in sorted({point.latency_ms for point in points}):
                line = [
                    p
                    for p in points
                    if p.study == study.name and p.latency_ms == latency_ms and not p.failure
                ]
                sizes = [point.size for point in line]
                style = {"color": colour, "linestyle": _STYLES.get(latency_ms, ":"), "marker": "o"}
                label = f"{study.title.replace('`', '')}, {latency_ms} ms"
                per_unit = [1e3 * point.seconds / study.units(point.size) for point in line]
                upper.plot(sizes, per_unit, label=label, markersize=3, linewidth=1, **style)
                peaks = [point.peak_rss_bytes / 2**20 for point in line]
                lower.plot(sizes, peaks, markersize=3, linewidth=1, **style)
        upper.set_title(f"milliseconds per {shown[0].unit}")
        upper.set_yscale("log")
        upper.legend(fontsize=6)
        lower.set_title("peak of resident MiB")
        lower.set_ylim(bottom=0)
        lower.set_xlabel(axis)
        for plot in (upper, lower):
            plot.set_xscale("log")
            plot.grid(linewidth=0.3)
    return save(figure, path)
