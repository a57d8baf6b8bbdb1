"""Roles assumed with tokens of an identity provider, which are really signed and really verified."""

import time

import pytest
import trio

from s3rolefs.clock import SystemClock
from s3rolefs.config import PROOF, RoleConfig
from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import provider
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.place import Place
from tests.bed.oidc import Provider, TokenJudge, tampered
from tests.bed.radosgw import Keys
from tests.bed.sts import RefusedError, StrictSts

ROLE = "arn:aws:iam::111122223333:role/data"
SESSION = Keys(access_key="ASIAWEB", secret_key="web-secret", session_token="web-token")


@pytest.fixture(scope="module")
def oidc():
    return Provider()


@pytest.fixture
def judge(oidc):
    return TokenJudge(oidc, role_arn=ROLE)


@pytest.fixture
def sts(judge):
    with StrictSts(lambda: (SESSION, time.time() + 900)) as sts:
        sts.judges["AssumeRoleWithWebIdentity"] = judge
        yield sts


@pytest.fixture
def token_file(tmp_path, oidc):
    path = tmp_path / "token"
    path.write_text(oidc.token() + "\n")
    return path


def source(sts, environment=None, **options):
    role = RoleConfig(**{"role_arn": ROLE, "sts_endpoint": sts.url, **options})
    return provider.build(role, Place(environment=environment or {}, clock=SystemClock())).source


async def refusal(source):
    with trio.fail_after(10), pytest.raises(CredentialsError) as caught:
        await source.fetch()
    assert "\n" not in caught.value.message
    assert "eyJ" not in caught.value.message + repr(caught.value)
    return caught.value


# What is asked ----------------------------------------------------------------------------------


async def test_everything_the_guide_names_reaches_sts_unsigned(sts, token_file, tmp_path, monkeypatch):
    # Keys of the process's own environment must not sign it.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    policy = tmp_path / "policy.json"
    policy.write_text('{"Statement": []}')
    asking = source(
        sts,
        web_identity_token_file=str(token_file),
        role_session_name="app1",
        duration_seconds=3000,
        provider_id="www.amazon.com",
        policy_file=str(policy),
        policy_arns=("arn:aws:iam::123456789012:policy/a", "arn:aws:iam::123456789012:policy/b"),
    )
    snapshot = await asking.fetch()
    assert snapshot.access_key_id == "ASIAWEB"
    assert snapshot.arn == "arn:aws:sts::111122223333:assumed-role/data/app1"
    assert snapshot.expires_at == pytest.approx(time.time() + 900, abs=2)
    assert "authorization" not in sts.asked[0].headers
    assert sts.requests[0] == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "signer": "",
        "RoleArn": ROLE,
        "RoleSessionName": "app1",
        "WebIdentityToken": token_file.read_text().strip(),
        "ProviderId": "www.amazon.com",
        "DurationSeconds": "3000",
        "Policy": '{"Statement":[]}',
        "PolicyArns.member.1.arn": "arn:aws:iam::123456789012:policy/a",
        "PolicyArns.member.2.arn": "arn:aws:iam::123456789012:policy/b",
    }


async def test_a_token_file_is_read_at_every_renewal(sts, token_file, oidc, judge):
    asking = source(sts, web_identity_token_file=str(token_file))
    await asking.fetch()
    token_file.write_text(oidc.token())
    await asking.fetch()
    assert int(judge.accepted[1]) == int(judge.accepted[0]) + 1


async def test_a_command_is_run_at_every_renewal(sts, oidc, judge, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{oidc.token()}\n{oidc.token()}\n")
    command = f"sh -c 'head -n 1 {tokens}; sed -i 1d {tokens}'"
    asking = source(sts, web_identity_token_process=command)
    await asking.fetch()
    await asking.fetch()
    assert len(set(judge.accepted)) == 2


async def test_a_token_from_a_descriptor_serves_while_it_is_valid(sts, oidc):
    asking = source(sts, {PROOF: oidc.token()}, web_identity_token_file="/dev/fd/63")
    await asking.fetch()
    await asking.fetch()
    assert asking.describe() == f"{ROLE} assumed with the descriptor of web_identity_token_file"


# What is found ----------------------------------------------------------------------------------


async def test_what_kubernetes_sets_is_found_by_itself(sts, token_file):
    environment = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ROLE_SESSION_NAME": "pod",
        "HOME": str(token_file.parent),
    }
    found = source(sts, environment, role_arn=None)
    assert (await found.fetch()).arn.endswith("assumed-role/data/pod")
    assert found.describe() == f"{ROLE} assumed with AWS_WEB_IDENTITY_TOKEN_FILE={token_file}"
    # The same role as an option is the same thing, another one is assumed with it.
    assert source(sts, environment).describe() == found.describe()
    other = source(sts, environment, role_arn=f"{ROLE}2")
    assert other.describe() == f"{ROLE}2 assumed with {found.describe()}"
    # Keys in the environment come first, as in the AWS SDKs; a source that is named comes before all.
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    assert source(sts, environment | keys, role_arn=None).describe() == "the environment"
    assert (
        source(sts, environment, credentials_file="/f").describe()
        == f"{ROLE} assumed with credentials_file=/f"
    )


def test_half_of_what_kubernetes_sets_is_refused(sts, token_file):
    with pytest.raises(UserError, match="AWS_ROLE_ARN is not: set it"):
        source(sts, {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file)}, role_arn=None)


