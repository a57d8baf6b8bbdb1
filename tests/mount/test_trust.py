"""A role that trusts nobody yet: mount and check print the trust policy to paste."""

import json
import re

import pytest

from tests.bed.mounts import PROGRAM, run
from tests.bed.oidc import Provider, TokenJudge
from tests.bed.saml import AssertionJudge, SamlProvider
from tests.bed.sts import RefusedError, StrictSts

ROLE = "arn:aws:iam::111122223333:role/data"
IDP = "arn:aws:iam::111122223333:saml-provider/idp"


def nobody():
    raise AssertionError("no session is given here")


@pytest.fixture
def sts():
    with StrictSts(nobody) as sts:
        yield sts


@pytest.fixture
def by_token(sts, tmp_path):
    oidc = Provider()
    sts.judges["AssumeRoleWithWebIdentity"] = TokenJudge(oidc, role_arn=f"{ROLE}-other")
    path = tmp_path / "token"
    path.write_text(oidc.token())
    return {"role_arn": ROLE, "web_identity_token_file": path}


@pytest.fixture
def by_assertion(sts, tmp_path):
    idp = SamlProvider(f"{ROLE},{IDP}")
    verify = AssertionJudge(idp, provider_arn=IDP)

    def judge(form):
        verify(form)
        raise RefusedError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithSAML", status=403)

    sts.judges["AssumeRoleWithSAML"] = judge
    path = tmp_path / "assertion"
    path.touch(mode=0o600)
    path.write_text(idp.assertion())
    return {"role_arn": ROLE, "saml_provider_arn": IDP, "saml_assertion_file": path}


@pytest.mark.parametrize(
    ("options", "action", "provider", "condition"),
    [
        (
            "by_token",
            "sts:AssumeRoleWithWebIdentity",
            "arn:aws:iam::111122223333:oidc-provider/issuer.example",
            {
                "issuer.example:aud": "sts.amazonaws.com",
                "issuer.example:sub": "system:serviceaccount:default:data",
            },
        ),
        ("by_assertion", "sts:AssumeRoleWithSAML", IDP, {"SAML:aud": "https://signin.aws.amazon.com/saml"}),
    ],
)
def test_mount_and_check_print_the_trust_policy(
    role_place, bucket, sts, request, options, action, provider, condition
):
    more = {**request.getfixturevalue(options), "credentials_file": None, "sts_endpoint": sts.url}
    mount = run(*role_place.command(f"s3://{bucket}", mount_wait=6, **more), check=False)
    check = run(PROGRAM, "check", f"s3://{bucket}", "-o", role_place.options(**more), check=False)
    assert (mount.returncode, check.returncode) == (32, 1)
    assert re.search(r"^FAILS +trust: .*Not authorized to perform", check.stdout, re.M)
    for text in (mount.stderr, check.stdout):
        assert f"Not authorized to perform {action}" in text
        (policy,) = re.findall(r"^\{.*?^\}", text, re.S | re.M)
        assert json.loads(policy)["Statement"] == [
            {
                "Effect": "Allow",
                "Principal": {"Federated": provider},
                "Action": action,
                "Condition": {"StringEquals": condition},
            }
        ]
