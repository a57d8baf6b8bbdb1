"""Roles assumed with SAML assertions, which are really signed and really verified."""

import base64
import time
from datetime import timedelta
from urllib.parse import urlencode

import pytest
import trio

from s3rolefs.clock import SystemClock
from s3rolefs.config import PROOF, RoleConfig
from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import provider
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.place import Place
from s3rolefs.roles.record import State
from s3rolefs.roles.saml import UnreadableAssertionError, assertion_in, roles_in
from tests.bed.radosgw import Keys
from tests.bed.saml import AssertionJudge, SamlProvider, tampered
from tests.bed.sts import StrictSts

ROLE = "arn:aws:iam::111122223333:role/data"
PROVIDER = "arn:aws:iam::111122223333:saml-provider/idp"
SESSION = Keys(access_key="ASIASAML", secret_key="saml-secret", session_token="saml-token")
LATE = timedelta(minutes=5, seconds=1)


@pytest.fixture(scope="module")
def idp():
    # Both orders are in use (IAM User Guide, "Configure SAML assertions").
    return SamlProvider(f"{PROVIDER},{ROLE}-other", f"{ROLE},{PROVIDER}", f"{PROVIDER},{ROLE}-third")


@pytest.fixture
def judge(idp):
    return AssertionJudge(idp, provider_arn=PROVIDER)


@pytest.fixture
def life():
    return {"seconds": 900.0}


@pytest.fixture
def sts(judge, life):
    with StrictSts(lambda: (SESSION, time.time() + life["seconds"])) as sts:
        sts.judges["AssumeRoleWithSAML"] = judge
        yield sts


@pytest.fixture
def file(tmp_path, idp):
    path = tmp_path / "assertion"
    path.touch(mode=0o600)
    path.write_text(idp.assertion())
    return path


def source(sts, environment=None, **options):
    role = RoleConfig(**{"role_arn": ROLE, "saml_provider_arn": PROVIDER, "sts_endpoint": sts.url, **options})
    return provider.build(role, Place(environment=environment or {}, clock=SystemClock())).source


async def refusal(source):
    with trio.fail_after(10), pytest.raises(CredentialsError) as caught:
        await source.fetch()
    assert "\n" not in caught.value.message
    return caught.value


# What is asked ----------------------------------------------------------------------------------


