"""Commands run in the mounted directory are timed and stopped; memory and CPU are the whole session's."""

import os
import signal
import subprocess
import sys

import pytest

from bench.commands import cost, execute
from bench.programs import Failure, Mounted, Stopped

# Uses 64 MiB and some time, and gives the memory back before it says so.
HUNGRY = "used = b'x' * (64 << 20); del used; sum(range(3_000_000)); print(flush=True); input()"


@pytest.fixture
def mount(tmp_path):
    """A directory with a process in a session of its own, as if it served it."""
    command = [sys.executable, "-c", HUNGRY]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        process.stdout.readline()
        yield Mounted(directory=tmp_path, pid=process.pid)
        process.kill()


def test_the_peak_is_what_was_resident_at_once_and_not_what_is(mount):
    assert 64 << 20 < mount.peak_rss_bytes() < 1 << 30


def test_cpu_is_that_of_the_session(mount):
    assert mount.cpu_seconds() > 0


def test_a_command_runs_in_the_directory_with_the_local_folder(mount, tmp_path):
    (mount.directory / "file").touch()
    done = cost(
        'test -e file && test "$LOCAL" = here && test -e "$BENCH/commands.py"', mount, 60, local="here"
    )
    assert done.seconds > 0
    assert done.peak_rss_bytes > 64 << 20


def test_a_command_that_fails_tells_its_last_words(mount):
    with pytest.raises(Failure, match="status 3: last"):
        execute("echo first >&2; echo last >&2; exit 3", mount, 60, local="here")


def test_a_command_that_takes_too_long_is_stopped_and_so_is_what_it_may_hang_in(mount):
    with pytest.raises(Stopped) as stopped:
        execute("exec sleep 600", mount, 0.2, local="here")
    assert stopped.value.seconds == 0.2
    assert str(stopped.value) == "> 0.2 s"
    assert os.waitid(os.P_PID, mount.pid, os.WEXITED | os.WNOWAIT).si_status == signal.SIGKILL
