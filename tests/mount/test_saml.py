"""A mount that lives on SAML assertions, which really end after five minutes and are really verified."""

import sys
from datetime import timedelta

import pytest

from tests.bed.mounts import run
from tests.bed.patience import read_until
from tests.bed.saml import AssertionJudge, SamlProvider
from tests.bed.sessions import RoleSessions
from tests.bed.sts import StrictSts

ROLE = "arn:aws:iam::111122223333:role/data"
PROVIDER = "arn:aws:iam::111122223333:saml-provider/idp"
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
SESSION_SECONDS = 8
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"


@pytest.fixture
def idp():
    with SamlProvider(f"{ROLE},{PROVIDER}") as idp:
        yield idp


@pytest.fixture
def judge(idp):
    return AssertionJudge(idp, provider_arn=PROVIDER)


@pytest.fixture
def sts(radosgw, visitor, make_role, judge):
    with StrictSts(RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=SESSION_SECONDS)) as sts:
        sts.judges["AssumeRoleWithSAML"] = judge
        yield sts


@pytest.fixture
def options(sts):
    return {
        "role_arn": ROLE,
        "saml_provider_arn": PROVIDER,
        "credentials_file": None,
        "sts_endpoint": sts.url,
    }


@pytest.mark.timeout(120)
def test_a_command_keeps_a_mount_alive_for_five_lives(role_place, bucket, idp, judge, options, tmp_path):
    program = tmp_path / "login.py"
    program.write_text(FETCH)
    command = f"{sys.executable} {program} {idp.url}"
    with role_place.mounted(f"s3://{bucket}", saml_assertion_process=f'"{command}"', **options) as mount:
        path = mount.path / "watched"
        path.write_bytes(b"still here")
        read_until(lambda: len(judge.accepted) >= 6, path, within_seconds=6 * SESSION_SECONDS)
        role = mount.ask("status")["roles"][0]
        who = mount.ask("whoami")
    assert (role["failures"], role["longest_wait_seconds"] <= 0.1) == (0, True)
    assert len(set(judge.accepted)) == len(judge.accepted)  # each of them served once
    assert (who["role"], who["session"]) == ("data", "ada@example")


@pytest.mark.timeout(120)
def test_a_file_serves_until_somebody_writes_a_new_one(role_place, bucket, idp, judge, options, tmp_path):
    file = tmp_path / "assertion"
    file.touch(mode=0o600)
    file.write_text(idp.assertion())
    with role_place.mounted(f"s3://{bucket}", saml_assertion_file=file, **options) as mount:
        path = mount.path / "watched"
        path.write_bytes(b"still here")
        read_until(lambda: mount.ask("status")["roles"][0]["failures"], path)
        assert "has served its session: put a new one there" in mount.ask("status")["roles"][0]["last_error"]
        file.write_text(idp.assertion())
        read_until(lambda: len(judge.accepted) == 2, path)


def test_a_late_assertion_is_refused_in_the_services_words(role_place, bucket, idp, options, tmp_path):
    file = tmp_path / "assertion"
    file.touch(mode=0o600)
    file.write_text(idp.assertion(age=timedelta(minutes=6)))
    command = role_place.command(f"s3://{bucket}", saml_assertion_file=file, mount_wait=6, **options)
    result = run(*command, check=False)
    assert result.returncode == 32
    assert "Token must be redeemed within 5 minutes of issuance" in result.stderr
    assert len(result.stderr.splitlines()) == 1
