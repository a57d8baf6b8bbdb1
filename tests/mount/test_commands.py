"""Commands ask a running mount, or stand on their own with the mount's options."""

import json
import signal

from tests.bed.mounts import PROGRAM, run


def everything_in(bucket):
    return {
        "Effect": "Allow",
        "Action": ["s3:*"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }


def test_whoami_status_and_refresh(role_place, bucket, make_role):
    role_arn = make_role(everything_in(bucket))
    name = role_arn.rpartition("/")[2]
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn, role_session_name="me") as mount:
        before = mount.ask("whoami")
        assert before["role"] == name
        assert before["session"] == "me"
        assert before["generation"] == 1
        assert mount.ask("refresh")["generation"] == 2
        after = mount.ask("whoami")
        assert after["generation"] == 2
        assert after["expires_at"] >= before["expires_at"]
        (mount.path / "file").write_text("x")
        status = mount.ask("status")
        assert status["source"] == f"s3://{bucket}"
        assert status["mountpoint"] == str(mount.path)
        assert status["roles"][0]["state"] == "fresh"
        assert status["requests"]["PUT"] == 1
        assert status["unsent"] == []
        inside = run(PROGRAM, "whoami", ".", cwd=mount.path).stdout
        assert f"role:    {name}\n" in inside


def test_whoami_before_anything_is_mounted(role_place, bucket, make_role):
    role_arn = make_role(everything_in(bucket))
    options = role_place.options(
        role_arn=role_arn, role_session_name="me", spool_dir=None, mount_wait=None, stop_timeout=None
    )
    for target in ([], [f"s3://{bucket}/team/"]):
        answer = json.loads(run(PROGRAM, "whoami", *target, "-o", options, "--json").stdout)
        assert (answer["role"], answer["session"]) == (role_arn.rpartition("/")[2], "me")
        assert answer["expires_at"] > 0


def test_every_command_takes_options_instead_of_a_mount(role_place, bucket, make_role):
    role_arn = make_role(everything_in(bucket))
    options = role_place.options(role_arn=role_arn, spool_dir=None, mount_wait=None, stop_timeout=None)
    status = json.loads(run(PROGRAM, "status", f"s3://{bucket}", "-o", options, "--json").stdout)
    assert (status["roles"][0]["state"], status["pid"]) == ("fresh", None)
    renewed = json.loads(run(PROGRAM, "refresh", "-o", options, "--json").stdout)
    assert renewed["generation"] == 2
    assert "state:" in run(PROGRAM, "status", "-o", options).stdout
    for command in ("whoami", "status", "refresh"):
        refused = run(PROGRAM, command, role_place.directory, "-o", options, check=False)
        assert (refused.returncode, "leave -o out" in refused.stderr) == (1, True)


def test_status_of_every_mount(place, bucket):
    def of_this_mount():
        # Others may have mounts here, and dead ones.
        result = run(PROGRAM, "status", "--json", check=False)
        mounts = json.loads(result.stdout)["mounts"]
        [answer] = [each for each in mounts if each["mountpoint"] == str(place.directory)]
        return result.returncode, answer

    with place.mounted(f"s3://{bucket}") as mount:
        assert of_this_mount()[1]["pid"] == mount.pid
        assert f"directory:    {mount.path}\n" in run(PROGRAM, "status", check=False).stdout
        mount.signal(signal.SIGKILL)
        mount.wait_for_end()
        status, answer = of_this_mount()
        assert (status, answer["source"]) == (1, f"s3://{bucket}")
        assert "does not answer" in answer["error"]


def test_a_refused_role_gets_its_policies(role_place, bucket, radosgw):
    role_arn = radosgw.create_role("for-somebody-else", {"Version": "2012-10-17", "Statement": []}, "nobody")
    options = role_place.options(role_arn=role_arn, spool_dir=None, mount_wait=None, stop_timeout=None)
    refused = run(PROGRAM, "whoami", "-o", options, check=False)
    assert refused.returncode == 32
    assert '"Action": "sts:AssumeRole"' in refused.stderr
    assert role_arn in refused.stderr


def test_keys_from_the_environment_reach_the_mount_unseen(place, bucket, radosgw, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", radosgw.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", radosgw.secret_key)
    with place.mounted(f"s3://{bucket}", credentials_file=None) as mount:
        (mount.path / "file").write_text("x")
        assert "nvironment" in mount.ask("status")["roles"][0]["source"]


def test_a_mount_that_hangs_is_not_touched(place, bucket):
    with place.mounted(f"s3://{bucket}") as mount:
        mount.signal(signal.SIGKILL)
        mount.wait_for_end()
        result = run(PROGRAM, "status", mount.path, check=False, limit_seconds=10)
        assert result.returncode == 2
        assert "does not answer" in result.stderr
