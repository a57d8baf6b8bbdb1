"""`s3rolefs creds --process` lends a mount's session to AWS's own tools."""

import json
import os
import subprocess
import time
from datetime import datetime

import boto3
import pytest
from botocore.config import Config

from tests.bed.mounts import PROGRAM, as_user, run
from tests.bed.patience import wait_until
from tests.bed.radosgw import REGION

ALONE = {"spool_dir": None, "mount_wait": None, "stop_timeout": None}


def everything_in(bucket):
    return {
        "Effect": "Allow",
        "Action": ["s3:*"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }


def creds(*arguments, check=True, **more):
    return run(PROGRAM, "creds", "--process", *arguments, check=check, **more)


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Write AWS's configuration file with a profile named test."""

    def write(credential_process):
        path = tmp_path / "config"
        path.write_text(f"[profile test]\ncredential_process = {credential_process}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        return path

    return write


def test_boto3_uses_the_role_of_a_mount_while_it_is_renewed(
    role_place, make_role, bucket, configure, radosgw
):
    role_arn = make_role(everything_in(bucket))
    options = {"role_arn": role_arn, "duration_seconds": 8, "metadata_ttl": "0"}
    with role_place.mounted(f"s3://{bucket}", **options) as mount:
        configure(f"{PROGRAM} creds --process {mount.path}")
        session = boto3.Session(profile_name="test", region_name=REGION)
        s3 = session.client(
            "s3",
            endpoint_url=radosgw.endpoint_url,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )
        first = json.loads(creds(mount.path).stdout)
        over_at = datetime.fromisoformat(first["Expiration"]).timestamp()
        keys, number = set(), 0
        # The first keys end meanwhile: what is still served is served to others.
        while time.time() < over_at + 1 or (len(keys) < 2 and time.time() < over_at + 30):
            number += 1
            s3.put_object(Bucket=bucket, Key=f"f{number}", Body=b"by boto3")
            keys.add(session.get_credentials().get_frozen_credentials().access_key)
        assert len(keys) >= 2
        assert (mount.path / "f1").read_text() == "by boto3"
        status = run(PROGRAM, "status", mount.path, "--json").stdout
    assert first["SecretAccessKey"] not in status
    assert first["SessionToken"] not in status


def test_options_instead_of_a_mount(role_place, make_role, bucket, radosgw, visitor):
    role_arn = make_role(everything_in(bucket))
    options = role_place.options(**ALONE, role_arn=role_arn)
    given = json.loads(creds("-o", options).stdout)
    assert set(given) == {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert given["Version"] == 1
    assert datetime.fromisoformat(given["Expiration"]).timestamp() > time.time() + 3000
    plain = json.loads(creds("-o", role_place.options(**ALONE)).stdout)
    assert plain == {
        "Version": 1,
        "AccessKeyId": visitor.access_key,
        "SecretAccessKey": visitor.secret_key,
    }


def test_what_is_refused(role_place, bucket):
    said = run(PROGRAM, "creds", "-o", "no_sign_request", check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert "creds --process" in said.stderr
    said = creds("-o", "no_sign_request", check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert "not signed" in said.stderr
    role_place.credentials.unlink()
    said = creds("-o", role_place.options(**ALONE), check=False)
    assert (said.returncode, said.stdout) == (32, "")
    assert str(role_place.credentials) in said.stderr


def test_the_log_shows_nothing_of_what_is_given(role_place, make_role, bucket, tmp_path):
    log = tmp_path / "log"
    options = {"role_arn": make_role(everything_in(bucket)), "log_level": "debug"}
    command = [*role_place.command(f"s3://{bucket}", **options), "--foreground"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        wait_until(lambda: "is mounted on" in log.read_text(), 30)
        given = json.loads(creds(role_place.directory).stdout)
        run(PROGRAM, "check", role_place.directory)
    finally:
        process.terminate()
        process.wait(30)
    text = log.read_text()
    assert "PUT" in text
    assert given["SecretAccessKey"] not in text
    assert given["SessionToken"] not in text


def test_other_users_get_nothing(place, bucket):
    with place.mounted(f"s3://{bucket}", allow_other=True) as mount:
        said = run(*as_user(), PROGRAM, "creds", "--process", mount.path, check=False)
        kept = run(*as_user(), PROGRAM, "umount", mount.path, check=False)
        assert mount.ask("whoami")["kind"]
    assert (said.returncode, said.stdout) == (1, "")
    assert "another user" in said.stderr
    assert (kept.returncode, "only that user and root may unmount it" in kept.stderr) == (32, True)


def test_a_profile_that_asks_for_itself(configure):
    configure(f"{PROGRAM} creds --process -o profile=test")
    environ = {name: value for name, value in os.environ.items() if name != "AWS_PROFILE"}
    said = creds(
        "-o", "profile=test,region=us-east-1,cred_wait=1", check=False, limit_seconds=20, env=environ
    )
    assert said.returncode == 32
    assert said.stdout == ""
    assert "asks `s3rolefs creds` again" in said.stderr
