"""What cannot be mounted on is refused in one sentence."""

import os
from pathlib import Path

import pytest

from s3rolefs.errors import MountFailure, SystemFailure, UserError
from s3rolefs.mounting import mountpoint


@pytest.fixture
def as_a_user(monkeypatch, tmp_path):
    """Look like an ordinary user on a machine whose fuse.conf the test writes."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mountpoint, "_DEVICE", Path("/dev/null"))
    conf = tmp_path / "fuse.conf"
    conf.write_text("# user_allow_other\n")
    monkeypatch.setattr(mountpoint, "_FUSE_CONF", conf)
    return conf


def test_an_empty_directory_is_fine(tmp_path):
    assert mountpoint.prepare(str(tmp_path), ()) == str(tmp_path)


def test_a_relative_path_and_a_link_are_resolved(tmp_path, monkeypatch):
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    monkeypatch.chdir(tmp_path)
    assert mountpoint.prepare("link", ()) == str(tmp_path / "dir")


def test_a_missing_directory(tmp_path):
    with pytest.raises(MountFailure, match="mkdir -p"):
        mountpoint.prepare(str(tmp_path / "no"), ())


def test_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MountFailure, match="not a directory"):
        mountpoint.prepare(str(tmp_path / "file"), ())
    with pytest.raises(MountFailure, match="part of that path is a file"):
        mountpoint.prepare(str(tmp_path / "file" / "below"), ())


def test_a_loop_of_links(tmp_path):
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(MountFailure, match="symbolic links"):
        mountpoint.prepare(str(tmp_path / "a"), ())


def test_a_directory_that_is_mounted_already():
    with pytest.raises(MountFailure, match="already has proc mounted on it"):
        mountpoint.prepare("/proc", ())


def test_a_directory_of_somebody_else(tmp_path, monkeypatch, as_a_user):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MountFailure, match="is not yours"):
        mountpoint.prepare(str(tmp_path), ())


def test_no_dev_fuse(tmp_path, monkeypatch):
    monkeypatch.setattr(mountpoint, "_DEVICE", tmp_path / "fuse")
    with pytest.raises(SystemFailure, match="modprobe fuse"):
        mountpoint.prepare(str(tmp_path), ())


def test_dev_fuse_that_a_user_may_not_open(tmp_path, monkeypatch, as_a_user):
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) != "/dev/null")
    with pytest.raises(SystemFailure, match="chmod 666"):
        mountpoint.prepare(str(tmp_path), ())


def test_no_fusermount3_for_a_user(tmp_path, monkeypatch, as_a_user):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemFailure, match="install the package fuse3"):
        mountpoint.check_machine(())


def test_allow_other_for_a_user(tmp_path, monkeypatch, as_a_user):
    (tmp_path / "fusermount3").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="user_allow_other"):
        mountpoint.check_machine(("allow_other",))
    as_a_user.write_text("mount_max = 7\nuser_allow_other # yes\n")
    mountpoint.check_machine(("allow_other",))