async def test_a_profile_may_name_a_token_file(sts, token_file, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        f"[profile web]\nrole_arn = {ROLE}\nweb_identity_token_file = {token_file}\nrole_session_name = me\n"
    )
    snapshot = await source(sts, {"HOME": str(tmp_path)}, role_arn=None, profile="web").fetch()
    assert snapshot.arn.endswith("assumed-role/data/me")


def test_a_role_assumed_with_it_gets_an_hour_at_aws(token_file):
    environment = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file), "AWS_ROLE_ARN": ROLE}
    role = RoleConfig(role_arn=f"{ROLE}2", duration_seconds=7200)
    chained = provider.build(role, Place(environment=environment, clock=SystemClock())).source
    assert chained._request.duration_seconds == 3600


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "reason", "words"),
    [
        ({"aud": "someone-else"}, Reason.ROLE_REFUSED, "Incorrect token audience"),
        ({"iss": "https://other.example"}, Reason.ROLE_REFUSED, "No OpenIDConnect provider"),
        ({"iat": time.time() + 3600}, Reason.ROLE_REFUSED, "issued in the future"),
        ({"exp": time.time() - 1}, Reason.SESSION_EXPIRED, "The web identity token that was to assume"),
    ],
)
async def test_a_token_that_is_not_taken_is_told_in_the_words_of_sts(
    sts, oidc, token_file, claims, reason, words
):
    token_file.write_text(oidc.token(**claims))
    error = await refusal(source(sts, web_identity_token_file=str(token_file)))
    assert error.reason is reason
    assert words in error.message


async def test_a_tampered_token_is_refused(sts, oidc, token_file):
    token_file.write_text(tampered(oidc.token()))
    error = await refusal(source(sts, web_identity_token_file=str(token_file)))
    assert (error.reason, error.code) == (Reason.ROLE_REFUSED, "InvalidIdentityToken")


async def test_an_expired_token_is_sent_once_and_the_next_one_at_once(sts, oidc, token_file, running):
    token_file.write_text(oidc.token(exp=time.time() - 1))
    broker = Broker(
        source(sts, web_identity_token_file=str(token_file)), clock=SystemClock(), watch_seconds=0.05
    )
    async with running(broker):
        with pytest.raises(CredentialsError, match="has expired"):
            await broker.get()
        with pytest.raises(CredentialsError, match="has expired"):
            await broker.refresh()
        assert len(sts.requests) == 1
        token_file.write_text(oidc.token())
        with trio.fail_after(5):
            while broker.peek() is None:  # noqa: ASYNC110 - the broker has no event for tests
                await trio.sleep(0.01)


async def test_a_token_rotated_at_the_last_moment_is_acquired_once_more(sts, oidc, token_file, judge):
    class Rotating(TokenJudge):
        def __call__(self, form):
            try:
                return super().__call__(form)
            finally:
                token_file.write_text(oidc.token())

    sts.judges["AssumeRoleWithWebIdentity"] = Rotating(oidc, role_arn=ROLE)
    token_file.write_text(oidc.token(exp=time.time() - 1))
    await source(sts, web_identity_token_file=str(token_file)).fetch()
    assert len(sts.requests) == 2


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("IDPCommunicationError", "Error communicating with the identity provider"),
        ("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider"),
    ],
)
async def test_trouble_between_sts_and_the_provider_passes(sts, token_file, judge, code, sentence):
    judge.troubles = [RefusedError(code, sentence)]
    asking = source(sts, web_identity_token_file=str(token_file))
    error = await refusal(asking)
    assert error.reason is Reason.UNREACHABLE
    assert sentence in error.message
    await asking.fetch()


# Bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "abc", "x" * 20001, "two\nlines", "töken"])
async def test_what_is_no_token_is_never_sent(sts, token_file, text):
    token_file.write_text(text)
    error = await refusal(source(sts, web_identity_token_file=str(token_file)))
    assert error.reason is Reason.SESSION_MISSING
    assert str(token_file) in error.message
    assert not sts.requests


async def test_a_missing_file_and_an_empty_descriptor_are_named(sts, tmp_path):
    error = await refusal(source(sts, web_identity_token_file=str(tmp_path / "none")))
    assert f"web_identity_token_file={tmp_path}/none does not exist" in error.message
    error = await refusal(source(sts, web_identity_token_file="/dev/stdin"))
    assert "Nothing came from the descriptor" in error.message


async def test_a_file_that_others_can_read_is_warned_of_once(sts, token_file, caplog):
    token_file.chmod(0o644)
    asking = source(sts, web_identity_token_file=str(token_file))
    await asking.fetch()
    await asking.fetch()
    assert [record.getMessage() for record in caplog.records] == [
        f"web_identity_token_file={token_file} can be read by every user of this machine"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"role_arn": None}, "web_identity_token_file= needs the role to assume with it"),
        ({"profile": "a"}, "both name a source"),
        ({"web_identity_token_process": "p"}, "both name a source"),
        ({"external_id": "ext"}, "external_id= cannot be used with web_identity_token_file="),
        ({"session_tags": ("a=b",)}, "session_tags= cannot be used with"),
        ({"mfa_serial": "arn:aws:iam::111122223333:mfa/ada"}, "mfa_serial= cannot be used with"),
        ({"web_identity_token_file": None, "provider_id": "x"}, "provider_id= is of use only"),
    ],
)
def test_contradictions_are_refused_in_one_sentence(options, words):
    with pytest.raises(UserError, match=words) as caught:
        provider.validate(RoleConfig(**{"role_arn": ROLE, "web_identity_token_file": "/t", **options}))
    assert "\n" not in caught.value.sentence
