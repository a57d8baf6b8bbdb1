"""What people, signals and other programs see of a mount."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from s3rolefs.mounting import mounttable
from tests.bed.mounts import PROGRAM, has_ended, run, wait_for_end


def keys_of(radosgw_s3, bucket):
    return {entry["Key"] for entry in radosgw_s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_it_is_ready_when_the_command_returns(place, bucket):
    with place.mounted(f"s3://{bucket}") as mount:
        (mount.path / "file").write_text("hello")
        assert (mount.path / "file").read_text() == "hello"


@pytest.mark.parametrize("prefix", ["", "/", "/team", "/team/", "/a b,ü/"])
def test_the_source_is_shown_to_the_letter(place, bucket, prefix):
    source = f"s3://{bucket}{prefix}"
    with place.mounted(source) as mount:
        assert mounttable.mount_at(str(mount.path)).source == source
        found = run("findmnt", "--json", "--nofsroot", "--output", "SOURCE,FSTYPE", mount.path).stdout
        assert json.loads(found)["filesystems"] == [{"source": source, "fstype": "fuse.s3rolefs"}]
        assert source in run("df", "--output=source", mount.path).stdout


def test_a_prefix_is_the_root(place, bucket, radosgw_s3):
    with place.mounted(f"s3://{bucket}/team") as mount:
        (mount.path / "file").write_text("x")
    assert keys_of(radosgw_s3, bucket) == {"team/file"}


def test_a_dead_process_is_no_obstacle(place, bucket):
    with place.mounted(f"s3://{bucket}") as mount:
        (mount.path / "file").write_text("x")
        mount.signal(signal.SIGKILL)
        mount.wait_for_end()
        with pytest.raises(OSError, match="Transport endpoint"):
            os.statvfs(mount.path)
        with place.mounted(f"s3://{bucket}") as again:
            assert (again.path / "file").read_text() == "x"


def test_a_second_mount_on_the_same_directory_is_refused(place, bucket):
    with place.mounted(f"s3://{bucket}"):
        result = run(*place.command(f"s3://{bucket}"), check=False)
        assert result.returncode == 32
        assert "already has" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_umount_ends_the_process(place, bucket):
    with place.mounted(f"s3://{bucket}") as mount:
        run("umount", "-i", mount.path)
        mount.wait_for_end()


def test_our_umount_returns_after_the_process(place, bucket, radosgw_s3):
    with place.mounted(f"s3://{bucket}") as mount:
        (mount.path / "file").write_text("x")
        run(PROGRAM, "umount", mount.path)
        assert has_ended(mount.pid)
        assert keys_of(radosgw_s3, bucket) == {"file"}
        result = run(PROGRAM, "umount", mount.path, check=False)
        assert (result.returncode, "no bucket mounted" in result.stderr) == (32, True)


def test_umount_of_a_busy_mount(place, bucket):
    with place.mounted(f"s3://{bucket}") as mount:
        with (mount.path / "file").open("w"):
            result = run(PROGRAM, "umount", mount.path, check=False)
            assert result.returncode == 32
            assert "is busy" in result.stderr
        run(PROGRAM, "umount", mount.path)


def test_sigterm_unmounts_and_sends_what_is_open(place, bucket, radosgw_s3):
    with place.mounted(f"s3://{bucket}") as mount:
        descriptor = os.open(mount.path / "open", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"not closed yet")
        mount.signal(signal.SIGTERM)
        mount.wait_for_end()
        with pytest.raises(OSError, match="Transport endpoint"):
            os.close(descriptor)
    body = radosgw_s3.get_object(Bucket=bucket, Key="open")["Body"].read()
    assert body == b"not closed yet"


class Foreground:
    """A mount in the foreground, with a socket that hears what systemd would hear."""

    def __init__(self, place, source, folder, **options):
        self.address = str(folder / "notify")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(self.address)
        self.listener.settimeout(30)
        self.process = subprocess.Popen(
            [*place.command(source, **options), "--foreground"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "NOTIFY_SOCKET": self.address,
                "AWS_SECRET_ACCESS_KEY": "hush-hush",
                "https_proxy": "http://me:hush-hush@127.0.0.1:9",
            },
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.listener.close()

    def hears(self, word):
        while True:
            if word in self.listener.recv(4096).decode().split("\n"):
                return

    def end(self, limit_seconds=40):
        out, err = self.process.communicate(timeout=limit_seconds)
        return self.process.returncode, out, err


def test_the_foreground_tells_systemd_and_logs_to_stderr(place, bucket, tmp_path):
    with Foreground(place, f"s3://{bucket}", tmp_path) as service:
        service.hears("READY=1")
        (place.directory / "file").write_text("x")
        service.process.send_signal(signal.SIGTERM)
        service.hears("STOPPING=1")
        status, out, err = service.end()
        assert (status, out) == (0, "")
        assert f"s3://{bucket} is mounted on {place.directory}" in err
        assert "Traceback" not in err
    assert mounttable.mount_at(str(place.directory)) is None


def test_a_stop_with_an_open_file_is_no_failure(place, bucket, tmp_path, radosgw_s3):
    with Foreground(place, f"s3://{bucket}", tmp_path) as service:
        service.hears("READY=1")
        descriptor = os.open(place.directory / "open", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"not closed yet")
        service.process.terminate()
        status, _, err = service.end()
        with pytest.raises(OSError, match="Transport endpoint"):
            os.close(descriptor)
        assert status == 0, err
        assert "bug" not in err
    assert keys_of(radosgw_s3, bucket) == {"open"}


def test_a_second_signal_keeps_what_is_open_at_once(role_place, bucket, tmp_path, make_role):
    role_arn = make_role(allow(bucket, "s3:ListBucket"))
    place = role_place
    with Foreground(place, f"s3://{bucket}", tmp_path, role_arn=role_arn, stop_timeout="1h") as service:
        service.hears("READY=1")
        descriptor = os.open(place.directory / "letter", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"kept")
        service.process.terminate()
        service.hears("STOPPING=1")
        time.sleep(1.2)  # an earlier one would pass for the same wish delivered twice
        service.process.terminate()
        status, _, err = service.end()
        with pytest.raises(OSError, match="Transport endpoint"):
            os.close(descriptor)
        assert status == 2, err
        assert f"it is kept in {place.spool}" in err
        assert "bug" not in err


def test_secrets_are_not_in_proc(place, bucket, tmp_path, radosgw):
    with Foreground(place, f"s3://{bucket}", tmp_path) as service:
        service.hears("READY=1")
        proc = Path(f"/proc/{service.process.pid}")
        shown = (proc / "environ").read_bytes() + (proc / "cmdline").read_bytes()
        assert b"hush-hush" not in shown
        assert radosgw.secret_key.encode() not in shown
        # Not dumpable: the file is root's, whoever runs the process.
        assert (proc / "environ").stat().st_uid == 0
        limits = (proc / "limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        service.process.terminate()
        service.end()


def allow(bucket, *actions):
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }


def test_what_cannot_be_sent_is_kept_and_sent_by_the_next_mount(
    role_place, bucket, tmp_path, radosgw, radosgw_s3, make_role
):
    role_arn = make_role(allow(bucket, "s3:ListBucket"))
    name = role_arn.rpartition("/")[2]
    everybody = {"Version": "2012-10-17", "Statement": [allow(bucket, "s3:*")]}
    source, place = f"s3://{bucket}", role_place
    with Foreground(place, source, tmp_path, role_arn=role_arn, stop_timeout="1s") as service:
        service.hears("READY=1")
        with pytest.raises(PermissionError):
            (place.directory / "letter").write_text("kept")
        service.process.terminate()
        status, _, err = service.end()
        assert status == 2
        assert "letter was not sent" in err
        assert f"it is kept in {place.spool}" in err
    radosgw.put_role_policy(name, everybody)
    with place.mounted(source, role_arn=role_arn) as mount:
        deadline = time.monotonic() + 30
        while mount.ask("status")["unsent"] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (mount.path / "letter").read_text() == "kept"
    assert keys_of(radosgw_s3, bucket) == {"letter"}


def test_a_start_that_is_interrupted_leaves_nothing(place, bucket):
    # Nobody accepts on this socket: the start waits for its first answer.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        command = place.command(f"s3://{bucket}", endpoint_url=f"http://127.0.0.1:{port}")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        children = []
        while not children:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 8
        assert err.strip() == "s3rolefs: interrupted."
        wait_for_end(int(children[0]))
    assert mounttable.mount_at(str(place.directory)) is None
