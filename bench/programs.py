"""Mount with each program: s3rolefs, and the peers that are on this machine.

A peer is what PATH has under its name, or the binary that PEER_NAME (PEER_GEESEFS, PEER_MOUNT_S3, …) names.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.server import BUCKET
from s3rolefs.mounting import mounttable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS = "s3rolefs"
# What the least that any mount could take is called in the place of a program.
FLOOR = "floor"
_MOUNT_SECONDS = 30
_END_SECONDS = 60
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """Say why a program did not do what was asked, or not in time."""


class Stopped(Failure):
    """Say that a program was stopped, as it needed longer than `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"> {seconds:.1f} s")
        self.seconds = seconds


class Service(Protocol):
    """Say what a program must know of who answers it."""

    access_key: str
    secret_key: str
    ca_bundle: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Say what is to be mounted where; `scratch` outlives the mount, and takes caches.

    `local` is the folder of local files, for programs that show one.
    """

    server: Service
    url: str
    directory: Path
    scratch: Path
    local: Path
    options: str = ""

    def joined(self, *options: str) -> str:
        """Return the text of -o."""
        return ",".join(filter(None, (*options, self.options)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Describe a program that mounts buckets, or for comparison a folder."""

    name: str
    binary: str
    command: Callable[[str, Errand], list[str]]

    def version(self) -> str:
        """Return what the program says of its version, in a word."""
        flag = "-version" if self.name == "goofys" else "--version"
        said = subprocess.run([self.binary, flag], capture_output=True, text=True, timeout=30, check=False)
        words = (said.stdout + said.stderr).replace(",", " ").split()
        return next((word.lstrip("vV") for word in words if word.lstrip("vV")[:1].isdigit()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """Name a mount: its directory and the process that serves it, the first of its session."""

    directory: Path
    pid: int

    def cpu_seconds(self) -> float:
        """Return user and system time of the processes and their children (proc(5), stat fields 14 to 17)."""
        return sum(sum(map(int, fields[11:15])) for _, fields in self._processes()) / _CLOCK_TICKS

    def peak_rss_bytes(self) -> int:
        """Return the most that was resident at once, of all processes together (proc(5), VmHWM)."""
        kib = 0
        for folder, _ in self._processes():
            with contextlib.suppress(OSError):
                peak = re.search(r"^VmHWM:\s+(\d+) kB", (folder / "status").read_text(), re.MULTILINE)
                kib += int(peak[1]) if peak else 0
        return kib * 1024

    def _processes(self) -> Iterator[tuple[Path, list[str]]]:
        """Yield the folder and the stat of each process of the session, without its name."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.pid:
                    yield path.parent, fields


def _ours(binary: str, errand: Errand) -> list[str]:
    credentials = errand.scratch / "credentials"
    credentials.touch(mode=0o600)
    server = errand.server
    credentials.write_text(
        f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    )
    options = errand.joined(
        f"endpoint_url={errand.url}",
        f"credentials_file={credentials}",
        f"spool_dir={errand.scratch / 'spool'}",
        f"cache_dir={errand.scratch / 'cache'}",
        f"ca_bundle={server.ca_bundle}" if server.ca_bundle else "",
    )
    return [binary, "mount", f"s3://{BUCKET}", str(errand.directory), "-o", options, "--foreground"]


def _s3fs(binary: str, errand: Errand) -> list[str]:
    # What s3fs itself recommends for speed; its defaults (10 MiB parts, 5 at once) are slower.
    tuned = "parallel_count=16,multipart_size=16,max_stat_cache_size=100000"
    options = errand.joined(f"url={errand.url}", "use_path_request_style", tuned)
    return [binary, BUCKET, str(errand.directory), "-f", "-o", options]


def _rclone(binary: str, errand: Errand) -> list[str]:
    remote = f":s3,provider=Ceph,env_auth,endpoint='{errand.url}':{BUCKET}"
    cache = ["--vfs-cache-mode", "full", "--cache-dir", str(errand.scratch / "cache")]
    trusted = ["--ca-cert", str(errand.server.ca_bundle)] if errand.server.ca_bundle else []
    return [binary, "mount", remote, str(errand.directory), "--config", "/dev/null", *cache, *trusted]


def _goofys(binary: str, errand: Errand) -> list[str]:
    return [binary, "-f", "--endpoint", errand.url, "--region", "us-east-1", BUCKET, str(errand.directory)]


def _mountpoint(binary: str, errand: Errand) -> list[str]:
    service = ["--endpoint-url", errand.url, "--force-path-style", "--region", "us-east-1"]
    return [binary, BUCKET, str(errand.directory), "-f", *service, "--allow-delete", "--allow-overwrite"]


def _bindfs(binary: str, errand: Errand) -> list[str]:
    return [binary, "-f", str(errand.local), str(errand.directory)]


_KNOWN = (
    ("goofys", _goofys),
    ("geesefs", _goofys),
    ("mount-s3", _mountpoint),
    ("s3fs", _s3fs),
    ("rclone", _rclone),
    ("bindfs", _bindfs),
)


def programs() -> tuple[Program, ...]:
    """Return the programs found on this machine, ours first."""
    scripts = Path(sys.executable).parent
    found = [Program(name=OURS, binary=str(scripts / OURS), command=_ours)]
    for name, command in _KNOWN:
        given = os.environ.get(f"PEER_{name.upper().replace('-', '_')}")
        binary = given or shutil.which(name) or shutil.which(name, path=str(scripts))
        if binary:
            found.append(Program(name=name, binary=binary, command=command))
    return tuple(found)


def nothing() -> Program:
    """Return what takes the least where S3 is asked for nothing."""
    return Program(
        name=FLOOR,
        binary=sys.executable,
        command=lambda binary, errand: [binary, "-m", "bench.nothing", str(errand.directory)],
    )


@contextlib.contextmanager
def mounted(program: Program, errand: Errand) -> Iterator[Mounted]:
    """Mount the bucket, and unmount it again; a program that hangs is killed.

    Raises Failure when it does not mount.
    """
    directory, log = errand.directory, errand.scratch / "log"
    environment = _environment(errand)
    with log.open("ab") as output:
        process = subprocess.Popen(
            program.command(program.binary, errand),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_for_mount(directory, process, log)
        yield Mounted(directory=directory, pid=process.pid)
    finally:
        try:
            subprocess.run(["umount", str(directory)], timeout=_END_SECONDS, check=False, capture_output=True)
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            kill(process.pid)
            process.wait(10)
        while mounttable.mount_at(str(directory)) is not None:
            subprocess.run(["umount", "-l", str(directory)], timeout=30, check=False, capture_output=True)


def kill(session: int) -> None:
    """End a mount's processes, which frees whoever waits for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


def _environment(errand: Errand) -> dict[str, str]:
    server = errand.server
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    authority = str(server.ca_bundle) if server.ca_bundle else None
    trusted = {"CURL_CA_BUNDLE": authority, "SSL_CERT_FILE": authority, "AWS_CA_BUNDLE": authority}
    return {**os.environ, **keys, **{name: path for name, path in trusted.items() if path}}


def _wait_for_mount(directory: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _MOUNT_SECONDS
    while mounttable.mount_at(str(directory)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise Failure(f"did not mount; it said: {said[-1][:200]}")
        time.sleep(0.02)
    # All answer the first request before they are timed.
    try:
        subprocess.run(["stat", str(directory)], timeout=_MOUNT_SECONDS, check=True, capture_output=True)
    except subprocess.SubprocessError as error:
        raise Failure(f"did not answer: {error}") from None
