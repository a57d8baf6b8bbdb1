"""Ordinary users mount through fusermount3, on directories of their own."""

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from s3rolefs.mounting import mounttable
from tests.bed.mounts import PROGRAM, Place, as_user, has_ended, run, wait_for_end

USER = 65534
DEVICE = Path("/dev/fuse")
MTAB = Path("/etc/mtab")


@pytest.fixture
def users_place(radosgw, machine):
    """A directory that belongs to the user, on a machine whose /dev/fuse is open as udev makes it."""
    mode = DEVICE.stat().st_mode
    DEVICE.chmod(0o666)
    # fusermount3 reads it; booted systems have it, a chroot may not.
    lacks_mtab = not MTAB.exists()
    if lacks_mtab:
        MTAB.symlink_to("/proc/self/mounts")
    # pytest's own directories are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="s3rolefs-user-"))
    place = Place(folder, radosgw)
    for path in (folder, *folder.iterdir()):
        os.chown(path, USER, USER)
    yield place
    # Until its process has ended there is something in the spool.
    run(PROGRAM, "umount", place.directory, check=False)
    place.clear()
    shutil.rmtree(folder)
    DEVICE.chmod(mode)
    if lacks_mtab:
        MTAB.unlink()


@pytest.fixture
def user(users_place):
    """Run our program as the user."""

    def call(*arguments, check=True, **environment):
        home = {"HOME": str(users_place.directory.parent)}
        return run(
            *as_user(USER), PROGRAM, *arguments, check=check, env={**os.environ, **home, **environment}
        )

    return call


def mount(user, place, source, **options):
    user("mount", source, place.directory, "-o", place.options(**options))
    return json.loads(user("status", place.directory, "--json").stdout)


def test_a_user_mounts_uses_and_unmounts(users_place, user, bucket):
    place = users_place
    pid = mount(user, place, f"s3://{bucket}")["pid"]
    run(*as_user(USER), "sh", "-c", f"echo hello > {place.directory}/file")
    found = run(*as_user(USER), "stat", "-c", "%u %s", place.directory / "file").stdout
    assert found == f"{USER} 6\n"
    # Root may ask, but (without allow_other) not look.
    assert json.loads(run(PROGRAM, "status", place.directory, "--json").stdout)["pid"] == pid
    with pytest.raises(PermissionError):
        list(place.directory.iterdir())
    user("umount", place.directory)
    assert has_ended(pid)


def test_objects_of_others_stay_theirs(users_place, user, bucket, radosgw_s3):
    for key, mode in (("shared", "33206"), ("secret", "33152")):
        metadata = {"mode": mode, "uid": "0", "gid": "0"}
        radosgw_s3.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata=metadata)
    mount(user, users_place, f"s3://{bucket}", file_mode="0600")

    ids = f"--reuid={USER}", f"--regid={USER}", "--clear-groups"  # none of the rights that as_user leaves

    def attempt(script):
        done = run("setpriv", *ids, "sh", "-c", script, cwd="/", check=False)
        return done.returncode == 0, done.stderr

    folder = users_place.directory
    assert attempt(f"echo more >> {folder}/shared")[0]
    for script in (f"chmod 666 {folder}/secret", f"chown {USER} {folder}/shared"):
        assert "Operation not permitted" in attempt(script)[1]
    assert "Permission denied" in attempt(f"cat {folder}/secret")[1]
    assert attempt(f"touch {folder}/mine; mkfifo {folder}/pipe; chmod 600 {folder}/mine")[0]
    assert "Operation not permitted" in attempt(f"chown 0 {folder}/mine")[1]
    metadata = radosgw_s3.head_object(Bucket=bucket, Key="mine")["Metadata"]
    assert (metadata["uid"], metadata["mode"]) == (str(USER), str(0o100600))
    kept = radosgw_s3.head_object(Bucket=bucket, Key="shared")["Metadata"]
    assert (kept["uid"], kept["mode"]) == ("0", "33206")


def test_sigterm_unmounts_through_fusermount3(users_place, user, bucket):
    pid = mount(user, users_place, f"s3://{bucket}")["pid"]
    os.kill(pid, signal.SIGTERM)
    wait_for_end(pid)
    assert mounttable.mount_at(str(users_place.directory)) is None


def test_a_dead_process_is_no_obstacle(users_place, user, bucket):
    pid = mount(user, users_place, f"s3://{bucket}")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    assert mount(user, users_place, f"s3://{bucket}")["pid"] != pid


def test_what_users_may_not(users_place, user, bucket):
    options = users_place.options()
    source = f"s3://{bucket}"
    refused = user("mount", source, "/usr", "-o", options, check=False)
    assert (refused.returncode, "is not yours" in refused.stderr) == (32, True)
    refused = user("mount", source, users_place.directory, "-o", options, check=False, PATH="/nowhere")
    assert (refused.returncode, "install the package fuse3" in refused.stderr) == (2, True)
    DEVICE.chmod(0o600)
    refused = user("mount", source, users_place.directory, "-o", options, check=False)
    assert (refused.returncode, "chmod 666 /dev/fuse" in refused.stderr) == (2, True)
    assert mounttable.mount_at(str(users_place.directory)) is None