async def test_everything_the_guide_names_reaches_sts_unsigned(sts, file, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text('{"Statement": []}')
    policy_arn = "arn:aws:iam::123456789012:policy/a"
    asking = source(
        sts,
        saml_assertion_file=str(file),
        duration_seconds=3600,
        policy_file=str(policy),
        policy_arns=(policy_arn,),
    )
    snapshot = await asking.fetch()
    assert snapshot.arn == "arn:aws:sts::111122223333:assumed-role/data/ada@example"
    assert "authorization" not in sts.asked[0].headers
    assert sts.requests[0] == {
        "Action": "AssumeRoleWithSAML",
        "Version": "2011-06-15",
        "signer": "",
        "RoleArn": ROLE,
        "PrincipalArn": PROVIDER,
        "SAMLAssertion": file.read_text(),
        "DurationSeconds": "3600",
        "Policy": '{"Statement":[]}',
        "PolicyArns.member.1.arn": policy_arn,
    }


def folded(assertion):
    return "\n".join(assertion[start : start + 76] for start in range(0, len(assertion), 76)) + "\n"


@pytest.mark.parametrize(
    "spell",
    [
        lambda assertion: assertion,
        folded,
        lambda assertion: urlencode({"SAMLResponse": assertion, "RelayState": "https://x/?a=b"}),
        lambda assertion: urlencode({"RelayState": "", "SAMLResponse": folded(assertion)}),
        lambda assertion: f"SAMLResponse={assertion}",
    ],
    ids=["base64", "folded", "form", "folded form", "unescaped form"],
)
async def test_an_assertion_is_taken_in_every_spelling_that_people_save(sts, idp, file, spell):
    file.write_text(spell(idp.assertion()))
    await source(sts, saml_assertion_file=str(file)).fetch()


async def test_a_command_renews_for_ever(sts, idp, judge, running, life):
    life["seconds"] = 3.0
    with idp:
        read = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
        asking = source(sts, saml_assertion_process=f"python3 -c '{read}' {idp.url}")
        async with running(Broker(asking, clock=SystemClock())) as broker:
            with trio.fail_after(30):
                while len(judge.accepted) < 3:
                    assert (await broker.get()).expires_at > time.time()
                    await trio.sleep(0.05)
    assert broker.record.failures == 0


async def test_a_file_serves_one_session_then_a_person_is_needed(sts, idp, file, running, life):
    life["seconds"] = 3.0
    broker = Broker(source(sts, saml_assertion_file=str(file)), clock=SystemClock(), watch_seconds=0.05)
    async with running(broker):
        await broker.get()
        with pytest.raises(CredentialsError, match="has served its session: put a new one there"):
            await broker.refresh()
        assert broker.state is State.NEEDS_USER
        with trio.fail_after(10):
            while broker.peek() is not None:  # noqa: ASYNC110 - the broker has no event for tests
                await trio.sleep(0.05)
        assert broker.state is State.NEEDS_USER
        assert len(sts.requests) == 1
        life["seconds"] = 900.0
        file.write_text(idp.assertion())
        with trio.fail_after(10):
            while broker.peek() is None:  # noqa: ASYNC110 - as above
                await trio.sleep(0.05)
    assert len(sts.requests) == 2


async def test_an_assertion_from_a_descriptor_serves_one_session(sts, idp):
    asking = source(sts, {PROOF: idp.assertion()}, saml_assertion_file="/dev/fd/63")
    await asking.fetch()
    assert "has served its session" in (await refusal(asking)).message


# Refusals ---------------------------------------------------------------------------------------


async def test_an_assertion_older_than_five_minutes_is_refused_in_the_words_of_sts(sts, idp, file):
    file.write_text(idp.assertion(age=LATE))
    asking = source(sts, saml_assertion_file=str(file))
    for _ in range(3):
        error = await refusal(asking)
        assert error.reason is Reason.SESSION_EXPIRED
        assert "Token must be redeemed within 5 minutes of issuance (ExpiredTokenException)" in error.message
    assert len(sts.requests) == 1
    file.write_text(idp.assertion())
    await asking.fetch()


async def test_a_command_that_prints_an_old_assertion_is_run_once_more(sts, idp, tmp_path):
    queue = tmp_path / "queue"
    queue.write_text(f"{idp.assertion(age=LATE)}\n{idp.assertion()}\n")
    command = f"sh -c 'head -n 1 {queue}; sed -i 1d {queue}'"
    await source(sts, saml_assertion_process=command).fetch()
    assert len(sts.requests) == 2


async def test_a_tampered_assertion_and_a_wrong_audience_are_refused_in_the_words_of_sts(sts, idp, file):
    for text, words in (
        (tampered(idp.assertion()), "Response signature invalid"),
        (idp.assertion(audience="https://other.example"), "Audience is invalid"),
    ):
        file.write_text(text)
        error = await refusal(source(sts, saml_assertion_file=str(file)))
        assert error.reason is Reason.ROLE_REFUSED
        assert words in error.message


@pytest.mark.parametrize(
    "options",
    [{"role_arn": f"{ROLE}-absent"}, {"saml_provider_arn": f"{PROVIDER}-absent"}],
    ids=["role", "provider"],
)
async def test_a_pair_that_is_not_offered_is_told_with_what_is(sts, file, options):
    error = await refusal(source(sts, saml_assertion_file=str(file), **options))
    assert error.reason is Reason.ROLE_REFUSED
    assert f"it offers {PROVIDER} with {ROLE}-other; {ROLE} with {PROVIDER}; " in error.message
    assert not sts.requests


async def test_an_assertion_that_offers_nothing_is_told(sts, file):
    file.write_text(SamlProvider().assertion())
    error = await refusal(source(sts, saml_assertion_file=str(file)))
    assert "it offers no role at all" in error.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html>Log in</html>", "a login page, perhaps"),
        ("SAMLResponse=%3Chtml%3E", "a login page, perhaps"),
        ("QUJD", "no well-formed XML"),
        (base64.b64encode(b"<!DOCTYPE a []><a/>").decode(), "document type"),
        ("A" * 100_004, "longer than 100000"),
    ],
    ids=["page", "page in a form", "no XML", "document type", "too long"],
)
async def test_what_is_no_assertion_is_never_sent(sts, file, text, words):
    file.write_text(text)
    error = await refusal(source(sts, saml_assertion_file=str(file)))
    assert error.reason is Reason.SESSION_MISSING
    assert words in error.message
    assert f"saml_assertion_file={file}" in error.message
    assert not sts.requests


def test_an_encrypted_assertion_is_left_to_aws():
    """IAM supports them (IAM User Guide, "Manage SAML encryption keys")."""
    xml = '<r xmlns:a="urn:oasis:names:tc:SAML:2.0:assertion"><a:EncryptedAssertion/></r>'
    assert roles_in(base64.b64encode(xml.encode()).decode()) is None


def test_what_cannot_be_read_is_not_quoted():
    with pytest.raises(UnreadableAssertionError) as caught:
        assertion_in("hidden words!")
    assert "hidden" not in str(caught.value)


async def test_an_assertion_that_others_can_read_is_refused(sts, file):
    file.chmod(0o644)
    error = await refusal(source(sts, saml_assertion_file=str(file)))
    assert f"run: chmod 600 {file}" in error.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"role_arn": None}, "saml_assertion_file= needs the role to assume with it"),
        (
            {"saml_provider_arn": None},
            "needs the provider whose assertions they are: give saml_prov",
        ),
        ({"saml_assertion_file": None}, "saml_provider_arn= needs an assertion"),
        ({"saml_assertion_process": "p"}, "both name a source"),
        ({"profile": "a"}, "both name a source"),
        ({"role_session_name": "me"}, "role_session_name= cannot be used with saml_assertion_file="),
        ({"external_id": "ext"}, "external_id= cannot be used with"),
        ({"provider_id": "x"}, "provider_id= is of use only"),
        ({"saml_provider_arn": "idp"}, "saml_provider_arn=idp is not the ARN of a provider"),
    ],
)
def test_contradictions_are_refused_in_one_sentence(options, words):
    given = {"role_arn": ROLE, "saml_provider_arn": PROVIDER, "saml_assertion_file": "/a"}
    with pytest.raises(UserError, match=words) as caught:
        provider.validate(RoleConfig(**{**given, **options}))
    assert "\n" not in caught.value.sentence
