"""`make soak` goes through all its parts, and its status tells what they found."""

from pathlib import Path
from threading import Event

from click.testing import CliRunner

from soak import __main__ as soak
from tests.bed import traffic
from tests.bed.mounts import run
from tests.bed.patience import wait_until

ROOT = Path(__file__).parents[2]


class Disturbed(traffic.Traffic):
    """Meet an error in one round, and never end another, as on a mount that hangs."""

    def _round(self, number):
        super()._round(number)
        if number == 1:
            raise OSError("the file is not what it was")
        if number == 2:
            Event().wait()


def test_a_soak_tells_that_all_went_well():
    done = CliRunner().invoke(soak.main, ["--minutes", "0.05"])
    assert (done.exit_code, " 0 errors;" in done.output) == (0, True), done.output


def test_a_soak_tells_what_went_wrong(monkeypatch):
    def watch(mount, disturbed, _seconds):
        wait_until(lambda: disturbed.rounds == 2, 60)
        return mount.ask("status")["roles"][0]

    monkeypatch.setattr(soak, "_watch", watch)
    monkeypatch.setattr(soak, "Traffic", Disturbed)
    monkeypatch.setattr(traffic, "LIMIT_SECONDS", 1.0)
    done = CliRunner().invoke(soak.main)
    assert done.exit_code == 1
    assert "the file is not what it was; round 2 has not ended within 1 s" in done.output


def test_make_soak_goes_on_from_part_to_part_and_stops_where_one_fails(tmp_path):
    """The programs are stand-ins that say what they were called with, and fail where they are told to."""
    calls, failing = tmp_path / "calls", tmp_path / "failing"
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\necho "$S3ROLEFS_EFFORT $*" >> {calls}\n! grep -qsF -- "$2" {failing}\n')
    stand_in.chmod(0o755)
    make = ["make", "-C", ROOT, "soak", "MINUTES=3", "EFFORT=7", f"BIN={tmp_path}", "-o", "env"]

    def parts():
        done = run(*make, check=False)
        words = [line.split()[:3] for line in calls.read_text().splitlines()]
        calls.unlink()
        return done.returncode, [" ".join(line) for line in words]

    soaked = "-m soak --minutes"
    assert parts() == (0, [soaked, "7 -m pytest", "2 -m pytest"])
    failing.write_text("soak\n")
    assert parts() == (2, [soaked])
    failing.write_text("pytest\n")
    assert parts() == (2, [soaked, "7 -m pytest"])
