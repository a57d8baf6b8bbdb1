"""Measure how our cost grows: with the keys of a directory, the size of a file, the number of readers.

`make growth` writes the table and the curves into doc/PERFORMANCE.md. What answers is `bench.endless`, which
costs the same whatever it holds, so that what grows is ours.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import report
from bench.commands import Cost, cost, settle_disk
from bench.endless import EndlessStore
from bench.programs import Errand, Failure, mounted, programs
from bench.server import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MIB = 1 << 20
_PATIENCE_SECONDS = 300.0
_READER_MIB = 64
_MOST_READERS = 64
_KEYS = (1_000, 10_000, 100_000, 1_000_000)
_FILES_MIB = (1, 16, 256, 4096, 100 * 1024)
_READERS = (1, 4, 16, _MOST_READERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Say what grows: `command` and the units of work it does depend on a size; `axis` says of what."""

    name: str
    title: str
    axis: str
    unit: str
    sizes: Sequence[int]
    command: Callable[[int], str]
    units: Callable[[int], int]
    options: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Tell what one size cost; what was stopped counts with the time it had, and says so in `failure`."""

    study: str
    size: int
    latency_ms: int
    seconds: float
    cpu: float
    peak_rss_bytes: int
    kinds: dict[str, int]
    failure: str = ""


def _part(mib: int, skip: int, count: int) -> str:
    return f"dd if=files/{mib} of=/dev/null bs=1M skip={skip} count={count} status=none"


def _middle(mib: int) -> str:
    """Read at most 1 GiB, from the middle."""
    count = min(mib, 1024)
    return _part(mib, (mib - count) // 2, count)


STUDIES = (
    Study(
        name="first",
        title="open and read the first MiB",
        axis="MiB of the file",
        unit="MiB",
        sizes=_FILES_MIB,
        command=lambda mib: _part(mib, 0, 1),
        units=lambda _mib: 1,
    ),
    Study(
        name="last",
        title="open and read the last MiB",
        axis="MiB of the file",
        unit="MiB",
        sizes=_FILES_MIB,
        command=lambda mib: _part(mib, mib - 1, 1),
        units=lambda _mib: 1,
    ),
    Study(
        name="middle",
        title="read on from the middle, up to 1 GiB",
        axis="MiB of the file",
        unit="MiB",
        sizes=_FILES_MIB,
        command=_middle,
        units=lambda mib: min(mib, 1024),
    ),
    Study(
        name="readers",
        title=f"readers at once, {_READER_MIB} MiB each, `cache_memory=512M`",
        axis="readers",
        unit="MiB",
        sizes=_READERS,
        command=lambda readers: (
            f"seq 1 {readers} | xargs -P {readers} -I[] dd if=readers/[] of=/dev/null bs=1M status=none"
        ),
        units=lambda readers: readers * _READER_MIB,
        options="cache_memory=512M",
    ),
    Study(
        name="ls",
        title="ls",
        axis="keys in the directory",
        unit="key",
        sizes=_KEYS,
        command=lambda keys: f"test $(ls -U keys/{keys} | wc -l) = {keys}",
        units=lambda keys: keys,
    ),
    Study(
        name="ls-l",
        title="ls -l, `metadata=listing`",
        axis="keys in the directory",
        unit="key",
        sizes=_KEYS,
        command=lambda keys: f"test $(ls -lU keys/{keys} | wc -l) = {keys + 1}",
        units=lambda keys: keys,
        options="metadata=listing",
    ),
)


def holdings() -> dict[str, int]:
    """Return the sizes by key of all that the studies look at."""
    keys = {f"keys/{count}/f{number:07}": 0 for count in _KEYS for number in range(count)}
    files = {f"files/{mib}": mib * MIB for mib in _FILES_MIB}
    return keys | files | {f"readers/{n}": _READER_MIB * MIB for n in range(1, _MOST_READERS + 1)}


@click.command(help=__doc__)
@click.option("--only", "names", default=",".join(study.name for study in STUDIES), show_default=True)
@click.option("--latency", "latencies", default="0,20", show_default=True)
@click.option("--most", type=int, default=10**9, help="Leave out sizes above this.")
@click.option("--minutes", default=20.0, show_default=True, help="Begin nothing further after so long.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("build/growth.json"), show_default=True
)
@click.option("--report", "document", type=click.Path(path_type=Path), help="Write all that is known there.")
def main(names: str, latencies: str, most: int, minutes: float, results: Path, document: Path | None) -> None:
    """Measure, print, and write."""
    deadline = time.monotonic() + minutes * 60
    chosen = [study for study in STUDIES if study.name in names.split(",")]
    with ExitStack() as around:
        name = tempfile.TemporaryDirectory(
            dir="/var/tmp", prefix="s3rolefs-growth-", ignore_cleanup_errors=True
        )
        folder = Path(around.enter_context(name))
        store = around.enter_context(EndlessStore(holdings()))
        lines = Lines(around)
        for study in chosen:
            for latency_ms in map(int, latencies.split(",")):
                for size in [size for size in study.sizes if size <= most]:
                    if time.monotonic() > deadline:
                        click.echo(f"not begun, the {minutes:g} minutes are over: {study.name} {size}")
                        continue
                    url = lines.url(store.endpoint_url, latency_ms)
                    point = _measure(study, size, latency_ms, store, url, folder)
                    click.echo("  ".join(_line(study, point)))
                    _remember(results, point)
    if document is not None:
        points = recall(results)
        # Only who draws has matplotlib: tests go without.
        from bench import curves

        picture = curves.draw(STUDIES, points, document.parent / "performance" / "growth.svg")
        report.write(document, section(points, picture.relative_to(document.parent)), "growth")


def _measure(study: Study, size: int, latency_ms: int, store: EndlessStore, url: str, folder: Path) -> Point:
    ours = programs()[0]
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        (scratch / "mnt").mkdir()
        errand = Errand(
            server=store,
            url=url,
            directory=scratch / "mnt",
            scratch=scratch,
            local=folder,
            options=study.options,
        )
        settle_disk(drop_pages=True)
        failure = ""
        with mounted(ours, errand) as mount:
            store.taken()
            try:
                done = cost(study.command(size), mount, _PATIENCE_SECONDS, local=folder)
            except Failure as said:
                failure = str(said)
                done = Cost(seconds=_PATIENCE_SECONDS, cpu=0.0, peak_rss_bytes=0)
        return Point(
            study=study.name,
            size=size,
            latency_ms=latency_ms,
            seconds=done.seconds,
            cpu=done.cpu,
            peak_rss_bytes=done.peak_rss_bytes,
            kinds=store.taken(),
            failure=failure,
        )


def _remember(path: Path, point: Point) -> None:
    kept = [known for known in recall(path) if _place(known) != _place(point)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(known) for known in [*kept, point]]))


def recall(path: Path) -> list[Point]:
    """Return all that was measured, in the order of `STUDIES`, by latency and size."""
    known = [Point(**point) for point in json.loads(path.read_text())] if path.exists() else []
    return sorted(known, key=_place)


def _place(point: Point) -> tuple[int, int, int]:
    names = [study.name for study in STUDIES]
    return names.index(point.study), point.latency_ms, point.size


def section(points: Sequence[Point], picture: Path) -> Iterable[str]:
    """Return the paragraphs for the document."""
    by_name = {study.name: study for study in STUDIES}
    head = ["what", "ms", "of", "seconds", "per unit", "CPU s", "requests", "peak MiB"]
    yield (
        f"One run of each, {os.cpu_count()} cores, Linux {platform.release()}, over http; what answers is "
        "`bench/endless.py`. The time per unit includes the command's start."
    )
    yield f"![growth]({picture})"
    yield report.markdown(head, [_line(by_name[point.study], point) for point in points])


def _line(study: Study, point: Point) -> list[str]:
    if point.failure:
        size = f"{point.size:,} {study.axis}"
        return [study.title, str(point.latency_ms), size, point.failure, "–", "–", _asked(point), "–"]
    per_unit = point.seconds / study.units(point.size)
    time_per_unit = f"{per_unit * 1e6:.0f} µs" if per_unit < 1e-3 else f"{per_unit * 1e3:.1f} ms"
    return [
        study.title,
        str(point.latency_ms),
        f"{point.size:,} {study.axis}",
        f"{point.seconds:.2f}",
        f"{time_per_unit} / {study.unit}",
        f"{point.cpu:.2f}",
        _asked(point),
        f"{point.peak_rss_bytes / MIB:.0f}",
    ]


def _asked(point: Point) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in point.kinds.items()) or "none"


if __name__ == "__main__":
    # What stops it from outside leaves no mount behind, either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
