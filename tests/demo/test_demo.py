"""`make demo` shows the product and leaves nothing behind, however it ends."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s3rolefs.fuse import kernel
from s3rolefs.mounting import mounttable

LIMIT_SECONDS = 60
HELPER = Path("/sbin/mount.s3rolefs")


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def folder(tmp_path, machine):
    """Where the demonstration makes its files; afterwards nothing may be there, and nothing mounted."""
    had_helper = HELPER.is_symlink()
    yield tmp_path
    left = [m.mountpoint for m in mounttable.mounts() if m.mountpoint.startswith(str(tmp_path))]
    for mountpoint in left:
        kernel.unmount_blocking(mountpoint, lazy=True)
    assert left == []
    assert list(tmp_path.iterdir()) == []
    assert HELPER.is_symlink() is had_helper


def command(port):
    return [sys.executable, "-m", "demo", "--port", str(port)]


def run(folder, port):
    return subprocess.run(
        command(port),
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def test_without_a_terminal_it_ends_by_itself(folder, port):
    result = run(folder, port)
    assert (result.returncode, result.stderr) == (0, "")
    expiries = re.findall(r"^expires: (\S+ \S+) UTC", result.stdout, re.MULTILINE)
    assert len(expiries) == 3
    assert expiries[0] < expiries[1] == expiries[2]
    assert "assumed-role/archivist/" in result.stdout
    assert "archive/photos/1969-moon.txt" in result.stdout
    assert "- back to the garden" in result.stdout


def test_a_port_in_use_is_one_sentence(folder, port):
    with socket.create_server(("127.0.0.1", port)):
        result = run(folder, port)
    assert result.returncode == 1
    assert (
        result.stderr.strip()
        == f"Port {port} is in use: choose another one with `make demo PORT={port + 1}`."
    )


class Terminal:
    """The demonstration on a terminal of its own."""

    def __init__(self, folder, port):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command(port),
            env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "200"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def wait_for(self, words):
        deadline = time.monotonic() + LIMIT_SECONDS
        while words not in self.text:
            readable, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, self.text
            self.text += os.read(self.master, 65536).decode(errors="replace")

    def interrupt(self):
        """Press Ctrl-C: the signal goes to everybody in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(LIMIT_SECONDS)
        os.close(self.master)


def test_on_a_terminal_the_mount_is_the_persons_until_ctrl_c(folder, port):
    with Terminal(folder, port) as terminal:
        terminal.wait_for("Open another terminal")
        [directory] = folder.glob("*/archive")
        assert (directory / "photos" / "1969-moon.txt").read_text() == "(imagine a photograph)\n"
        terminal.interrupt()
        assert terminal.process.wait(LIMIT_SECONDS) == 0


def test_ctrl_c_in_the_middle(folder, port):
    with Terminal(folder, port) as terminal:
        terminal.wait_for("Who am I")
        terminal.interrupt()
        assert terminal.process.wait(LIMIT_SECONDS) == 0
