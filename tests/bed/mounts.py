"""Make real kernel mounts with the real program, each in a directory of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3rolefs.fuse import kernel
from s3rolefs.mounting import mounttable
from tests.bed.patience import wait_until
from tests.bed.radosgw import REGION, Keys, RadosGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = str(Path(sys.executable).parent / "s3rolefs")
LIMIT_SECONDS = 60.0


# Options that change how fast a mount is and nothing that a program sees: as it comes, all on, all off.
SPEEDS: dict[str, dict[str, object]] = {
    "defaults": {},
    "fast": {"writeback": True, "cache_size": "1G"},
    "plain": {"write_through": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """One mount that is ready, and the process that serves it."""

    path: Path
    source: str
    pid: int

    def ask(self, command: str) -> dict[str, Any]:
        """Return what `s3rolefs COMMAND DIR --json` prints."""
        answer: dict[str, Any] = json.loads(run(PROGRAM, command, self.path, "--json").stdout)
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the serving process."""
        os.kill(self.pid, number)

    def wait_for_end(self) -> None:
        """Wait until the serving process has ended."""
        wait_for_end(self.pid)


class Place:
    """A directory to mount on, and the options that reach the server. Everything lies below `folder`."""

    def __init__(self, folder: Path, gateway: RadosGateway, keys: Keys | None = None) -> None:
        self.gateway = gateway
        self.directory = folder / "mnt"
        self.directory.mkdir()
        self.spool = folder / "spool"
        self.cache = folder / "cache"
        self.credentials = folder / "credentials"
        self.write_keys(keys or gateway.admin_keys)

    def write_keys(self, keys: Keys) -> None:
        """Write the file that `credentials_file` names."""
        lines = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.session_token,
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items() if value)
        self.credentials.touch(mode=0o600)
        self.credentials.write_text(f"[default]\n{text}")

    def options(self, **more: object) -> str:
        """Return the text of -o: True makes a bare word, None leaves an option out."""
        options: dict[str, object] = {
            "credentials_file": self.credentials,
            "endpoint_url": self.gateway.endpoint_url,
            "sts_endpoint": self.gateway.endpoint_url if "role_arn" in more else None,
            "region": REGION,
            "spool_dir": self.spool,
            "cache_dir": self.cache,
            "mount_wait": 30,
            "stop_timeout": 20,
        }
        options |= more
        return ",".join(
            name if value is True else f"{name}={value}"
            for name, value in options.items()
            if value is not None
        )

    def command(self, source: str, **options: object) -> list[str]:
        """Return the command that mounts `source` here."""
        return [PROGRAM, "mount", source, str(self.directory), "-o", self.options(**options)]

    def find(self) -> Mounted:
        """Return the mount that is here now."""
        record = json.loads(run(PROGRAM, "status", self.directory, "--json").stdout)
        return Mounted(path=self.directory, source=record["source"], pid=record["pid"])

    @contextmanager
    def mounted(self, source: str, **options: object) -> Iterator[Mounted]:
        """Mount until the block ends; afterwards nothing is mounted and no process is left."""
        found = None
        try:
            run(*self.command(source, **options))
            found = self.find()
            yield found
        finally:
            self.clear(found.pid if found else None)

    @contextmanager
    def logged(self, source: str, log: Path, **options: object) -> Iterator[Mounted]:
        """Mount until the block ends, with the log added to a file."""
        before = log.read_text() if log.exists() else ""
        with log.open("ab") as stderr:
            command = [*self.command(source, **options), "--foreground"]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            wait_until(lambda: "is mounted on" in log.read_text().removeprefix(before), LIMIT_SECONDS)
            yield self.find()
        finally:
            self.clear()
            process.kill()
            process.wait()

    def clear(self, pid: int | None = None) -> None:
        """Leave nothing mounted here and no process behind it, whatever happened."""
        while mounttable.mount_at(str(self.directory)) is not None:
            kernel.unmount_blocking(str(self.directory), lazy=True)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for_end(pid)


def as_user(number: int = 65534) -> list[str]:
    """Return what to put before a command so that an ordinary user runs it.

    The user may read whatever root may, because the checkout may lie in root's home.
    """
    caps = "+dac_read_search"
    ids = [f"--reuid={number}", f"--regid={number}", "--clear-groups"]
    return ["/usr/bin/setpriv", *ids, f"--inh-caps={caps}", f"--ambient-caps={caps}"]


def run(
    *command: object, check: bool = True, limit_seconds: float = LIMIT_SECONDS, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, within a limit; with `check`, a failure shows what it said."""
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=limit_seconds,
        check=False,
        **more,
    )
    if check and result.returncode:
        raise AssertionError(
            f"{command} ended with status {result.returncode}:\n{result.stdout}{result.stderr}"
        )
    return result


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended, reaped by its parent or not."""
    if not has_ended(pid, within_seconds=LIMIT_SECONDS):
        raise AssertionError(f"process {pid} still runs")


def has_ended(pid: int, *, within_seconds: float = 0.0) -> bool:
    """Return whether a process has ended, reaped by its parent or not."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ended, _, _ = select.select([process], [], [], within_seconds)
    finally:
        os.close(process)
    return bool(ended)
