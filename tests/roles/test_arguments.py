"""Each wrong value is refused with one sentence that names option, value and remedy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.errors import UserError
from s3rolefs.roles import arguments

NAMES = st.text("abcXYZ019_+=,.@-", min_size=2, max_size=64)


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "data",
        "arn:aws:iam::111122223333:user/ada",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::11112222333:role/data",
        "arn:aws:iam:::role/data",
        "arn:aws:sts::111122223333:assumed-role/data/x",
        "arn:aws:iam::111122223333:role/da ta",
        f"arn:aws:iam::111122223333:role/{'x' * 65}",
    ],
)
def test_a_wrong_role_arn_is_refused(arn):
    with pytest.raises(UserError, match="must look like arn:aws:iam::111122223333:role/NAME"):
        arguments.check_role_arn(arn, is_aws=True)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_roles_of_every_partition_and_path_pass(partition):
    arguments.check_role_arn(f"arn:{partition}:iam::111122223333:role/a/b/data", is_aws=True)


@pytest.mark.parametrize("arn", ["arn:aws:iam:::role/data", "arn:aws:iam::tenant:role/data"])
def test_other_services_have_roles_without_account_numbers(arn):
    arguments.check_role_arn(arn, is_aws=False)
    with pytest.raises(UserError):
        arguments.check_role_arn(arn, is_aws=True)


@given(NAMES)
def test_session_names_and_external_ids_of_the_documented_characters_pass(name):
    arguments.check_session_name(name)
    arguments.check_external_id(name.replace(",", ":/"), option="external_id")


@pytest.mark.parametrize("name", ["", "a", "a b", "ä" * 5, "x" * 65, "a/b"])
def test_a_wrong_session_name_is_refused(name):
    with pytest.raises(UserError, match=r"role_session_name=.* must be 2 to 64"):
        arguments.check_session_name(name)


@pytest.mark.parametrize("value", ["", "a", "a b", "x" * 1225, "a;b"])
def test_a_wrong_external_id_is_refused_and_one_from_a_file_not_shown(value):
    with pytest.raises(UserError, match="must be 2 to 1224"):
        arguments.check_external_id(value, option="external_id")
    with pytest.raises(UserError) as caught:
        arguments.check_external_id("hidden value", option="external_id_file")
    assert "hidden" not in caught.value.sentence


@pytest.mark.parametrize(
    ("seconds", "is_aws"), [(60, True), (899, True), (43201, True), (0, False), (46800, False)]
)
def test_a_duration_that_sts_does_not_give_is_refused(seconds, is_aws):
    with pytest.raises(UserError, match=f"duration_seconds={seconds} must be"):
        arguments.check_duration(seconds, is_aws=is_aws)


@pytest.mark.parametrize(("seconds", "is_aws"), [(900, True), (43200, True), (3, False)])
def test_a_duration_that_sts_gives_passes(seconds, is_aws):
    arguments.check_duration(seconds, is_aws=is_aws)
