from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from s3rolefs.fuse import kernel

LIMIT_SECONDS = 30.0
TTL_SECONDS = 1.0


class Served:
    """A directory on which a bucket in memory is mounted, and another client of that bucket."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.path = directory
        self._process = process
        assert self._answer() == "ready"

    def ask(self, verb, *arguments):
        self._process.stdin.write(json.dumps([verb, arguments]).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def put(self, key, content=b"", **metadata):
        self.ask("put", key, base64.b64encode(content).decode(), metadata)

    def get(self, key):
        return base64.b64decode(self.ask("get", key))

    def resident_kib(self):
        """Return how much memory the server uses."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def shell(self, script):
        """Run a script in the mounted directory; return what it printed."""
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=self.path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _answer(self):
        ready, _, _ = select.select([self._process.stdout], [], [], LIMIT_SECONDS)
        assert ready, "the server does not answer"
        line = self._process.stdout.readline()
        assert line, "the server has ended"
        return json.loads(line)


@contextmanager
def served(folder: Path, *words: str, ttl_seconds: float):
    directory, spool = folder / "mnt", folder / "spool"
    directory.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuse.server", directory, spool, str(ttl_seconds), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield Served(directory, process)
    finally:
        with suppress(kernel.NotMountedError):
            kernel.unmount_blocking(str(directory), lazy=True)
        process.stdin.close()
        try:
            assert process.wait(LIMIT_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    assert not os.path.ismount(directory)


@pytest.fixture
def mount(tmp_path):
    """A mount whose caches hold for the whole test."""
    with served(tmp_path, ttl_seconds=60) as made:
        yield made


@pytest.fixture
def short_lived(tmp_path):
    """A mount whose caches hold for TTL_SECONDS."""
    with served(tmp_path, ttl_seconds=TTL_SECONDS) as made:
        yield made


@pytest.fixture
def write_through(tmp_path):
    """A mount for which the kernel gathers no writes."""
    with served(tmp_path, "write_through", ttl_seconds=60) as made:
        yield made


@pytest.fixture
def with_xattr(tmp_path):
    """A mount that serves extended attributes."""
    with served(tmp_path, "xattr", ttl_seconds=60) as made:
        yield made
