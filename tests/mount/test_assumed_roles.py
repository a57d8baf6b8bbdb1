"""What AssumeRole is told, as it shows on a real mount."""

import json
from pathlib import Path

import pytest

from tests.bed.mounts import PROGRAM, run
from tests.bed.patience import read_until
from tests.bed.sessions import RoleSessions
from tests.bed.sts import RefusedError, StrictSts
from tests.bed.terminal import on_a_terminal

EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
SERIAL = "arn:aws:iam::111122223333:mfa/ada"
QUESTION = f"Code of {SERIAL}: "
ROLE = "arn:aws:iam::111122223333:role/data"
MIDDLE_SECONDS = 3


def test_a_session_policy_takes_away_what_the_role_may(role_place, bucket, make_role, tmp_path):
    policy = tmp_path / "policy.json"
    reading = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [reading]}, indent=2))
    role_arn = make_role(EVERYTHING)
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn) as mount:
        (mount.path / "a").write_bytes(b"written")
        run(PROGRAM, "umount", mount.path)
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn, policy_file=policy) as mount:
        assert (mount.path / "a").read_bytes() == b"written"
        with pytest.raises(PermissionError):
            (mount.path / "b").write_bytes(b"refused")


@pytest.fixture
def sts(radosgw, visitor, make_role):
    def judge(form):
        if (form.get("SerialNumber"), form.get("TokenCode")) != (SERIAL, "123456"):
            said = "MultiFactorAuthentication failed with invalid MFA one time pass code."
            raise RefusedError("AccessDenied", said, status=403)
        return "arn:aws:sts::111122223333:assumed-role/data/x"

    with StrictSts(RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=60)) as sts:
        sts.judges["AssumeRole"] = judge
        yield sts


def test_the_code_of_a_device_is_asked_for_on_the_terminal(role_place, bucket, sts):
    options = {"role_arn": ROLE, "mfa_serial": SERIAL, "sts_endpoint": sts.url}
    command = role_place.command(f"s3://{bucket}", **options)
    mount = None
    try:
        status, screen = on_a_terminal(command, {QUESTION: "123456"})
        assert status == 0, screen
        assert "123456" not in screen
        mount = role_place.find()
        (mount.path / "a").write_bytes(b"x")
        assert b"123456" not in Path(f"/proc/{mount.pid}/environ").read_bytes()
        refused = run(PROGRAM, "refresh", mount.path, check=False)
        assert f"A new code of {SERIAL} is needed" in refused.stderr
        assert (mount.path / "a").read_bytes() == b"x"
    finally:
        role_place.clear(mount.pid if mount else None)
    assert len(sts.requests) == 1


def test_a_wrong_code_and_no_terminal_are_told(role_place, bucket, sts):
    options = {"role_arn": ROLE, "mfa_serial": SERIAL, "sts_endpoint": sts.url, "mount_wait": 6}
    command = role_place.command(f"s3://{bucket}", **options)
    status, screen = on_a_terminal(command, {QUESTION: "654321"})
    assert status == 32
    assert "invalid MFA one time pass code" in screen
    result = run(*command, check=False)
    assert result.returncode == 32
    assert "mfa_process=COMMAND" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.timeout(120)
def test_a_chain_of_three_roles_whose_middle_expires_first(
    role_place, bucket, radosgw, visitor, make_role, monkeypatch, tmp_path
):
    """radosgw lets no role assume a role, so a stand-in checks who signs; S3 sees real sessions."""
    hops = {f"{ROLE}2": f"{ROLE}1", f"{ROLE}3": f"{ROLE}2"}

    def judge(form):
        role_arn = form["RoleArn"]
        if role_arn in hops:
            signer, since = sts.issued[form["signer"]]
            if sts.now() > since + MIDDLE_SECONDS:
                raise RefusedError("ExpiredToken", "The security token has expired", status=403)
            assert signer == hops[role_arn]
        else:
            assert form["signer"] == visitor.access_key
        return f"arn:aws:sts::111122223333:assumed-role/{role_arn.rpartition('/')[2]}/x"

    config = tmp_path / "config"
    config.write_text(
        f"[profile top]\nrole_arn = {ROLE}3\nsource_profile = middle\n"
        f"[profile middle]\nrole_arn = {ROLE}2\nsource_profile = low\n"
        f"[profile low]\nrole_arn = {ROLE}1\ncredential_source = Environment\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", visitor.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", visitor.secret_key)
    with StrictSts(RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=8)) as sts:
        sts.judges["AssumeRole"] = judge
        options = {"profile": "top", "credentials_file": None, "sts_endpoint": sts.url}
        with role_place.mounted(f"s3://{bucket}", **options) as mount:
            path = mount.path / "watched"
            path.write_bytes(b"still here")
            read_until(lambda: len(sts.requests) >= 12, path)
            role = mount.ask("status")["roles"][0]
    assert (role["failures"], role["longest_wait_seconds"] <= 0.1) == (0, True)
    assert role["source"] == f"{ROLE}3 assumed with {ROLE}2 assumed with {ROLE}1 assumed with the environment"
