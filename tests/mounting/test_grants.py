"""The policy that is printed allows what was denied, below the prefix, and nothing else."""

import pytest

from s3rolefs.config import RoleConfig, StoreConfig
from s3rolefs.mounting.grants import lasting_principal, policy_for


def test_below_a_prefix():
    store = StoreConfig(bucket="data", prefix="team/")
    assert policy_for(["list", "get"], store, "arn:aws-cn:iam::111122223333:role/r")["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws-cn:s3:::data",
            "Condition": {"StringLike": {"s3:prefix": "team/*"}},
        },
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws-cn:s3:::data/team/*"},
    ]


def test_the_whole_bucket_for_somebody_unknown():
    assert policy_for(["list"], StoreConfig(bucket="data"), None)["Statement"] == [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::data"}
    ]


def test_what_means_something_in_policies_is_taken_literally():
    (statement,) = policy_for(["delete"], StoreConfig(bucket="data", prefix="a*b?c$/"), None)["Statement"]
    assert statement["Resource"] == "arn:aws:s3:::data/a${*}b${?}c${$}/*"


@pytest.mark.parametrize(
    ("role_arn", "arn", "lasting"),
    [
        (
            "arn:aws:iam::111122223333:role/path/data",
            "arn:aws:sts::111122223333:assumed-role/data/session",
            "arn:aws:iam::111122223333:role/path/data",
        ),
        (
            None,
            "arn:aws:sts::111122223333:assumed-role/data/session",
            "arn:aws:iam::111122223333:role/data",
        ),
        (None, "arn:aws:iam::111122223333:user/u", "arn:aws:iam::111122223333:user/u"),
        (None, None, None),
    ],
)
def test_who_is_named_in_policies(role_arn, arn, lasting):
    assert lasting_principal(RoleConfig(role_arn=role_arn), arn) == lasting
