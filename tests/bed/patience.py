"""Wait for what another process does, within a bound."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def wait_until(condition: Callable[[], object], seconds: float, *, every_seconds: float = 0.02) -> None:
    """Return as soon as the condition holds; fail the test when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{condition.__name__} did not hold within {seconds} s")
        time.sleep(every_seconds)


def read_until(condition: Callable[[], object], path: Path, *, within_seconds: float = 30.0) -> None:
    """Read past every cache, ten times a second, until it holds; every failure raises."""
    end = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < end
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            assert os.read(file, 100) == b"still here"
        finally:
            os.close(file)
        time.sleep(0.1)
