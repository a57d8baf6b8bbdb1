"""Wrong values of every option of the group Access: one sentence, and nothing is mounted.

The sentence names option and value (never a secret) and the way out.
"""

import errno
import json
import shlex
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from s3rolefs.errors import UserError
from s3rolefs.mounting import mounttable
from s3rolefs.mounting.options import parse_mount
from s3rolefs.mounting.optiontable import OPTIONS
from tests.bed.mounts import PROGRAM, run
from tests.bed.oidc import Provider, TokenJudge
from tests.bed.oidc import tampered as tampered_token
from tests.bed.patience import wait_until
from tests.bed.saml import AssertionJudge, SamlProvider, tampered
from tests.bed.sessions import RoleSessions
from tests.bed.sts import StrictSts
from tests.mount.test_survival import EVERYTHING, read_now

ROLE = "arn:aws:iam::111122223333:role/data"
PROVIDER = "arn:aws:iam::111122223333:saml-provider/idp"
POLICY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
AT_AWS = {"role_arn": ROLE, "endpoint_url": "https://s3.eu-central-1.amazonaws.com", "sts_endpoint": None}
WAIT_SECONDS = 3
# Starting two interpreters on a busy machine.
GRACE_SECONDS = 15

# Option, its value, other options, words of the sentence. Files lie in {folder}; nobody is asked.
WRONG = [
    ("role", "data", {"credentials_file": "{folder}/odd"}, "so does credentials_file: leave one of them out"),
    ("role_arn", "data", {}, "role_arn=data is not the ARN of a role; it must look like arn:aws:iam::"),
    ("role_arn", "arn:aws:iam::12:role/x", AT_AWS, "must look like"),
    ("role_session_name", "a b", {"role_arn": ROLE}, "role_session_name=a b must be 2 to 64 letters"),
    ("role_session_name", "name", {}, "role_session_name=name is of use only together with role_arn="),
    ("external_id", "a b", {"role_arn": ROLE}, "external_id=a b must be 2 to 1224"),
    ("external_id_file", "{folder}/absent", {"role_arn": ROLE}, "does not exist; create it"),
    ("external_id_file", "{folder}/public", {"role_arn": ROLE}, "run: chmod 600 {folder}/public"),
    ("external_id_file", "{folder}/odd", {"role_arn": ROLE}, "text in external_id_file must be 2 to 1224"),
    ("external_id_file", "{folder}/odd", {"role_arn": ROLE, "external_id": "xy"}, "keep one of them"),
    ("duration_seconds", "60", AT_AWS, "duration_seconds=60 must be 900 to"),
    ("duration_seconds", "13h", {"role_arn": ROLE}, "duration_seconds=46800 must be 1 to 43200 seconds"),
    ("duration_seconds", "long", {"role_arn": ROLE}, "duration_seconds=long is no duration: write a number"),
    ("web_identity_token_file", "{folder}/odd", {}, "web_identity_token_file= needs the role"),
    ("web_identity_token_file", "{folder}/absent", {"role_arn": ROLE}, "does not exist; create it"),
    ("web_identity_token_file", "{mnt}/token", {"role_arn": ROLE}, "choose a path outside it"),
    ("web_identity_token_process", "it's", {"role_arn": ROLE}, "web_identity_token_process has a quote"),
    ("web_identity_token_process", "x", {"role_arn": ROLE, "profile": "a"}, "keep one of them"),
    ("provider_id", "www.amazon.com", {"role_arn": ROLE}, "provider_id= is of use only together with"),
    ("saml_assertion_file", "{folder}/odd", {"role_arn": ROLE}, "give saml_provider_arn="),
    (
        *("saml_assertion_file", "{folder}/public", {"role_arn": ROLE, "saml_provider_arn": PROVIDER}),
        "run: chmod 600 {folder}/public",
    ),
    ("saml_assertion_process", "it's", {"role_arn": ROLE}, "saml_assertion_process has a quote"),
    ("saml_provider_arn", PROVIDER, {"role_arn": ROLE}, "give saml_assertion_file= or"),
    (
        *("saml_provider_arn", "idp", {"role_arn": ROLE, "saml_assertion_file": "{folder}/odd"}),
        "saml_provider_arn=idp is not the ARN of a provider; it must look like",
    ),
    ("policy_file", "{folder}/absent", {"role_arn": ROLE}, "policy_file={folder}/absent does not exist"),
    ("policy_file", "{folder}/odd", {"role_arn": ROLE}, "is no JSON"),
    ("policy_file", "{folder}/list", {"role_arn": ROLE}, "it must be a JSON object with a Statement"),
    ("policy_file", "{folder}/long", {"role_arn": ROLE}, "shorten it, or use policy_arns"),
    ("policy_arns", "+".join([POLICY] * 11), {"role_arn": ROLE}, "names 11 policies; STS takes 10 at most"),
    ("policy_arns", "ReadOnlyAccess", {"role_arn": ROLE}, "policy_arns=ReadOnlyAccess is not the ARN"),
    ("session_tags", "team", {"role_arn": ROLE}, "session_tags=team must be KEY=VALUE"),
    ("transitive_tags", "b", {"role_arn": ROLE, "session_tags": "a=1"}, "transitive_tags=b is no key of"),
    ("source_identity", "a b", {"role_arn": ROLE}, "source_identity=a b must be 2 to 64"),
    ("mfa_serial", "me", {"role_arn": ROLE}, "mfa_serial=me must be the ARN of a device"),
    ("mfa_process", "code", {"role_arn": ROLE}, "mfa_process= is of use only together with mfa_serial="),
    ("profile", "wrok", {}, "in {folder}/config and {folder}/credentials-of-nobody: did you mean work?"),
    ("profile", "nobody", {}, "correct the name, or write them there"),
    ("profile", "one", {}, "The profiles one → two → one name each other as source in a circle"),
    ("source_profile", "work", {}, "source_profile=work is of use only together with role_arn="),
    ("credential_source", "Ec2Instance", {}, "must be Environment, Ec2InstanceMetadata or EcsContainer"),
    ("credential_source", "EcsContainer", {}, "needs AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or"),
    ("credential_source", "Environment", {}, "AWS_ACCESS_KEY_ID"),
    ("no_sign_request", "perhaps", {}, "no_sign_request=perhaps must be yes or no"),
    ("no_sign_request", "yes", {"role_arn": ROLE}, "no_sign_request means to use no credentials"),
    ("imdsv1", "perhaps", {}, "imdsv1=perhaps must be yes or no"),
    ("credentials_file", "{folder}/absent", {}, "does not exist; create it, or correct the path"),
    ("credentials_file", "{folder}/public", {}, "run: chmod 600 {folder}/public"),
    ("credentials_file", "{folder}/odd", {}, "credentials_file={folder}/odd cannot be used"),
    ("credentials_file", "{mnt}/keys", {}, "choose a path outside it"),
    ("sts_endpoint", "sts.example", {"role_arn": ROLE}, "sts_endpoint=sts.example is no address: write http"),
    ("cred_wait", "soon", {}, "cred_wait=soon is no duration"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What options may name, rightly or wrongly; the odd ones hold a secret."""
    for name, text, mode in (
        ("odd", "hunter2 !\n", 0o600),
        ("public", "hunter2\n", 0o644),
        ("list", "[]", 0o600),
        ("long", json.dumps({"Statement": [{"Sid": "x" * 2048}]}), 0o600),
    ):
        path = tmp_path / name
        path.touch(mode=mode)
        path.write_text(text)
        path.chmod(mode)
    config = tmp_path / "config"
    config.write_text(
        "[profile work]\naws_access_key_id = AKIA\naws_secret_access_key = hunter2\n"
        f"[profile one]\nrole_arn = {ROLE}\nsource_profile = two\n"
        f"[profile two]\nrole_arn = {ROLE}\nsource_profile = one\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials-of-nobody"))
    return tmp_path


def refusal(place, source, **options):
    """Return the sentence with which a mount is refused."""
    command = place.command(source, **{"credentials_file": None, "mount_wait": WAIT_SECONDS} | options)
    began = time.monotonic()
    result = run(*command, check=False)
    assert time.monotonic() - began < WAIT_SECONDS + GRACE_SECONDS
    assert result.returncode in {1, 32}, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr
    assert mounttable.mount_at(str(place.directory)) is None
    return result.stderr


@pytest.mark.parametrize(
    ("option", "value", "others", "words"), WRONG, ids=[f"{row[0]}-{row[3][-20:]}" for row in WRONG]
)
def test_a_wrong_value_is_named_with_the_way_out(place, folder, option, value, others, words):
    where = {"folder": folder, "mnt": place.directory}
    given = {name: text and text.format(**where) for name, text in {**others, option: value}.items()}
    assert words.format(**where) in refusal(place, "s3://bucket", **given)


def names(*, with_value):
    return {
        option.name
        for option in OPTIONS
        if option.group == "Access" and (option.placeholder is not None or not with_value)
    }


def test_no_option_is_left_out():
    assert names(with_value=False) == {row[0] for row in WRONG}


def test_an_empty_value_is_refused(place):
    assert "role_arn= is empty: give it a value or leave it out" in refusal(place, "s3://bucket", role_arn="")
    for option in names(with_value=True):
        with pytest.raises(UserError, match=f"{option}= is empty"):
            parse_mount("s3://bucket", str(place.directory), [f"{option}="])


@pytest.fixture(scope="module")
def oidc():
    return Provider()


@pytest.fixture(scope="module")
def idp():
    with SamlProvider(f"{ROLE},{PROVIDER}") as idp:
        yield idp


@pytest.fixture
def sts(radosgw, visitor, make_role, oidc, idp):
    with StrictSts(RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=900)) as sts:
        sts.judges["AssumeRole"] = lambda _form: "arn:aws:sts::111122223333:assumed-role/data/x"
        sts.judges["AssumeRoleWithWebIdentity"] = TokenJudge(oidc, role_arn=ROLE)
        sts.judges["AssumeRoleWithSAML"] = AssertionJudge(idp, provider_arn=PROVIDER)
        yield sts


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda oidc: oidc.token(exp=time.time() - 60), "Token expired"),
        (lambda oidc: oidc.token(iat=time.time() + 3600), "issued in the future"),
        (lambda oidc: oidc.token(nbf=time.time() + 3600), "issued in the future"),
        (lambda oidc: oidc.token(aud="another"), "Incorrect token audience"),
        (lambda oidc: oidc.token(iss="https://other.example"), "No OpenIDConnect provider found"),
        (lambda oidc: tampered_token(oidc.token()), "not a valid JWT"),
    ],
    ids=["expired", "issued-later", "valid-later", "audience", "issuer", "tampered"],
)
def test_a_token_that_sts_does_not_take(role_place, bucket, sts, oidc, tmp_path, make, words):
    file, token = tmp_path / "token", make(oidc)
    file.touch(mode=0o600)
    file.write_text(token)
    sentence = refusal(
        role_place, f"s3://{bucket}", role_arn=ROLE, sts_endpoint=sts.url, web_identity_token_file=file
    )
    assert words in sentence
    assert "web_identity_token_file= or web_identity_token_process=" in sentence
    assert token[:20] not in sentence


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda idp: idp.assertion(age=timedelta(minutes=6)), "within 5 minutes of issuance"),
        (lambda idp: idp.assertion(audience="https://other.example"), "Audience is invalid"),
        (lambda idp: tampered(idp.assertion()), "Response signature invalid"),
    ],
    ids=["late", "audience", "tampered"],
)
def test_an_assertion_that_sts_does_not_take(role_place, bucket, sts, idp, tmp_path, make, words):
    file, assertion = tmp_path / "assertion", make(idp)
    file.touch(mode=0o600)
    file.write_text(assertion)
    options = {"role_arn": ROLE, "saml_provider_arn": PROVIDER, "sts_endpoint": sts.url}
    sentence = refusal(role_place, f"s3://{bucket}", saml_assertion_file=file, **options)
    assert words in sentence
    assert "saml_assertion_file= or saml_assertion_process=" in sentence
    assert assertion[:20] not in sentence


# A command that does what stands in a file beside it, or gives what it should.
PROGRAM_TEXT = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
while (mode := (folder / "mode").read_text()) == "hang":
    time.sleep(0.05)
if mode == "fail":
    sys.exit("hunter2")
if mode == "flood":
    while True:
        print("hunter2" * 10000)
print((folder / "token").read_text())
"""
TROUBLES = {
    "fail": "ended with status 1: run it by hand to see why",
    "flood": "printed more than 262144 bytes",
    "hang": "",
}


class Command:
    """A command of web_identity_token_process that can be made to misbehave."""

    def __init__(self, folder, oidc):
        self._folder = folder
        (folder / "login.py").write_text(PROGRAM_TEXT)
        (folder / "token").write_text(oidc.token())
        self.do("work")
        words = (sys.executable, str(folder / "login.py"), str(folder))
        self.option = f'"{shlex.join(words)}"'

    def do(self, mode):
        new = self._folder / "mode.new"
        new.write_text(mode)
        new.rename(self._folder / "mode")


@pytest.fixture
def command(tmp_path, oidc):
    made = Command(tmp_path, oidc)
    yield made
    made.do("fail")


@pytest.mark.parametrize("mode", TROUBLES)
def test_a_command_in_trouble_at_the_start(role_place, bucket, sts, command, mode):
    command.do(mode)
    options = {"role_arn": ROLE, "sts_endpoint": sts.url, "web_identity_token_process": command.option}
    sentence = refusal(role_place, f"s3://{bucket}", mount_wait=20, cred_wait=2, **options)
    assert "command of web_identity_token_process" in sentence
    assert (TROUBLES[mode] or "within 2 s") in sentence
    assert sts.requests == []


@pytest.mark.parametrize("mode", ["fail", "hang"])
def test_a_start_that_takes_too_long_tells_whom_it_waited_for(role_place, bucket, sts, command, mode):
    command.do(mode)
    options = {"role_arn": ROLE, "sts_endpoint": sts.url, "web_identity_token_process": command.option}
    sentence = refusal(role_place, f"s3://{bucket}", **options)
    assert f"within {WAIT_SECONDS} s (mount_wait) while asking for a session from {ROLE}" in sentence
    assert "assumed with the command of web_identity_token_process" in sentence
    assert TROUBLES[mode] in sentence


def keeps_serving(mount):
    (mount.path / "file").write_bytes(b"still here")
    assert read_now(mount.path / "file") == b"still here"


def trouble_of(mount):
    """Return what status says is wrong, while the mount goes on; a renewal is tried first."""
    failures = mount.ask("status")["roles"][0]["failures"]
    assert run(PROGRAM, "refresh", mount.path, check=False).returncode != 0
    keeps_serving(mount)
    role = mount.ask("status")["roles"][0]
    assert role["state"] in {"valid but stale", "needs user"}
    assert (role["generation"], role["failures"] > failures) == (1, True)
    return role["last_error"]


def heals(mount):
    run(PROGRAM, "refresh", mount.path)
    keeps_serving(mount)
    role = mount.ask("status")["roles"][0]
    # What is mended may have been noticed before it was asked for.
    assert (role["state"], role["generation"] >= 2) == ("fresh", True)


def test_a_running_mount_whose_token_file_is_replaced_by_garbage(role_place, bucket, sts, oidc, tmp_path):
    token = tmp_path / "token"
    token.write_text(oidc.token())
    options = {"role_arn": ROLE, "sts_endpoint": sts.url, "web_identity_token_file": token}
    with role_place.mounted(f"s3://{bucket}", credentials_file=None, **options) as mount:
        for garbage, words in (
            ("hunter2\nhunter2", "one line of 4 to 20000 characters is expected"),
            ("hunter2", "not a valid JWT"),
        ):
            token.write_text(garbage)
            said = trouble_of(mount)
            assert words in said
            assert "web_identity_token_file" in said
            assert "hunter2" not in said
        token.unlink()
        assert f"web_identity_token_file={token} does not exist" in trouble_of(mount)
        token.write_text(oidc.token())
        heals(mount)


def test_a_running_mount_whose_command_gets_into_trouble(role_place, bucket, sts, command):
    options = {"role_arn": ROLE, "sts_endpoint": sts.url, "web_identity_token_process": command.option}
    with role_place.mounted(f"s3://{bucket}", credentials_file=None, **options) as mount:
        for mode in ("flood", "fail"):
            command.do(mode)
            said = trouble_of(mount)
            assert TROUBLES[mode] in said
            assert "command of web_identity_token_process" in said
        command.do("hang")
        with subprocess.Popen([PROGRAM, "refresh", str(mount.path)]) as refresh:
            wait_until(lambda: mount.ask("status")["roles"][0]["state"] == "refreshing", 10)
            keeps_serving(mount)
            command.do("work")
            assert refresh.wait(GRACE_SECONDS) == 0
        assert mount.ask("status")["roles"][0]["generation"] >= 2


def test_a_running_mount_whose_policy_file_is_removed(role_place, bucket, make_role, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]}))
    options = {"role_arn": make_role(EVERYTHING), "policy_file": policy}
    with role_place.mounted(f"s3://{bucket}", **options) as mount:
        policy.unlink()
        heals(mount)  # it was read once: whoever wants another policy mounts again


