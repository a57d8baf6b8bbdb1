"""Mount with each program: s3rolefs, and the peers that the registries give."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNT_SECONDS = 30
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Say where the bucket is and with which keys."""

    endpoint_url: str
    bucket: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class Mounted:
    """Name a mount: its directory and the process that serves it."""

    directory: Path
    pid: int

    def cpu_seconds(self) -> float:
        """Return user and system time of the serving process (proc(5), stat fields 14 and 15)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def programs() -> tuple[str, ...]:
    """Return the programs found on this machine, ours first."""
    return ("s3rolefs", *(name for name in ("s3fs",) if shutil.which(name)))


@contextlib.contextmanager
def mounted(program: str, server: Server, scratch: Path) -> Iterator[Mounted]:
    """Mount a bucket with one of the programs, with nothing cached, and unmount it again."""
    directory = scratch / "mnt"
    directory.mkdir()
    start = {"s3rolefs": _s3rolefs, "s3fs": _s3fs}[program]
    command, environment = start(server, directory, scratch)
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for_mount(directory, process, scratch / "log")
        yield Mounted(directory, process.pid)
    finally:
        subprocess.run(["umount", str(directory)], timeout=60, check=False, capture_output=True)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            subprocess.run(["umount", "-l", str(directory)], timeout=30, check=False, capture_output=True)
            process.wait(timeout=10)


def _s3rolefs(server: Server, directory: Path, scratch: Path) -> tuple[list[str], dict[str, str]]:
    credentials = scratch / "credentials"
    credentials.write_text(
        f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    )
    credentials.chmod(0o600)
    options = (
        f"endpoint_url={server.endpoint_url},credentials_file={credentials},"
        f"spool_dir={scratch},cache_dir={scratch}"
    )
    command = [
        str(Path(sys.executable).with_name("s3rolefs")),
        "mount",
        f"s3://{server.bucket}",
        str(directory),
        "-o",
        options,
        "--foreground",
    ]
    return command, dict(os.environ)


def _s3fs(server: Server, directory: Path, scratch: Path) -> tuple[list[str], dict[str, str]]:
    passwords = scratch / "passwd"
    passwords.write_text(f"{server.access_key}:{server.secret_key}\n")
    passwords.chmod(0o600)
    options = f"url={server.endpoint_url},use_path_request_style,passwd_file={passwords}"
    # What s3fs itself recommends for speed; its defaults (10 MiB parts, 5 at once) are slower.
    tuned = "parallel_count=16,multipart_size=16,max_stat_cache_size=100000"
    return ["s3fs", server.bucket, str(directory), "-f", "-o", f"{options},{tuned}"], dict(os.environ)


def _wait_for_mount(directory: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _MOUNT_SECONDS
    while not os.path.ismount(directory):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r} did not mount: {log.read_text(errors='replace').strip()}")
        time.sleep(0.05)
    # Both answer the first request before they are timed.
    subprocess.run(["stat", str(directory)], timeout=30, check=True, capture_output=True)
