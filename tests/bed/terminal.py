"""Run a program that has a terminal, and type the answers to its questions."""

from __future__ import annotations

import os
import select
import subprocess
from typing import TYPE_CHECKING

from tests.bed.mounts import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def on_a_terminal(command: Sequence[object], answers: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end, type each answer once its question stands last; return status and screen."""
    ours, theirs = os.openpty()
    left = {question.encode(): answer for question, answer in answers.items()}
    try:
        process = subprocess.Popen(
            ["setsid", "--ctty", *map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        screen = b""
        while select.select([ours], [], [], LIMIT_SECONDS)[0]:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # EIO: nobody holds the terminal any more
                break
            screen += piece
            for question in [question for question in left if screen.endswith(question)]:
                os.write(ours, f"{left.pop(question)}\n".encode())
        return process.wait(LIMIT_SECONDS), screen.decode()
    finally:
        os.close(ours)
