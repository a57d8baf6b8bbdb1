"""Say where the time of a mount goes while a command runs, with py-spy."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_RATE = 200
_START_SECONDS = 1.0
_STOP_SECONDS = 30
_LINES = 25


@contextlib.contextmanager
def recorded(pid: int, path: Path | None) -> Iterator[None]:
    """Sample which thread of a process holds the interpreter; write stacks with counts, for flame graphs.

    The process is not stopped for it: that makes one of forty threads several times slower. Without a path
    nothing is sampled.
    """
    if path is None:
        yield
        return
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
    path.parent.mkdir(parents=True, exist_ok=True)
    sampling = [program, "record", "--pid", str(pid), "--rate", str(_RATE), "--format", "raw"]
    process = subprocess.Popen(
        [*sampling, "--gil", "--nonblocking", "--duration", "600", "--output", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # It says nothing when it is ready.
        time.sleep(_START_SECONDS)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_SECONDS)


def summary(path: Path) -> str:
    """Return the functions that used most time, alone and with all they call, in shares of the samples."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] + ")" if ":" in frame else frame for frame in stack.split(";")]
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    total = sum(alone.values()) or 1
    lines = [f"Python ran for {total / _RATE:.2f} s; shares of it alone, and with what is called:"]
    for frame, samples in alone.most_common(_LINES):
        lines.append(f"  {100 * samples / total:5.1f} % {100 * within[frame] / total:5.1f} %  {frame}")
    lines.append("with what is called, of our own:")
    for frame, samples in [item for item in within.most_common() if "s3rolefs/" in item[0]][:_LINES]:
        lines.append(f"          {100 * samples / total:5.1f} %  {frame}")
    return "\n".join(lines)
