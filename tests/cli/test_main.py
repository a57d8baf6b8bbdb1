"""What is typed reaches the right command, and mistakes are one sentence with status 1."""

import sys

import pytest

from s3rolefs import __version__
from s3rolefs.cli import main as cli


def run(monkeypatch, capsys, *argv):
    monkeypatch.setattr(sys, "argv", list(argv))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.mark.parametrize(
    "argv",
    [
        ["s3rolefs", "mount", "s3://bucket", "/no/such/directory"],
        ["s3rolefs", "s3://bucket", "/no/such/directory"],
        ["/sbin/mount.s3rolefs", "s3://bucket", "/no/such/directory"],
        ["/sbin/mount.fuse.s3rolefs", "s3://bucket", "/no/such/directory", "-n", "-v", "-o", "rw"],
        ["mount.s3rolefs", "s3://bucket", "/no/such/directory", "-s", "-o", "rw,bogus", "-t", "s3rolefs"],
    ],
)
def test_every_name_of_mount(monkeypatch, capsys, argv):
    status, out, err = run(monkeypatch, capsys, *argv)
    assert (status, out) == (32, "")
    assert err.endswith(
        "The directory /no/such/directory does not exist: create it with `mkdir -p /no/such/directory`.\n"
    )


@pytest.mark.parametrize("argv", [["s3rolefs", "umount"], ["/sbin/umount.fuse.s3rolefs"]])
def test_every_name_of_umount(monkeypatch, capsys, argv):
    status, _, err = run(monkeypatch, capsys, *argv, "/tmp")
    assert (status, err.split(": ", 1)[1]) == (32, "/tmp has no bucket mounted on it.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mount"], "Missing argument"),
        (["mount", "s3://bucket"], "Missing argument 'DIR' (`s3rolefs mount --help` tells more)."),
        (["mount", "--nonsense", "s3://bucket", "/mnt"], "No such option"),
        (["dance"], "No such command 'dance' (`s3rolefs --help` tells more)."),
        (["status", "/tmp"], "lies in no mounted bucket"),
        (["refresh", "/tmp"], "lies in no mounted bucket"),
        (["whoami", "/tmp"], "lies in no mounted bucket"),
        (["whoami", "/tmp", "-o", "region=x"], "options of its own"),
        (["whoami", "-o", "role_arn=nonsense"], "role_arn=nonsense"),
    ],
)
def test_mistakes(monkeypatch, capsys, arguments, words):
    status, out, err = run(monkeypatch, capsys, "s3rolefs", *arguments)
    assert (status, out) == (1, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_help_lists_commands_and_options(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "s3rolefs", "--help")
    assert status == 0
    for name in ("mount", "umount", "whoami", "status", "refresh"):
        assert name in out
    assert "..." not in out.split("Commands:")[1]
    status, out, _ = run(monkeypatch, capsys, "s3rolefs", "mount", "--help")
    assert status == 0
    assert "role_arn=ARN" in out
    assert "renew=" not in out


def test_nothing_asked_shows_the_help_as_it_is(monkeypatch, capsys):
    status, out, err = run(monkeypatch, capsys, "s3rolefs")
    assert (status, out) == (1, "")
    assert err.startswith("Usage: s3rolefs")


def test_version(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "mount.s3rolefs", "-V")[1].strip() == f"s3rolefs, version {__version__}"


def test_a_bug_is_one_line_and_debug_shows_where(monkeypatch, capsys):
    def broken(*_args, **_kwargs):
        raise RuntimeError("oh dear")

    monkeypatch.setattr(cli.s3rolefs, "main", broken)
    status, _, err = run(monkeypatch, capsys, "s3rolefs", "status", "/tmp")
    assert (status, "bug in s3rolefs: RuntimeError: oh dear" in err) == (2, True)
    assert len(err.splitlines()) == 1
    monkeypatch.setenv("S3ROLEFS_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["s3rolefs"])
    with pytest.raises(RuntimeError, match="oh dear"):
        cli.main()
