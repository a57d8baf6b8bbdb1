"""Serve a mount whose clock somebody else drives: `python -m tests.bed.driven OFFSETS SOURCE DIR OPTIONS`.

The same `Server` as always, in the foreground; only its clock is another one. What it did with it shows
in its status and its log (stderr). One line on stdout says that it is ready.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from s3rolefs.clock import SystemClock
from tests.bed.mounts import LIMIT_SECONDS, Mounted, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFSETS = struct.Struct("dd")  # wall, boot
ROOT = Path(__file__).parents[2]


class DrivenClock(SystemClock):
    """Add the two offsets of a file, which another process may change, to the machine's clocks."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._offsets = mmap.mmap(file.fileno(), OFFSETS.size)

    @classmethod
    def make(cls, path: Path) -> Self:
        """Return a clock that goes right so far; its file is new."""
        path.write_bytes(OFFSETS.pack(0.0, 0.0))
        return cls(path)

    def wall_seconds(self) -> float:
        """Return seconds since the epoch, or so."""
        return super().wall_seconds() + OFFSETS.unpack(self._offsets[:])[0]

    def boot_seconds(self) -> float:
        """Return seconds since boot, time spent suspended included."""
        return super().boot_seconds() + OFFSETS.unpack(self._offsets[:])[1]

    def step_wall(self, seconds: float) -> None:
        """Set the date by so much, as a person does."""
        self._move(seconds, 0.0)

    def suspend(self, seconds: float) -> None:
        """Let the machine have slept: both clocks went on, and nothing else did."""
        self._move(seconds, seconds)

    def _move(self, wall_seconds: float, boot_seconds: float) -> None:
        wall, boot = OFFSETS.unpack(self._offsets[:])
        self._offsets[:] = OFFSETS.pack(wall + wall_seconds, boot + boot_seconds)


@contextmanager
def mounted(place: Place, clock_file: Path, source: str, **options: object) -> Iterator[Mounted]:
    """Mount as `Place.mounted` does, by the clock in a file."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__]
    command += [str(clock_file), source, str(place.directory), place.options(**options)]
    log = clock_file.with_suffix(".log")
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, start_new_session=True
        ) as process,
    ):
        assert process.stdout is not None  # asked for above
        try:
            said = process.stdout.readline()
            assert said == b"ready\n", log.read_text()
            yield place.find()
        finally:
            place.clear(process.pid)
            process.wait(LIMIT_SECONDS)


def main(clock_file: str, source: str, directory: str, options: str) -> int:
    """Serve until unmounted."""
    import trio

    from s3rolefs.mounting import journal
    from s3rolefs.mounting.handover import Handover
    from s3rolefs.mounting.options import parse_mount
    from s3rolefs.mounting.serve import Server

    config = parse_mount(source, directory, [options])
    journal.log_to_stderr(config.log_level)
    ready = b"ready\n"
    server = Server(
        Handover(config=config),
        lambda: [os.write(1, ready)],
        clock=DrivenClock(Path(clock_file)),
    )
    return trio.run(server.run)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
