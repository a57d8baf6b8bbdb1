"""Run a command that hands over a token or a code: bounded in time and output, never shown."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import trio

from s3rolefs.errors import CredentialsError, Reason

_LIMIT_SECONDS = 60.0


async def output_of(command: str, *, option: str, largest_bytes: int) -> str:
    """Return what a command prints, without white space around it; no shell is involved.

    It gets no input, and a minute; then it is killed with all that it started. What it says on
    stderr goes where ours goes. Raises `CredentialsError`: SESSION_MISSING for a command that
    cannot work, UNREACHABLE for one that may work the next time. Neither shows its output.
    """
    words = shlex.split(command)
    name = f"The command of {option} ({Path(words[0]).name})"
    try:
        # A session of its own, so that it can be ended together with what it started.
        process = await trio.lowlevel.open_process(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise _unusable(f"{name} cannot be run: {error.strerror}.") from None
    try:
        with trio.fail_after(_LIMIT_SECONDS):
            output = await _read(process, largest_bytes, name)
            status = await process.wait()
    except trio.TooSlowError:
        sentence = f"{name} did not end within {_LIMIT_SECONDS:g} s."
        raise CredentialsError(Reason.UNREACHABLE, sentence) from None
    finally:
        # One that ended by itself may have left a helper behind on purpose, such as an agent.
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise CredentialsError(Reason.UNREACHABLE, f"{name} {how}: run it by hand to see why.")
    try:
        text = output.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _unusable(f"{name} printed something that is not text.") from None
    if not text:
        raise _unusable(f"{name} printed nothing.")
    return text


async def _read(process: trio.Process, largest_bytes: int, name: str) -> bytes:
    assert process.stdout is not None  # asked for above
    output = b""
    async with process.stdout as stream:
        async for piece in stream:
            output += piece
            if len(output) > largest_bytes:
                raise _unusable(f"{name} printed more than {largest_bytes} bytes.")
    return output


def _unusable(sentence: str) -> CredentialsError:
    return CredentialsError(Reason.SESSION_MISSING, sentence)
