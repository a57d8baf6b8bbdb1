"""A person hands a running mount what only a person can give: codes, assertions, an SSO login."""

import base64
import json
import os
import signal
import stat
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bed.mounts import LIMIT_SECONDS, PROGRAM, as_user, run
from tests.bed.patience import wait_until
from tests.bed.radosgw import REGION
from tests.bed.saml import AssertionJudge, SamlProvider
from tests.bed.sessions import RoleSessions
from tests.bed.sso import SsoPortal
from tests.bed.sts import RefusedError, StrictSts
from tests.bed.terminal import on_a_terminal

EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
ROLE = "arn:aws:iam::111122223333:role/data"
IDP = "arn:aws:iam::111122223333:saml-provider/idp"
SERIAL = "arn:aws:iam::111122223333:mfa/ada"
OTHER_SERIAL = "arn:aws:iam::111122223333:mfa/bob"
QUESTION, OTHER_QUESTION = f"Code of {SERIAL}: ", f"Code of {OTHER_SERIAL}: "
SESSION_SECONDS = 120


@pytest.fixture
def sessions(radosgw, visitor, make_role):
    return RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=SESSION_SECONDS)


@pytest.fixture
def sts(sessions):
    with StrictSts(sessions) as sts:
        yield sts


@contextmanager
def read_meanwhile(path):
    """Read past every cache until the block ends; every failure fails the test."""
    end = threading.Event()
    seen = []

    def read():
        while not end.wait(0.05):
            try:
                file = os.open(path, os.O_RDONLY | os.O_DIRECT)
                try:
                    seen.append(os.read(file, 100))
                finally:
                    os.close(file)
            except OSError as error:
                seen.append(error)

    path.write_bytes(b"still here")
    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()
    assert set(seen) == {b"still here"}


def role_of(mount):
    (role,) = mount.ask("status")["roles"]
    return role


