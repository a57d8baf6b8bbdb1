"""The policies to paste are JSON that names caller and role, whoever the caller is."""

import json
import re

import pytest

from s3rolefs.roles.arns import parse_principal
from s3rolefs.roles.policies import (
    assume_role_advice,
    caller_named_in,
    saml_advice,
    web_identity_advice,
)
from tests.bed.oidc import Provider

ROLE = "arn:aws:iam::111122223333:role/data"


def documents(text):
    return [json.loads(found) for found in re.findall(r"^\{.*?^\}", text, re.S | re.M)]


def test_the_identity_policy_allows_the_role_and_the_trust_policy_the_caller():
    caller = "arn:aws:iam::444455556666:user/ada"
    identity, trust = documents(assume_role_advice(role_arn=ROLE, caller_arn=caller, external_id=None))
    assert identity["Statement"] == [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": ROLE}]
    assert trust["Statement"] == [
        {"Effect": "Allow", "Principal": {"AWS": caller}, "Action": "sts:AssumeRole"}
    ]


def test_a_session_is_trusted_by_its_role_so_that_the_policy_outlives_it():
    caller = "arn:aws:sts::444455556666:assumed-role/ci/run-17"
    _, trust = documents(assume_role_advice(role_arn=ROLE, caller_arn=caller, external_id="x"))
    assert trust["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::444455556666:role/ci"}
    assert trust["Statement"][0]["Condition"] == {"StringEquals": {"sts:ExternalId": "x"}}


def test_an_unknown_caller_leaves_a_gap_to_fill_in():
    text = assume_role_advice(role_arn=ROLE, caller_arn=None, external_id=None)
    assert "arn:aws:iam::ACCOUNT:user/NAME" in text
    assert len(documents(text)) == 2


def test_the_caller_is_read_off_the_sentence():
    sentence = "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: sts:AssumeRole on x"
    assert caller_named_in(sentence) == "arn:aws:sts::1:assumed-role/a/b"
    assert caller_named_in("Access denied") is None


@pytest.mark.parametrize(
    ("arn", "account", "kind", "role", "session"),
    [
        ("arn:aws:sts::111122223333:assumed-role/data/me@x", "111122223333", "assumed-role", "data", "me@x"),
        ("arn:aws:iam::111122223333:user/a/b", "111122223333", "user", None, None),
        ("arn:aws:iam::111122223333:root", "111122223333", "root", None, None),
        ("arn:aws-cn:sts::111122223333:federated-user/f", "111122223333", "federated-user", None, None),
        ("arn:aws:sts:::assumed-role/data/me", "", "assumed-role", "data", "me"),
    ],
)
def test_an_arn_is_taken_apart(arn, account, kind, role, session):
    principal = parse_principal(arn)
    assert (principal.account, principal.kind, principal.role, principal.session) == (
        account,
        kind,
        role,
        session,
    )


@pytest.mark.parametrize("text", ["", "me", "arn:aws:s3:::bucket", "arn:aws:iam::1:user/a b"])
def test_what_is_no_principal_is_refused(text):
    with pytest.raises(ValueError, match="is not the ARN"):
        parse_principal(text)


@pytest.mark.parametrize(
    ("claims", "audience"),
    [
        ({"iss": "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC/"}, "sts.amazonaws.com"),
        ({"iss": "https://issuer.example", "azp": "client"}, "client"),
        ({"iss": "https://issuer.example", "aud": ["a", "b"]}, ["a", "b"]),
    ],
)
def test_a_web_identity_is_trusted_by_issuer_audience_and_subject(claims, audience):
    (trust,) = documents(web_identity_advice(role_arn=ROLE, token=Provider().token(**claims)))
    name = claims["iss"].removeprefix("https://").rstrip("/")
    assert trust["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::111122223333:oidc-provider/{name}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    f"{name}:aud": audience,
                    f"{name}:sub": "system:serviceaccount:default:data",
                }
            },
        }
    ]


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.W10.c", "a.e30.c"])
def test_a_token_that_tells_nobody_gets_no_policy(token):
    assert web_identity_advice(role_arn=ROLE, token=token) == ""


@pytest.mark.parametrize(
    ("partition", "audience"),
    [("aws", "https://signin.aws.amazon.com/saml"), ("aws-cn", "https://signin.amazonaws.cn/saml")],
)
def test_a_saml_provider_is_trusted_for_its_audience(partition, audience):
    provider = f"arn:{partition}:iam::111122223333:saml-provider/idp"
    (trust,) = documents(saml_advice(role_arn=ROLE, provider_arn=provider))
    assert trust["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithSAML",
            "Condition": {"StringEquals": {"SAML:aud": audience}},
        }
    ]
