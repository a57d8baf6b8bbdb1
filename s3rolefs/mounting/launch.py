"""Start the serving process afresh and wait until it has served its first request.

Threads do not survive a fork, so nothing of this process is carried over: the serving process is
a new interpreter with a clean environment, its configuration on a descriptor, and a pipe on which
it says ready, or a status and a sentence.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from s3rolefs.errors import MountFailure, SystemFailure, UserError
from s3rolefs.fuse import kernel
from s3rolefs.mounting import mounttable
from s3rolefs.mounting.environment import clean_environment, secrets_of
from s3rolefs.mounting.handover import Handover

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.config import MountConfig

# The serving process watches mount_wait itself and can say what it was waiting for.
_GRACE_SECONDS = 5.0
# A person at a terminal is told why nothing happens after so long.
_SILENCE_SECONDS = 3.0


def launch(config: MountConfig, environ: Mapping[str, str]) -> None:
    """Mount in a process of its own and return when the mount has answered its first request.

    Raises `UserError` with the sentence and the exit status that the serving process gave.
    """
    handover_fd = Handover(config=config, secrets=secrets_of(environ)).write()
    ready_fd, report_fd = os.pipe()
    errors_fd = os.memfd_create("s3rolefs-errors", os.MFD_CLOEXEC)
    try:
        process = subprocess.Popen(
            _command(config, handover_fd, report_fd),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors_fd,
            cwd="/",
            env=clean_environment(environ, config.pass_env),
            pass_fds=(handover_fd, report_fd),
            start_new_session=True,
        )
        os.close(report_fd)
        try:
            if sys.stderr.isatty() and not select.select([ready_fd], [], [], _SILENCE_SECONDS)[0]:
                print(
                    f"Still trying to reach {config.source} (for {config.mount_wait_seconds:g} s at most, "
                    "mount_wait); Ctrl-C gives up.",
                    file=sys.stderr,
                )
            report = _wait_for_report(ready_fd, config.mount_wait_seconds + _GRACE_SECONDS)
        except BaseException:
            _end(process, config)
            raise
        if report is None:
            _end(process, config)
            raise SystemFailure(_last_words(process, errors_fd))
        if report["status"]:
            process.wait(_GRACE_SECONDS)
            raise _failure(report["status"], report["message"])
    finally:
        for descriptor in (handover_fd, ready_fd, errors_fd):
            os.close(descriptor)


def serve_in_foreground(config: MountConfig, environ: Mapping[str, str]) -> NoReturn:
    """Become the serving process: the same one, but with a clean environment and its log on stderr."""
    handover_fd = Handover(config=config, secrets=secrets_of(environ)).write()
    os.set_inheritable(handover_fd, True)
    command = _command(config, handover_fd, None)
    os.execve(command[0], command, clean_environment(environ, config.pass_env))


def _command(config: MountConfig, handover_fd: int, report_fd: int | None) -> list[str]:
    # Source and directory are there for who looks at `ps`; the process reads the handover only.
    channel = "foreground" if report_fd is None else str(report_fd)
    return [
        sys.executable,
        "-I",
        "-m",
        "s3rolefs.mounting.process",
        str(handover_fd),
        channel,
        config.source,
        config.mountpoint,
    ]


def _wait_for_report(ready_fd: int, limit_seconds: float) -> dict[str, object] | None:
    """Return the report, or None when the process ended or stayed silent."""
    deadline = time.monotonic() + limit_seconds
    received = b""
    while not received.endswith(b"\n"):
        readable, _, _ = select.select([ready_fd], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return None
        piece = os.read(ready_fd, 65536)
        if not piece:
            return None
        received += piece
    report: dict[str, object] = json.loads(received)
    return report


def _end(process: subprocess.Popen[bytes], config: MountConfig) -> None:
    """Stop a process that never became ready and leave nothing mounted."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            break
    mount = mounttable.mount_at(config.mountpoint)
    if mount is not None and mount.filesystem == mounttable.FILESYSTEM_TYPE and mount.source == config.source:
        with contextlib.suppress(kernel.NotMountedError):
            kernel.unmount_blocking(config.mountpoint, lazy=True)


def _last_words(process: subprocess.Popen[bytes], errors_fd: int) -> str:
    os.lseek(errors_fd, 0, os.SEEK_SET)
    lines = os.read(errors_fd, 1 << 20).decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it left no message")
    return f"The serving process ended (status {process.returncode}) before the mount was ready: {said}."


def _failure(status: object, message: object) -> UserError:
    kinds = {2: SystemFailure, 32: MountFailure}
    return (
        kinds.get(status, UserError)(str(message)) if isinstance(status, int) else SystemFailure(str(message))
    )
