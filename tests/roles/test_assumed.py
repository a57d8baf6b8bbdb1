"""AssumeRole in full: every parameter, MFA, chains and their one hour."""

import json
import logging

import pytest

from s3rolefs.clock import SystemClock
from s3rolefs.config import MFA_CODE, RoleConfig
from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import provider
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.place import Place

ROLE = "arn:aws:iam::111122223333:role/data"
SERIAL = "arn:aws:iam::111122223333:mfa/ada"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIACALLER", "AWS_SECRET_ACCESS_KEY": "caller-secret"}
LIMIT = "1 hour session limit for roles assumed by role chaining"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}


def source(front, environment=KEYS, **options):
    role = RoleConfig(**{"role_arn": ROLE, "sts_endpoint": front.url if front else None, **options})
    return provider.build(role, Place(environment=environment, clock=SystemClock())).source


async def test_every_option_reaches_sts(front, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY, indent=4))
    await source(
        front,
        role_session_name="ada",
        external_id="ext",
        duration_seconds=1800,
        policy_file=str(policy),
        policy_arns=("arn:aws:iam::aws:policy/A+b", "arn:aws:iam::111122223333:policy/x/B"),
        session_tags=("Project=a b+c", "Team=x"),
        transitive_tags=("Project",),
        source_identity="ada@example",
        mfa_serial=SERIAL,
        mfa_process="echo 123456",
    ).fetch()
    asked = front.requests[0]
    assert json.loads(asked.pop("Policy")) == POLICY
    asked.pop("authorization")
    assert asked == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "ada",
        "ExternalId": "ext",
        "DurationSeconds": "1800",
        "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/A+b",
        "PolicyArns.member.2.arn": "arn:aws:iam::111122223333:policy/x/B",
        "Tags.member.1.Key": "Project",
        "Tags.member.1.Value": "a b+c",
        "Tags.member.2.Key": "Team",
        "Tags.member.2.Value": "x",
        "TransitiveTagKeys.member.1": "Project",
        "SourceIdentity": "ada@example",
        "SerialNumber": SERIAL,
        "TokenCode": "123456",
    }


# Multi-factor devices ---------------------------------------------------------------------------


class Device:
    """Judge as STS does: each code of the device is taken once (IAM User Guide, "MFA-protected APIs")."""

    def __init__(self, *codes):
        self.left = set(codes)

    def __call__(self, request):
        if request.get("SerialNumber") != SERIAL or request.get("TokenCode") not in self.left:
            said = "MultiFactorAuthentication failed with invalid MFA one time pass code."
            return 403, "AccessDenied", said
        self.left.discard(request["TokenCode"])
        return None


async def test_a_typed_code_serves_once_and_then_a_person_is_needed(front, running):
    front.judge = Device("123456")
    typed = source(front, KEYS | {MFA_CODE: json.dumps({SERIAL: " 123456 "})}, mfa_serial=SERIAL)
    async with running(Broker(typed, clock=SystemClock())) as broker:
        first = await broker.get()
        with pytest.raises(CredentialsError, match=f"A new code of {SERIAL} is needed") as caught:
            await broker.refresh()
        assert caught.value.reason is Reason.SESSION_MISSING
        assert broker.peek() is first
    assert len(front.requests) == 1


async def test_a_typed_code_that_never_arrived_is_tried_again(front):
    front.error = (503, "ServiceUnavailable", "Later")
    typed = source(front, KEYS | {MFA_CODE: json.dumps({SERIAL: "123456"})}, mfa_serial=SERIAL)
    with pytest.raises(CredentialsError, match="just now"):
        await typed.fetch()
    front.error = None
    await typed.fetch()
    assert [asked["TokenCode"] for asked in front.requests] == ["123456", "123456"]


async def test_a_command_gives_a_new_code_each_time(front, tmp_path):
    front.judge = Device("000001", "000002")
    counter = tmp_path / "n"
    counter.write_text("0")
    command = f"sh -c 'n=$(($(cat {counter})+1)); echo $n >{counter}; printf %06d $n'"
    codes = source(front, mfa_serial=SERIAL, mfa_process=command)
    await codes.fetch()
    await codes.fetch()
    with pytest.raises(CredentialsError, match="invalid MFA one time pass code") as caught:
        await codes.fetch()
    assert caught.value.reason is Reason.ROLE_REFUSED
    assert not caught.value.advice  # the policies are not what is missing


async def test_what_is_no_code_is_not_sent_nor_shown(front):
    for environment, command in (
        (KEYS, "echo hunter2"),
        (KEYS | {MFA_CODE: json.dumps({SERIAL: "hunter2"})}, None),
    ):
        with pytest.raises(CredentialsError, match="is no code of six digits") as caught:
            await source(front, environment, mfa_serial=SERIAL, mfa_process=command).fetch()
        assert "hunter2" not in caught.value.message
    assert not front.requests


# Chains -----------------------------------------------------------------------------------------


