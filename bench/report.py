"""Write what was measured as tables: on the terminal, and between two marks of a Markdown file."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from bench.measuring import NOT_MEASURED
from bench.programs import FLOOR, OURS
from bench.results import Row, Verdict, price_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from bench.measuring import Cell

_WORDS = {True: "reached", False: "**not reached**", None: "nobody here"}


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Return title, head and cells of each table."""
    programs = list(dict.fromkeys(name for row in rows for name in row.cells if name != FLOOR))
    for latency in sorted({row.latency_ms for row in rows}):
        chosen = [row for row in rows if row.latency_ms == latency]
        yield (
            f"Seconds at {latency} ms",
            ["workload", *programs, FLOOR, f"{OURS} / best", "goal", ""],
            [_time_line(row, [*programs, FLOOR]) for row in chosen],
        )
    yield (
        "Peak of resident MiB of the mount's processes",
        ["workload", "ms", *programs],
        [_memory_line(row, programs) for row in rows],
    )
    with_gib = [row for row in rows if row.workload.gib is not None]
    if with_gib:
        yield (
            "CPU seconds of the mount's processes per GiB",
            ["workload", "ms", *programs, "ratio", "goal", ""],
            [_cpu_line(row, programs) for row in with_gib],
        )
    yield (
        "Requests, priced as AWS does (in GETs; LIST, PUT, COPY and parts are 12, deletions nothing)",
        ["workload", "ms", *programs, f"what {OURS} asks", "ratio", ""],
        [_price_line(row, programs) for row in rows],
    )


def failures(rows: Iterable[Row]) -> Iterator[str]:
    """Return a sentence for each cell that failed."""
    for row in rows:
        for program, cell in row.cells.items():
            if cell.failure not in ("", NOT_MEASURED) and cell.stopped_seconds is None:
                yield f"{program}, {row.workload.title}, {row.latency_ms} ms: {cell.failure}"


def score(rows: Iterable[Row]) -> str:
    """Return how many goals are reached, in a sentence."""
    verdicts = [verdict for row in rows for verdict in row.verdicts()]
    count = Counter(verdict.reached for verdict in verdicts)
    below = sum(verdict.is_below_floor for verdict in verdicts)
    return (
        f"{count[True]} goals are reached, {count[False]} are not, {below} of them below the floor; for "
        f"{count[None]} nobody to compare with was here, or quick enough."
    )


def section(about: str, rows: Sequence[Row], pictures: Iterable[Path], folder: Path) -> str:
    """Return what the document in a folder says of the rows of one protocol."""
    parts = [f"## Over {'https' if rows[0].tls else 'http'}", about, score(rows)]
    parts += [f"![{picture.stem}]({picture.relative_to(folder)})" for picture in pictures]
    for title, head, lines in tables(rows):
        parts.append(f"### {title}\n\n{markdown(head, lines)}")
    if failed := [f"* {sentence}" for sentence in failures(rows)]:
        parts.append("### Failed\n\n" + "\n".join(failed))
    return "\n\n".join(parts)


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def write(path: Path, parts: Iterable[str], name: str = "bench") -> None:
    """Replace what stands between the marks of that name in the file; raises ValueError without them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, opened, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise ValueError(f"{path} has no {begin} before an {end}")
    path.write_text(f"{before}{begin}\n" + "\n\n".join(parts) + f"\n{end}{after}")


def _time_line(row: Row, programs: Iterable[str]) -> list[str]:
    verdict = next(v for v in row.verdicts() if v.measure == "seconds")
    shown = verdict if verdict.ratio is not None else row.time()
    peers = "" if shown.best in ("", row.time().best) else f" {shown.best}"
    return [
        row.workload.title,
        *(_seconds(row, program) for program in programs),
        _ratio(shown) + peers,
        f"≤ {verdict.limit:.2f}",
        _word(verdict),
    ]


def _cpu_line(row: Row, programs: Iterable[str]) -> list[str]:
    gib = row.workload.gib or 1
    values = [row.median(program, lambda run: run.cpu) for program in programs]
    verdict = next((v for v in row.verdicts() if v.measure == "cpu"), None)
    return [
        row.workload.title,
        str(row.latency_ms),
        *("–" if value is None else f"{value / gib:.2f}" for value in values),
        *((_ratio(verdict), f"≤ {verdict.limit:.2f}", _WORDS[verdict.reached]) if verdict else ("", "", "")),
    ]


def _memory_line(row: Row, programs: Iterable[str]) -> list[str]:
    peaks = [row.median(program, lambda run: run.peak_rss_bytes) for program in programs]
    shown = ["–" if peak is None else f"{peak / 2**20:.0f}" for peak in peaks]
    return [row.workload.title, str(row.latency_ms), *shown]


def _price_line(row: Row, programs: Iterable[str]) -> list[str]:
    prices = [row.median(program, price_of) for program in programs]
    verdict = next((v for v in row.verdicts() if v.measure == "price"), None)
    return [
        row.workload.title,
        str(row.latency_ms),
        *("–" if price is None else f"{price:.0f}" for price in prices),
        _kinds(row.cells[OURS]),
        *((_ratio(verdict), _word(verdict)) if verdict else ("", "")),
    ]


def _seconds(row: Row, program: str) -> str:
    cell = row.cells.get(program)
    if cell is None:
        return ""
    if cell.failure == NOT_MEASURED:
        return "–"
    if cell.failure:
        return cell.failure if cell.stopped_seconds is not None else "failed"
    return f"{row.seconds(program):.2f}" + ("" if len(cell.runs) == len(row.cells[OURS].runs) else "¹")


def _word(verdict: Verdict) -> str:
    return f"floor {verdict.floor:.2f}" if verdict.is_below_floor else _WORDS[verdict.reached]


def _ratio(verdict: Verdict) -> str:
    if verdict.ratio is None:
        return "–"
    if math.isinf(verdict.ratio):
        return "failed"
    spread = "" if verdict.low == verdict.high else f" ({verdict.low:.2f}–{verdict.high:.2f})"
    return f"{'< ' if verdict.at_most else ''}{verdict.ratio:.2f}{spread}"


def _kinds(cell: Cell) -> str:
    """Return the requests by kind of the median run."""
    if not cell.runs:
        return "–"
    run = sorted(cell.runs, key=price_of)[len(cell.runs) // 2]
    return ", ".join(f"{count} {kind}" for kind, count in run.asked.kinds.items()) or "none"
