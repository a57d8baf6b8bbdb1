"""Keep a mount busy while something happens to it, and tell whether anybody noticed."""

from __future__ import annotations

import os
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Self

from tests.bed.mounts import LIMIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

PAUSE_SECONDS = 0.02
FILES = 100


class Traffic:
    """Write a file, and read it and an older one past every cache, again and again until the `with` ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self.rounds = 0
        self.slowest_seconds = 0.0
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join(LIMIT_SECONDS)
        if self._thread.is_alive():
            self.errors.append(f"round {self.rounds} has not ended within {LIMIT_SECONDS:g} s")

    def _go_on(self) -> None:
        for number in count():
            began = time.monotonic()
            try:
                self._round(number)
            except OSError as error:
                self.errors.append(f"{time.strftime('%H:%M:%S')} {error}")
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
            self.rounds += 1
            if self._end.wait(PAUSE_SECONDS):
                return

    def _round(self, number: int) -> None:
        (self._folder / f"f{number % FILES}").write_bytes(b"%d" % number)
        for written in {number, max(0, number - FILES // 2)}:
            file = os.open(self._folder / f"f{written % FILES}", os.O_RDONLY | os.O_DIRECT)
            try:
                read = os.read(file, 100)
            finally:
                os.close(file)
            if read != b"%d" % written:
                raise OSError(f"f{written % FILES} holds {read!r} instead of {written}")
