"""The policies to paste are JSON that names caller and role, whoever the caller is."""

import json
import re

import pytest

from s3rolefs.roles.arns import parse_principal
from s3rolefs.roles.policies import assume_role_advice, caller_named_in

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
