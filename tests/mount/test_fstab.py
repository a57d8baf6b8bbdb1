"""What mount(8), umount(8) and fstab make of it, with the helpers where they look for them."""

import os
import subprocess

import pytest

from s3rolefs.mounting import mounttable
from tests.bed.mounts import has_ended, run

pytestmark = pytest.mark.usefixtures("helpers")


@pytest.fixture
def fstab(place, bucket, tmp_path):
    path = tmp_path / "fstab"
    options = f"_netdev,nofail,rw,nosuid,noatime,x-systemd.automount,{place.options()}"
    path.write_text(f"s3://{bucket}/team/ {place.directory} s3rolefs {options} 0 0\n")
    return path


def test_mount_all_twice_mounts_once(place, bucket, fstab):
    for _ in range(2):
        run("mount", "-a", "-T", fstab)
    there = [mount for mount in mounttable.mounts() if mount.mountpoint == str(place.directory)]
    assert [mount.source for mount in there] == [f"s3://{bucket}/team/"]
    assert "nosuid" in run("findmnt", "-n", "-o", "OPTIONS", place.directory).stdout
    pid = place.find().pid
    run("umount", place.directory)
    assert has_ended(pid), "umount returned before the process had ended"


def test_by_directory_and_by_type(place, bucket, fstab):
    run("mount", "-T", fstab, place.directory)
    run("umount", place.directory)
    for kind in ("s3rolefs", "fuse.s3rolefs"):
        run("mount", "-t", kind, "-o", place.options(), f"s3://{bucket}", place.directory)
        (place.directory / "file").write_text(kind)
        assert mounttable.mount_at(str(place.directory)).filesystem == "fuse.s3rolefs"
        run("umount", place.directory)


def test_read_only(place, bucket):
    run("mount", "-t", "s3rolefs", "-r", "-o", place.options(), f"s3://{bucket}", place.directory)
    with pytest.raises(OSError, match="Read-only file system"):
        (place.directory / "file").touch()


def test_fake_mounts_nothing(place, bucket):
    run("mount", "-f", "-t", "s3rolefs", "-o", place.options(), f"s3://{bucket}", place.directory)
    assert mounttable.mount_at(str(place.directory)) is None


def test_remount_is_refused(place, bucket):
    run("mount", "-t", "s3rolefs", "-o", place.options(), f"s3://{bucket}", place.directory)
    result = run("mount", "-o", f"remount,ro,{place.options()}", place.directory, check=False)
    assert result.returncode == 32
    assert "cannot be remounted" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "word"),
    [
        ({"no_such_option": "1"}, 1, "no option no_such_option"),
        ({"secret_key": "x"}, 1, "credentials_file"),
        ({"endpoint_url": "http://127.0.0.1:9"}, 32, "Nobody answers"),
    ],
)
def test_the_helpers_status_and_sentence_come_through(place, bucket, options, status, word):
    # mount_wait bounds how long a service that refuses connections is tried.
    text = place.options(**{"mount_wait": 3, **options})
    result = run("mount", "-t", "s3rolefs", "-o", text, f"s3://{bucket}", place.directory, check=False)
    assert (result.returncode, word in result.stderr) == (status, True)
    assert len(result.stderr.splitlines()) == 1


def test_sloppy_comes_through(place, bucket):
    run(
        "mount",
        "-s",
        "-t",
        "s3rolefs",
        "-o",
        f"{place.options()},hard,intr",
        f"s3://{bucket}",
        place.directory,
    )


def test_mount_waits_for_nobody_who_reads_its_output(place, bucket):
    # Who captures the output of mount must not wait for the serving process to close it.
    with subprocess.Popen(
        ["mount", "-t", "s3rolefs", "-o", place.options(), f"s3://{bucket}", place.directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")


def test_a_line_names_a_role_of_the_users_file(role_place, bucket, radosgw, make_role, tmp_path):
    role_arn = make_role({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    folder = tmp_path / "config" / "s3rolefs"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        f'[roles.keys]\ncredentials_file = "{role_place.credentials}"\n'
        f'[roles.data]\nsource_role = "keys"\nrole_arn = "{role_arn}"\n'
        f'sts_endpoint = "{radosgw.endpoint_url}"\n'
    )
    path = tmp_path / "fstab"
    options = role_place.options(role="data", credentials_file=None)
    path.write_text(f"s3://{bucket} {role_place.directory} s3rolefs _netdev,nofail,{options} 0 0\n")
    # mount(8) deletes HOME itself; systemd sets none to begin with.
    surroundings = (f"PATH={os.environ['PATH']}", f"XDG_CONFIG_HOME={folder.parent}")
    run("env", "-i", *surroundings, "mount", "-T", path, role_place.directory)
    (role_place.directory / "file").write_text("hello\n")
    run("umount", role_place.directory)
    stored = radosgw.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert [(found["Key"], found["Size"]) for found in stored] == [("file", len("hello\n"))]