@pytest.fixture
def chain(tmp_path):
    """Return an environment whose profile `top` assumes three roles, one with another."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        f"[profile top]\nrole_arn = {ROLE}3\nsource_profile = middle\nmfa_serial = {SERIAL}\n"
        f"[profile middle]\nrole_arn = {ROLE}2\nsource_profile = low\n"
        f"[profile low]\nrole_arn = {ROLE}1\ncredential_source = Environment\n"
    )
    return KEYS | {"HOME": str(tmp_path)}


async def test_a_chain_is_walked_anew_each_time_so_that_nothing_in_it_is_ever_stale(front, chain):
    options = {"profile": "top", "role_arn": None, "mfa_process": "echo 123456"}
    walked = source(front, chain, **options)
    await walked.fetch()
    front.requests.clear()
    await walked.fetch()
    assert [asked["RoleArn"][-5:] for asked in front.requests] == ["data1", "data2", "data3"]
    signers = [asked["authorization"].partition("Credential=")[2].split("/")[0] for asked in front.requests]
    assert signers == ["AKIACALLER", "ASIAFRONT1", "ASIAFRONT2"]
    assert [asked.get("TokenCode") for asked in front.requests] == [None, None, "123456"]


async def test_a_role_of_the_options_is_assumed_with_the_profiles_role(front, chain):
    walked = source(front, chain, profile="middle")
    await walked.fetch()
    assert [asked["RoleArn"][-5:] for asked in front.requests] == ["data1", "data2", "/data"]


def test_more_than_an_hour_is_cut_once_where_a_role_assumes_a_role_at_aws(chain, caplog):
    """IAM User Guide, "Role chaining": at most one hour, whatever the role's maximum is."""
    with caplog.at_level(logging.WARNING):
        cut = source(None, chain, profile="middle", duration_seconds=43200)
    assert cut._request.duration_seconds == 3600
    (record,) = caplog.records
    assert record.getMessage().startswith("duration_seconds=43200 is more than a role gets that another role")
    assert record.getMessage().endswith(f"{ROLE} is asked for 3600 s")


def test_a_users_keys_and_other_services_are_not_cut(front, chain, caplog):
    assert source(None, chain, duration_seconds=43200)._request.duration_seconds == 43200
    other = source(front, chain, profile="middle", duration_seconds=43200)
    assert other._request.duration_seconds == 43200
    assert not caplog.records


async def test_where_only_sts_knows_that_keys_are_a_roles_the_hour_is_learnt_once(front, caplog):
    def judge(request):
        if int(request["DurationSeconds"]) > 3600:
            return 400, "ValidationError", f"The requested DurationSeconds exceeds the {LIMIT}"
        return None

    front.judge = judge
    learning = source(front, duration_seconds=7200)
    await learning.fetch()
    await learning.fetch()
    assert [asked["DurationSeconds"] for asked in front.requests] == ["7200", "3600", "3600"]
    assert len(caplog.records) == 1


async def test_another_limit_is_not_taken_for_chaining(front):
    front.error = (400, "ValidationError", "exceeds the MaxSessionDuration set for this role")
    with pytest.raises(CredentialsError, match="MaxSessionDuration"):
        await source(front, duration_seconds=7200).fetch()
    assert len(front.requests) == 1


# Bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy_arns": ("policy/x",)}, "policy_arns=policy/x is not the ARN of a policy"),
        ({"policy_arns": ("arn:aws:iam::aws:policy/x",) * 11}, "names 11 policies; STS takes 10"),
        ({"session_tags": ("novalue",)}, "session_tags=novalue must be KEY=VALUE"),
        ({"session_tags": ("aws:x=1",)}, "not beginning with aws:"),
        ({"session_tags": ("k=" + "v" * 257,)}, "values of up to 256"),
        ({"session_tags": ("k=1", "K=2")}, "names a key twice"),
        ({"session_tags": tuple(f"k{n}=v" for n in range(51))}, "names 51 tags"),
        (
            {"session_tags": ("a=1",), "transitive_tags": ("b",)},
            "transitive_tags=b is no key of session_tags",
        ),
        ({"source_identity": "a b"}, "source_identity=a b must be"),
        ({"mfa_serial": "short"}, "mfa_serial=short must be the ARN"),
        ({"mfa_process": "echo 1"}, "mfa_process= is of use only together with mfa_serial="),
        ({"role_arn": None, "policy_file": "/p"}, "policy_file=/p is of use only together with role_arn="),
        ({"role_arn": None, "session_tags": ("a=1", "b=2")}, "session_tags=a=1+b=2 is of use only"),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(options, words):
    with pytest.raises(UserError) as caught:
        provider.validate(RoleConfig(**{"role_arn": ROLE, **options}))
    assert words in caught.value.sentence
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist"),
        ("{", "is no JSON"),
        ("[]", "is no policy"),
        ("{}", "is no policy"),
        (json.dumps({"Statement": "x" * 2048}), "has 2064 characters without white space; STS takes 2048"),
    ],
)
def test_a_policy_file_that_cannot_be_used_is_refused(tmp_path, text, words):
    path = tmp_path / "policy.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        source(None, policy_file=str(path))
    assert f"policy_file={path}" in caught.value.sentence
    assert words in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_a_role_of_the_configuration_assumes_another_as_profiles_do(caplog):
    below = RoleConfig(name="base", role_arn=f"{ROLE}1", credential_source="Environment")
    with caplog.at_level(logging.WARNING):
        cut = source(None, name="data", source_role=below, duration_seconds=43200)
    assert cut.describe() == f"data ({ROLE}) assumed with base ({ROLE}1) assumed with the environment"
    assert cut._request.duration_seconds == 3600
    assert [record.levelname for record in caplog.records] == ["WARNING"]
