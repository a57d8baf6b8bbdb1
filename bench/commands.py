"""Run a command in a mounted directory, and tell what it cost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.programs import Failure, Stopped, kill

if TYPE_CHECKING:
    from bench.programs import Mounted

_KILL_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tell the seconds of a command, and CPU seconds and peak of the mount that served it."""

    seconds: float
    cpu: float
    peak_rss_bytes: int


def cost(command: str, mount: Mounted, patience: float, *, local: Path) -> Cost:
    """Run a command as `execute` does, and return what it cost."""
    cpu = mount.cpu_seconds()
    seconds = execute(command, mount, patience, local=local)
    return Cost(seconds=seconds, cpu=mount.cpu_seconds() - cpu, peak_rss_bytes=mount.peak_rss_bytes())


def execute(command: str, mount: Mounted, patience: float, *, local: Path) -> float:
    """Run a command for sh in the mount's directory, with $LOCAL and $BENCH; return its seconds.

    Raises Stopped when they are more than `patience`; the mount is killed then, as it may hang.
    """
    # The shell changes the directory, as a hung mount would hold up this process.
    script = f'cd "$0" || exit 1; {command}'
    began = time.monotonic()
    process = subprocess.Popen(
        ["sh", "-c", script, str(mount.directory)],
        env={**os.environ, "LOCAL": str(local), "BENCH": str(Path(__file__).parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        kill(mount.pid)
        process.communicate(timeout=_KILL_SECONDS)
        raise Stopped(patience) from None
    if process.returncode:
        words = said.decode(errors="replace").strip().splitlines() or ["it saw something wrong"]
        raise Failure(f"status {process.returncode}: {words[-1][-160:]}")
    return time.monotonic() - began


def settle_disk(*, drop_pages: bool) -> None:
    """Wait until the disk has all that was written, and empty the kernel's page cache if asked to."""
    subprocess.run(["sync"], timeout=60, check=True)
    if drop_pages:
        # Only root may; but the caches of a fresh mount are empty anyway.
        with contextlib.suppress(OSError):
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
