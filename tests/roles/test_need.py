"""What only a person can give: noticed, asked for innermost first, taken, and used for the next session."""

import itertools
import json
import time

import pytest

from s3rolefs.clock import SystemClock
from s3rolefs.config import MFA_CODE, PROOF, RoleConfig
from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import provider
from s3rolefs.roles.assumed import AssumedRole
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.mfa import MfaCodes
from s3rolefs.roles.need import Given, Kind
from s3rolefs.roles.place import Place
from s3rolefs.roles.record import State
from tests.bed.oidc import Provider, TokenJudge
from tests.bed.radosgw import Keys
from tests.bed.saml import AssertionJudge, SamlProvider
from tests.bed.sts import RefusedError, StrictSts

ROLE = "arn:aws:iam::111122223333:role/data"
IDP = "arn:aws:iam::111122223333:saml-provider/idp"
SERIAL = "arn:aws:iam::111122223333:mfa/ada"


@pytest.fixture
def sts():
    numbers = itertools.count(1)

    def session():
        keys = Keys(access_key=f"ASIA{next(numbers)}", secret_key="next-secret", session_token="next-token")
        return keys, time.time() + 900

    with StrictSts(session) as sts:
        yield sts


@pytest.fixture
def idp():
    return SamlProvider(f"{ROLE},{IDP}")


@pytest.fixture
def make(sts):
    def make(environment, **options):
        role = RoleConfig(role_arn=ROLE, sts_endpoint=sts.url, **options)
        return provider.build(role, Place(environment=environment, clock=SystemClock()))

    return make


@pytest.fixture
def by_device(sts, make, tmp_path):
    """A role that takes each code once, with the code for the first session."""
    used = set()

    def judge(form):
        if form["TokenCode"] in used or not form["TokenCode"].startswith("1"):
            said = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
            raise RefusedError("AccessDenied", said, status=403)
        used.add(form["TokenCode"])
        return "arn:aws:sts::111122223333:assumed-role/data/x"

    sts.judges["AssumeRole"] = judge
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}
    return make(
        {**keys, MFA_CODE: json.dumps({SERIAL: "111111"})}, mfa_serial=SERIAL, credential_source="Environment"
    )


@pytest.fixture
def by_assertion(sts, make, idp):
    sts.judges["AssumeRoleWithSAML"] = AssertionJudge(idp, provider_arn=IDP)
    return make({PROOF: idp.assertion()}, saml_provider_arn=IDP, saml_assertion_file="/dev/stdin")


async def missed(broker):
    """Renew in vain, as the schedule would, and return what is needed then."""
    with pytest.raises(CredentialsError):
        await broker.refresh()
    assert (broker.state, broker.peek() is not None) == (State.NEEDS_USER, True)
    return broker.need


async def test_each_code_serves_one_session(by_device, running, caplog):
    broker = by_device
    async with running(broker):
        await broker.get()
        assert (broker.need, broker.state) == (None, State.FRESH)
        need = await missed(broker)
        assert (need.kind, need.prompt) == (Kind.MFA_CODE, f"Code of {SERIAL}")
        assert broker.describe()["needs"] == f"Code of {SERIAL}"
        assert caplog.text.count("is needed: run `s3rolefs login` on the mounted directory") == 1
        with pytest.raises(CredentialsError, match=r"What was typed for .* is no code of six digits"):
            await broker.give(need, "12345")
        with pytest.raises(CredentialsError, match="invalid MFA one time pass code"):
            await broker.give(need, "111111")
        assert (broker.state, broker.need, broker.generation) == (State.NEEDS_USER, need, 1)
        assert (await broker.give(need, "122222")).generation == 2
        assert (broker.state, broker.need) == (State.FRESH, None)
    assert "122222" not in caplog.text


async def test_a_fresh_assertion_serves_once(by_assertion, running, idp):
    broker = by_assertion
    async with running(broker):
        await broker.get()
        need = await missed(broker)
        assert need.kind is Kind.SAML_ASSERTION
        with pytest.raises(CredentialsError, match="What was given is no SAML response"):
            await broker.give(need, "<html>")
        other = SamlProvider(f"{ROLE}-other,{IDP}").assertion()
        with pytest.raises(CredentialsError, match=r"it offers .*-other"):
            await broker.give(need, other)
        tampered = idp.assertion()[:-400] + "A" * 400
        with pytest.raises(CredentialsError):
            await broker.give(need, tampered)
        assert (broker.state, broker.generation) == (State.NEEDS_USER, 1)
        assert (await broker.give(need, idp.assertion())).generation == 2
        with pytest.raises(CredentialsError, match="has served its session"):
            await broker.refresh()
        assert broker.need is need


async def test_a_token_serves_until_it_is_refused(sts, make, running):
    oidc = Provider()
    judge = TokenJudge(oidc, role_arn=ROLE)
    sts.judges["AssumeRoleWithWebIdentity"] = judge
    broker = make({PROOF: oidc.token()}, web_identity_token_file="/dev/stdin")
    async with running(broker):
        await broker.get()
        judge.troubles.append(RefusedError("ExpiredTokenException", "Token expired"))
        need = await missed(broker)
        assert need.kind is Kind.WEB_IDENTITY_TOKEN
        with pytest.raises(CredentialsError, match="What was given is no web identity token"):
            await broker.give(need, "two\nlines")
        await broker.give(need, oidc.token())
        assert (await broker.refresh()).generation == 3
        judge.troubles.append(RefusedError("AccessDenied", "Not authorized", status=403))
        with pytest.raises(CredentialsError, match="Not authorized"):
            await broker.refresh()
        assert broker.need is need


async def test_an_outage_is_nobodys_fault_and_loses_nothing(by_device, sts, running):
    broker = by_device
    async with running(broker):
        await broker.get()
        need = await missed(broker)
        judge = sts.judges["AssumeRole"]

        def busy(form):
            sts.judges["AssumeRole"] = judge
            raise RefusedError("Throttling", "Rate exceeded")

        sts.judges["AssumeRole"] = busy
        with pytest.raises(CredentialsError) as caught:
            await broker.give(need, "133333")
        assert caught.value.reason is Reason.UNREACHABLE
        assert broker.state is State.VALID_BUT_STALE
        assert (await broker.refresh()).generation == 2


def test_what_the_source_below_needs_comes_first(source):
    source.wanted = [Given(Kind.SSO, "SSO login of the profile work", check=str)]
    codes = MfaCodes(SERIAL, typed=None, command=None)
    chain = AssumedRole(source, None, None, codes=codes)
    assert [need.kind for need in chain.needs()] == [Kind.SSO, Kind.MFA_CODE]
    by_command = AssumedRole(source, None, None, codes=MfaCodes(SERIAL, typed=None, command="print"))
    assert [need.kind for need in by_command.needs()] == [Kind.SSO]


async def test_a_refusal_that_nobody_can_lift_by_giving_is_no_need(clock, source, running, refused):
    source.wanted = [Given(Kind.SAML_ASSERTION, "SAML assertion", check=str)]
    source.trouble = refused
    async with running(Broker(source, clock=clock)) as broker:
        with pytest.raises(CredentialsError):
            await broker.get()
        assert (broker.state, broker.need) == (State.DENIED, None)
