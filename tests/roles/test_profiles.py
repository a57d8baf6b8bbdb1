"""Profiles come through botocore, each time anew; no program of theirs runs for ever."""

import json
import shlex
import sys
from datetime import UTC, datetime, timedelta

import pytest
import trio

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import profiles
from s3rolefs.roles.profiles import Profiles, ProfileSource

PROGRAM = """
import json, pathlib, sys
ledger = pathlib.Path(sys.argv[1])
ledger.write_text(ledger.read_text() + "x" if ledger.exists() else "x")
print(sys.argv[2])
"""


@pytest.fixture
def files(tmp_path):
    config, credentials = tmp_path / "my-config", tmp_path / "my-credentials"
    credentials.write_text("[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = d\n")
    return config, credentials


@pytest.fixture
def known(files):
    config, credentials = files
    return Profiles({"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(credentials)})


@pytest.fixture
def process(files, tmp_path):
    """Write a profile `tool` whose credential_process counts its runs in a file."""

    def write(output):
        program, ledger = tmp_path / "tool.py", tmp_path / "runs"
        program.write_text(PROGRAM)
        command = shlex.join([sys.executable, str(program), str(ledger), output])
        files[0].write_text(f"[profile tool]\ncredential_process = {command}\n")
        return ledger

    return write


def process_output(seconds):
    expiry = datetime.now(UTC) + timedelta(seconds=seconds)
    keys = {"AccessKeyId": "ASIATOOL", "SecretAccessKey": "tool-secret", "SessionToken": "tool-token"}
    return json.dumps({"Version": 1, **keys, "Expiration": expiry.isoformat()}), expiry.timestamp()


async def test_the_files_an_environment_names_are_read_each_time_anew(known, files):
    source = ProfileSource(known, "default")
    before = await source.stamp()
    assert (await source.fetch()).access_key_id == "AKIADEFAULT"
    files[1].write_text("[default]\naws_access_key_id = AKIANEXT\naws_secret_access_key = longer\n")
    assert await source.stamp() != before
    assert (await source.fetch()).access_key_id == "AKIANEXT"


async def test_home_is_where_the_environment_says(tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[x]\naws_access_key_id=AKIAHOME\naws_secret_access_key=h\naws_session_token=t"
    )
    snapshot = await ProfileSource(Profiles({"HOME": str(tmp_path)}), "x").fetch()
    assert (snapshot.access_key_id, snapshot.session_token) == ("AKIAHOME", "t")


async def test_keys_of_the_own_environment_are_not_looked_at(known, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert (await ProfileSource(known, "default").fetch()).access_key_id == "AKIADEFAULT"


async def test_a_credential_process_runs_once_per_fetch_and_its_expiry_is_known(known, process):
    output, expires_at = process_output(60)
    ledger = process(output)
    snapshot = await ProfileSource(known, "tool").fetch()
    assert snapshot.session_token == "tool-token"
    assert snapshot.expires_at == pytest.approx(expires_at, abs=1)
    assert ledger.read_text() == "x"


async def test_a_credential_process_that_hangs_is_ended(known, files, monkeypatch):
    monkeypatch.setattr(profiles, "_PROCESS_SECONDS", 0.2)
    files[0].write_text("[profile tool]\ncredential_process = sleep 60\n")
    with trio.fail_after(10), pytest.raises(CredentialsError, match=r"no answer within 0\.2 s") as caught:
        await ProfileSource(known, "tool").fetch()
    assert caught.value.reason is Reason.UNREACHABLE


@pytest.mark.parametrize(
    "output", ["no json: tool-secret", '{"Version": 2, "SecretAccessKey": "tool-secret"}', "[]"]
)
async def test_what_a_process_printed_wrongly_is_not_repeated(known, process, output):
    process(output)
    with pytest.raises(CredentialsError, match="The profile tool") as caught:
        await ProfileSource(known, "tool").fetch()
    assert "tool-secret" not in str(caught.value) + repr(caught.value)


async def test_an_expired_sso_login_names_the_command(known, files):
    files[0].write_text(
        "[profile work]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = dev\n"
        "[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n"
    )
    with pytest.raises(CredentialsError, match="aws sso login --profile work") as caught:
        await ProfileSource(known, "work").fetch()
    assert caught.value.reason is Reason.SESSION_EXPIRED


async def test_a_profile_that_is_not_there_or_empty_is_told(known, files):
    files[0].write_text("[profile empty]\nregion = eu-west-1\n")
    with pytest.raises(CredentialsError, match="The profile missing does not exist in") as caught:
        await ProfileSource(known, "missing").fetch()
    assert caught.value.reason is Reason.SESSION_MISSING
    with pytest.raises(CredentialsError, match="The profile empty holds no credentials"):
        await ProfileSource(known, "empty").fetch()


async def test_nothing_found_names_the_ways_out(tmp_path):
    source = ProfileSource(Profiles({"HOME": str(tmp_path)}), "default", is_named=False)
    with pytest.raises(CredentialsError, match="profile= or credentials_file=") as caught:
        await source.fetch()
    assert caught.value.reason is Reason.SESSION_MISSING


def test_a_configuration_that_cannot_be_parsed_is_a_users_mistake(known, files):
    files[0].write_text("[profile x\nsecret stuff")
    with pytest.raises(UserError, match="not a well-formed configuration file"):
        known.settings("x")


def test_endpoints_stand_in_a_profile_or_in_its_services(known, files):
    files[0].write_text(
        "[profile a]\nendpoint_url = http://all\n"
        "[profile b]\nservices = local\nendpoint_url = http://rest\n"
        "[services local]\nsts =\n  endpoint_url = http://sts\n"
    )
    assert known.endpoint_url("a", "sts") == "http://all"
    assert known.endpoint_url("b", "sts") == "http://sts"
    assert known.endpoint_url("b", "s3") == "http://rest"
    assert known.endpoint_url("default", "sts") is None
