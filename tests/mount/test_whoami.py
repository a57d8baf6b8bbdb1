"""whoami says what STS says to whoever signs with the keys of a mount, for each kind of assumed role."""

import json

import pytest

from tests.bed.mounts import PROGRAM, run
from tests.bed.oidc import Provider, TokenJudge
from tests.bed.radosgw import Keys
from tests.bed.saml import AssertionJudge, SamlProvider
from tests.bed.sessions import RoleSessions
from tests.bed.sts import StrictSts
from tests.mount.test_survival import EVERYTHING

ROLE = "arn:aws:iam::111122223333:role/team/data"
SAML = "arn:aws:iam::111122223333:saml-provider/idp"


@pytest.fixture
def sts(radosgw, visitor, make_role):
    with StrictSts(RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=900)) as sts:
        sts.tells_callers = True
        yield sts


@pytest.fixture
def another_account(sts):
    def judge(form):
        return f"arn:aws:sts::111122223333:assumed-role/data/{form['RoleSessionName']}"

    sts.judges["AssumeRole"] = judge
    return {"role_session_name": "ada"}


@pytest.fixture
def web_identity(sts, tmp_path):
    provider, token = Provider(), tmp_path / "token"
    sts.judges["AssumeRoleWithWebIdentity"] = TokenJudge(provider, role_arn=ROLE)
    token.write_text(provider.token())
    return {"credentials_file": None, "role_session_name": "ada", "web_identity_token_file": token}


@pytest.fixture
def saml(sts, tmp_path):
    with SamlProvider(f"{ROLE},{SAML}") as provider:
        sts.judges["AssumeRoleWithSAML"] = AssertionJudge(provider, provider_arn=SAML)
        assertion = tmp_path / "assertion"
        assertion.touch(mode=0o600)
        assertion.write_text(provider.assertion())
    return {"credentials_file": None, "saml_provider_arn": SAML, "saml_assertion_file": assertion}


@pytest.mark.parametrize("kind", ["another_account", "web_identity", "saml"])
def test_whoami_is_what_sts_says(role_place, bucket, radosgw, sts, request, kind):
    options = {"role_arn": ROLE, "sts_endpoint": sts.url, **request.getfixturevalue(kind)}
    with role_place.mounted(f"s3://{bucket}", **options) as mount:
        sts.requests.clear()
        who = mount.ask("whoami")
        assert [form["Action"] for form in sts.requests] == ["GetCallerIdentity"]
        lent = json.loads(run(PROGRAM, "creds", "--process", mount.path).stdout)
        status = mount.ask("status")["roles"][0]
    keys = Keys(
        access_key=lent["AccessKeyId"], secret_key=lent["SecretAccessKey"], session_token=lent["SessionToken"]
    )
    said = radosgw.client("sts", keys, endpoint_url=sts.url).get_caller_identity()
    assert (who["arn"], who["account"]) == (said["Arn"], said["Account"])
    assert said["Arn"].startswith("arn:aws:sts::111122223333:assumed-role/data/ada")
    assert (who["role"], status["arn"]) == ("data", said["Arn"])