def login(path, *arguments, given="", **more):
    """Run `s3rolefs login` with a pipe; return how it ended."""
    return subprocess.run(
        [PROGRAM, "login", str(path), *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        **more,
    )


def renew_in_vain(mount):
    """Do what the schedule does after a while: the session runs on, and the next one does not come."""
    run(PROGRAM, "refresh", mount.path, check=False)
    role = role_of(mount)
    assert (role["state"], role["generation"]) == ("needs user", 1)
    return role


# A multi-factor device -----------------------------------------------------------------------------


@pytest.fixture
def by_device(sts, role_place):
    """Options of a role whose device's codes begin with 1, each good for one session."""
    used = set()

    def judge(form):
        code = form["TokenCode"]
        if form["SerialNumber"] not in (SERIAL, OTHER_SERIAL) or code in used or not code.startswith("1"):
            said = "MultiFactorAuthentication failed with invalid MFA one time pass code."
            raise RefusedError("AccessDenied", said, status=403)
        used.add(code)
        return "arn:aws:sts::111122223333:assumed-role/data/x"

    sts.judges["AssumeRole"] = judge
    return {"role_arn": ROLE, "mfa_serial": SERIAL, "sts_endpoint": sts.url}


def test_a_new_code_brings_the_next_session_while_a_reader_goes_on(role_place, bucket, by_device):
    mount = None
    try:
        status, screen = on_a_terminal(
            role_place.command(f"s3://{bucket}", **by_device), {QUESTION: "111111"}
        )
        assert status == 0, screen
        mount = role_place.find()
        with read_meanwhile(mount.path / "watched") as seen:
            early = login(mount.path)
            assert (early.returncode, "Nothing is needed: the session ends" in early.stderr) == (0, True)
            assert renew_in_vain(mount)["needs"] == f"Code of {SERIAL}"
            shown = run(PROGRAM, "status", mount.path).stdout
            assert f"Code of {SERIAL}: run `s3rolefs login {mount.path}`" in shown
            assert f"run `s3rolefs login {mount.path}`" in run(PROGRAM, "whoami", mount.path).stdout
            again, words = on_a_terminal([PROGRAM, "login", mount.path], {QUESTION: "111111"})
            assert (again, "invalid MFA one time pass code" in words) == (1, True)
            none = login(mount.path)
            assert (none.returncode, "nothing was given" in none.stderr) == (1, True)
            odd = login(mount.path, given="12345\n")
            assert (odd.returncode, "is no code of six digits" in odd.stderr) == (1, True)
            assert role_of(mount)["generation"] == 1
            status, screen = on_a_terminal([PROGRAM, "login", mount.path], {QUESTION: "122222"})
            assert status == 0, screen
            assert "122222" not in screen
            role = role_of(mount)
            assert (role["state"], role["generation"], role["needs"]) == ("fresh", 2, None)
            reads = len(seen)
            wait_until(lambda: len(seen) > reads + 2, LIMIT_SECONDS)
            for name in ("cmdline", "environ"):
                assert b"122222" not in Path(f"/proc/{mount.pid}/{name}").read_bytes()
    finally:
        role_place.clear(mount.pid if mount else None)


def test_each_role_of_a_map_gets_its_own(role_place, buckets, by_device, radosgw, tmp_path, monkeypatch):
    config = tmp_path / "config.toml"
    config.touch(mode=0o600)
    text = "[maps.office]\n"
    for name in ("ada", "bob"):
        where = f'region = "{REGION}", endpoint_url = "{radosgw.endpoint_url}"'
        text += f'{name} = {{ source = "s3://{buckets()}", role = "{name}", {where} }}\n'
    for name, serial in (("ada", SERIAL), ("bob", OTHER_SERIAL)):
        text += (
            f'[roles.{name}]\ncredentials_file = "{role_place.credentials}"\nrole_arn = "{ROLE}-{name}"\n'
            f'mfa_serial = "{serial}"\nsts_endpoint = "{by_device["sts_endpoint"]}"\n'
        )
    config.write_text(text)
    monkeypatch.setenv("S3ROLEFS_CONFIG", str(config))
    own = {"credentials_file": None, "region": None, "endpoint_url": None}

    def generations():
        return {role["name"]: role["generation"] for role in mount.ask("status")["roles"]}

    mount = None
    try:
        codes = {QUESTION: "111111", OTHER_QUESTION: "122222"}
        status, screen = on_a_terminal(role_place.command("map://office", **own), codes)
        assert status == 0, screen
        mount = role_place.find()
        run(PROGRAM, "refresh", mount.path, check=False)
        assert [role["state"] for role in mount.ask("status")["roles"]] == ["needs user"] * 2
        whose = login(mount.path, given="133333\n")
        assert (whose.returncode, generations()) == (1, {"ada": 1, "bob": 1})
        assert "those of ada; bob: name the directory that this is for" in whose.stderr
        codes = {QUESTION: "133333", OTHER_QUESTION: "144444"}
        status, screen = on_a_terminal([PROGRAM, "login", mount.path], codes)
        assert (status, generations()) == (0, {"ada": 2, "bob": 2}), screen
        run(PROGRAM, "refresh", mount.path, check=False)
        one = login(mount.path / "bob", given="155555\n")
        assert "number 3" in one.stdout
        assert generations() == {"ada": 2, "bob": 3}
        early = login(mount.path, given="")
        assert (early.returncode, f"Code of {SERIAL}: nothing was given" in early.stdout) == (1, True)
    finally:
        role_place.clear(mount.pid if mount else None)


def test_only_the_one_who_mounted_and_root_may_hand_something_over(place, bucket):
    with place.mounted(f"s3://{bucket}") as mount:
        refused = run(*as_user(), PROGRAM, "login", mount.path, check=False)
        assert refused.returncode == 1
        assert "was mounted by another user: only that user and root may ask it" in refused.stderr
        pointless = run(PROGRAM, "login", mount.path, "--force", check=False)
        assert pointless.returncode == 1
        assert "it gets its sessions by itself" in pointless.stderr


def test_without_a_mount_there_is_nobody_to_hand_a_code_to(role_place, by_device):
    options = role_place.options(**by_device, spool_dir=None, mount_wait=None, stop_timeout=None)
    refused = run(PROGRAM, "login", "-o", options, check=False)
    assert refused.returncode == 1
    assert f"There is no mount to hand it to (Code of {SERIAL})" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


# SAML ------------------------------------------------------------------------------------------------


def test_assertions_from_a_file_and_a_pipe_and_a_tampered_one(role_place, bucket, sts, tmp_path):
    with SamlProvider(f"{ROLE},{IDP}") as idp:
        sts.judges["AssumeRoleWithSAML"] = AssertionJudge(idp, provider_arn=IDP)
        first, fresh = tmp_path / "first", tmp_path / "fresh"
        first.touch(mode=0o600)
        first.write_text(idp.assertion())
        options = {
            "role_arn": ROLE,
            "saml_provider_arn": IDP,
            "saml_assertion_file": first,
            "credentials_file": None,
            "sts_endpoint": sts.url,
        }
        with role_place.mounted(f"s3://{bucket}", **options) as mount:
            needs = renew_in_vain(mount)["needs"]
            assert needs == f"SAML assertion for {ROLE} with {IDP}"
            assertion = idp.assertion()
            other = base64.b64encode(base64.b64decode(assertion).replace(b">ada<", b">eve<")).decode()
            tampered = login(mount.path, given=other)
            assert (tampered.returncode, "Response signature invalid" in tampered.stderr) == (1, True)
            cut = login(mount.path, given=assertion[:-401])
            assert (cut.returncode, "What was given is no SAML response" in cut.stderr) == (1, True)
            assert role_of(mount)["generation"] == 1
            (mount.path / "a").write_bytes(b"the old session serves")
            fresh.write_text(assertion)
            answer = json.loads(run(PROGRAM, "login", mount.path, "--file", fresh, "--json").stdout)
            assert (answer["state"], answer["generation"]) == ("fresh", 2)
            forced = login(mount.path, "--force", "--file", "-", given=idp.assertion())
            assert (forced.returncode, "session: number 3" in forced.stdout) == (0, True)
            question = f"SAML assertion for {ROLE} with {IDP}: "
            long = on_a_terminal([PROGRAM, "login", "--force", mount.path], {question: "A" * 5000})
            assert (long[0], "a terminal takes lines of up to 4095 characters" in long[1]) == (1, True)
            missing = login(mount.path, "--force", "--file", tmp_path / "absent")
            assert (missing.returncode, "cannot be read (No such file" in missing.stderr) == (1, True)
            assert role_of(mount)["state"] == "fresh"


# SSO -------------------------------------------------------------------------------------------------


@pytest.fixture
def portal(sessions):
    with SsoPortal(sessions) as portal:
        yield portal


@pytest.fixture
def sso(portal, tmp_path, monkeypatch):
    """Options of a profile that logs in by SSO; HOME is where its token is kept."""
    config = tmp_path / "config"
    config.write_text(portal.profile())
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return {"profile": "work", "credentials_file": None}


def log_in(portal, *command, **more):
    """Run a login to its end; confirm in the browser once it asks for the token."""
    with subprocess.Popen(
        [PROGRAM, "login", *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    ) as process:
        polls = portal.polls
        wait_until(lambda: portal.polls > polls, LIMIT_SECONDS)
        portal.confirm()
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, err
    assert f"Open {portal.url}/device?user_code=ABCD-EFGH in a browser" in err
    assert not any(token in out + err for token in portal.tokens)
    return out


def test_an_sso_login_reaches_the_mount_of_another_home(role_place, bucket, portal, sso, tmp_path):
    options = role_place.options(**sso, spool_dir=None, mount_wait=None, stop_timeout=None)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "expires" in log_in(portal, "-o", options)
    (kept,) = (tmp_path / "home" / ".aws" / "sso" / "cache").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with role_place.mounted(f"s3://{bucket}", **sso) as mount, read_meanwhile(mount.path / "watched"):
        portal.tokens.clear()
        portal.confirmed = False
        assert renew_in_vain(mount)["needs"] == "SSO login of the profile work"
        polls = portal.polls
        with subprocess.Popen(
            [PROGRAM, "login", str(mount.path)], stderr=subprocess.PIPE, text=True
        ) as given_up:
            wait_until(lambda: portal.polls > polls, LIMIT_SECONDS)
            given_up.send_signal(signal.SIGINT)
            said = given_up.communicate(timeout=LIMIT_SECONDS)[1]
        assert (given_up.returncode, said.splitlines()[-1]) == (8, "s3rolefs: interrupted.")
        assert "Traceback" not in said
        log_in(portal, mount.path, env={**os.environ, "HOME": str(elsewhere)})
        role = role_of(mount)
        assert (role["state"], role["generation"]) == ("fresh", 2)
        assert list(elsewhere.iterdir()) == []
    assert list(portal.tokens) == [json.loads(kept.read_text())["accessToken"]]