def test_a_running_mount_whose_profile_is_deleted(role_place, bucket, visitor, sts, tmp_path, monkeypatch):
    config = tmp_path / "config"
    text = (
        f"[profile work]\naws_access_key_id = {visitor.access_key}\n"
        f"aws_secret_access_key = {visitor.secret_key}\n"
    )
    config.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    options = {"role_arn": ROLE, "source_profile": "work", "sts_endpoint": sts.url}
    with role_place.mounted(f"s3://{bucket}", credentials_file=None, **options) as mount:
        config.write_text("")
        said = trouble_of(mount)
        assert f"The profile work does not exist in {config}" in said
        config.write_text(text)
        heals(mount)


@pytest.mark.timeout(60)
def test_when_the_session_ends_operations_fail_within_bounds_until_it_is_mended(
    role_place, bucket, radosgw, visitor, make_role, sts, oidc, tmp_path
):
    sts.sessions = RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=4)
    token = tmp_path / "token"
    token.write_text(oidc.token())
    options = {"role_arn": ROLE, "sts_endpoint": sts.url, "web_identity_token_file": token, "cred_wait": 2}
    with role_place.mounted(f"s3://{bucket}", credentials_file=None, **options) as mount:
        keeps_serving(mount)
        token.write_text("hunter2")
        began = []

        def read_on():
            while len(began) < 100:
                began.append(time.monotonic())
                assert read_now(mount.path / "file") == b"still here"
                time.sleep(0.1)

        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
            read_on()
        assert caught.value.errno in {errno.EKEYEXPIRED, errno.EACCES}
        assert len(began) > 10
        assert time.monotonic() - began[-1] < 2 + 2
        assert "not a valid JWT" in mount.ask("status")["roles"][0]["last_error"]
        token.write_text(oidc.token())
        wait_until(lambda: mount.ask("status")["roles"][0]["state"] == "fresh", 10)
        keeps_serving(mount)
