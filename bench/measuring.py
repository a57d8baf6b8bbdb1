"""Measure: each program in turn on a fresh mount with nothing cached, again and again.

The machine's speed drifts, so programs are compared run by run, in an order that changes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import profiling
from bench.datasets import remove
from bench.programs import OURS, Errand, Failure, Mounted, Program, kill, mounted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.server import Asked, Server
    from bench.workloads import Workload

LIMIT_SECONDS = 45.0
# A program that is so much slower than the fastest is not measured a second time.
_HOPELESS = 3.0
_KILL_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Tell what one run of a command cost."""

    seconds: float
    cpu: float
    asked: Asked


@dataclass(slots=True, kw_only=True)
class Cell:
    """Hold the runs of one program in one row, or why it failed."""

    runs: list[Run]
    failure: str = ""


class Laboratory:
    """Measure the rows on one server; `folder` takes what programs keep on disk."""

    def __init__(self, server: Server, folder: Path, programs: Sequence[Program]) -> None:
        self._server = server
        self._folder = folder
        self._programs = programs
        self._present = ""

    def measure(
        self, workload: Workload, latency_ms: int, runs: int, profile: Path | None = None
    ) -> dict[str, Cell]:
        """Return a cell for each program that takes part, ours first; `profile` names a file for ours."""
        taking_part = [p for p in self._programs if not workload.writes or p.name in workload.writes | {OURS}]
        cells = {program.name: Cell(runs=[]) for program in taking_part}
        for number in range(runs):
            order = taking_part if number % 2 == 0 else taking_part[::-1]
            for program in order:
                cell = cells[program.name]
                if number and (cell.failure or _is_hopeless(cells, program.name)):
                    continue
                try:
                    cell.runs.append(self._run(program, workload, latency_ms, profile))
                except Failure as failure:
                    cell.failure = str(failure)
        return cells

    def _run(self, program: Program, workload: Workload, latency_ms: int, profile: Path | None) -> Run:
        self._prepare(workload)
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
            scratch = Path(name)
            (scratch / "mnt").mkdir()
            errand = Errand(
                server=self._server,
                url=self._server.url(latency_ms),
                directory=scratch / "mnt",
                scratch=scratch,
                options=workload.options if program.name == OURS else "",
            )
            if workload.remount:
                with mounted(program, errand) as mount:
                    self._execute(workload.first, mount)
            _drop_caches()
            with mounted(program, errand) as mount:
                if workload.first and not workload.remount:
                    self._execute(workload.first, mount)
                begin = self._server.mark()
                with contextlib.ExitStack() as around:
                    if profile and program.name == OURS:
                        around.enter_context(profiling.recorded(mount.pid, profile))
                    cpu = mount.cpu_seconds()
                    seconds = self._execute(workload.command, mount)
                    cpu = mount.cpu_seconds() - cpu
            # Unmounting is part of the bill: what was asked for in advance is paid for, too.
            asked = self._server.asked(begin, self._server.mark())
        if not workload.check(self._server.s3):
            raise Failure("S3 does not hold what the command wrote")
        return Run(seconds=seconds, cpu=cpu, asked=asked)

    def _prepare(self, workload: Workload) -> None:
        data, s3 = workload.data, self._server.s3
        if self._present == data.prefix and not workload.writes:
            return
        for prefix in {self._present, data.prefix} - {""}:
            remove(s3, prefix)
        self._present = data.prefix
        data.put(s3, self._folder / "local")
        self._server.free()

    def _execute(self, command: str, mount: Mounted) -> float:
        """Run a command in the mount's directory; return its seconds. A mount that hangs is killed."""
        # The shell changes the directory, as a hung mount would hold up this process.
        script = f'cd "$0" || exit 1; {command}'
        more = {"LOCAL": str(self._folder / "local"), "BENCH": str(Path(__file__).parent)}
        began = time.monotonic()
        process = subprocess.Popen(
            ["sh", "-c", script, str(mount.directory)],
            env={**os.environ, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, said = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            kill(mount.pid)
            process.communicate(timeout=_KILL_SECONDS)
            raise Failure(f"> {LIMIT_SECONDS:.0f} s") from None
        if process.returncode:
            words = said.decode(errors="replace").strip().splitlines() or ["it saw something wrong"]
            raise Failure(f"status {process.returncode}: {words[-1][-160:]}")
        return time.monotonic() - began


def _is_hopeless(cells: dict[str, Cell], name: str) -> bool:
    firsts = {peer: cell.runs[0].seconds for peer, cell in cells.items() if peer != OURS and cell.runs}
    return name != OURS and firsts[name] > _HOPELESS * min(firsts.values())


def _drop_caches() -> None:
    subprocess.run(["sync"], timeout=60, check=True)
    # Only root may; but the caches of a fresh mount are empty anyway.
    with contextlib.suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
