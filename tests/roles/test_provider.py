"""What is configured becomes the one right source; what contradicts itself is refused."""

import pytest

from s3rolefs.clock import SystemClock
from s3rolefs.config import RoleConfig
from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import arguments, place, provider
from s3rolefs.roles.place import Place

ROLE = "arn:aws:iam::111122223333:role/data"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}


@pytest.fixture
def home(tmp_path):
    """Return an environment whose configuration files a test may write."""
    (tmp_path / ".aws").mkdir()
    return {"HOME": str(tmp_path)}


@pytest.fixture
def config_file(tmp_path, home):
    return tmp_path / ".aws" / "config"


@pytest.fixture
def credentials_file(tmp_path, home):
    return tmp_path / ".aws" / "credentials"


def build(role, environment, **more):
    return provider.build(role, Place(environment=environment, clock=SystemClock(), **more))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "a", "credentials_file": "/f"}, "credentials_file=/f and profile=a both name a source"),
        ({"profile": "a", "credential_source": "Environment"}, "both name a source"),
        ({"profile": "a", "source_profile": "b", "role_arn": ROLE}, "both name a source"),
        ({"source_profile": "b"}, "source_profile=b is of use only together with role_arn="),
        ({"external_id": "x"}, "external_id=x is of use only"),
        ({"role_session_name": "me"}, "of use only"),
        ({"duration_seconds": 900}, "duration_seconds=900 is of use only"),
        ({"role_arn": ROLE, "external_id": "xy", "external_id_file": "/f"}, "keep one of them"),
        ({"role_arn": "data"}, "role_arn=data is not the ARN of a role"),
        ({"role_arn": ROLE, "role_session_name": "a b"}, "role_session_name=a b must be"),
        ({"role_arn": ROLE, "external_id": "a b"}, "external_id=a b must be"),
        ({"role_arn": ROLE, "duration_seconds": 46800}, "duration_seconds=46800 must be"),
        ({"credential_source": "Environment", "imdsv1": True}, "imdsv1 is of use only"),
        (
            {"role_arn": ROLE, "duration_seconds": 60, "sts_endpoint": "https://sts.eu-west-1.amazonaws.com"},
            "duration_seconds=60 must be 900",
        ),
    ],
)
def test_contradictions_and_wrong_values_are_refused_in_one_sentence(options, words):
    with pytest.raises(UserError, match=words) as caught:
        provider.validate(RoleConfig(**options))
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({}, "the environment"),
        ({"credential_source": "Environment"}, "the environment"),
        ({"profile": "a"}, "profile a"),
        ({"credentials_file": "/run/triple"}, "credentials_file=/run/triple"),
        ({"role_arn": ROLE}, f"{ROLE} assumed with the environment"),
        ({"role_arn": ROLE, "source_profile": "a"}, f"{ROLE} assumed with profile a"),
        ({"role_arn": ROLE, "profile": "a"}, f"{ROLE} assumed with profile a"),
        ({"role_arn": ROLE, "credentials_file": "/f"}, f"{ROLE} assumed with credentials_file=/f"),
    ],
)
def test_the_source_that_is_named_is_taken_else_the_environment(home, options, source):
    provider.validate(RoleConfig(**options))
    assert build(RoleConfig(**options), home | KEYS).source.describe() == source


@pytest.mark.parametrize(("variables", "source"), [({}, "default"), ({"AWS_PROFILE": "work"}, "work")])
def test_without_keys_in_the_environment_the_default_profile_is_taken(
    home, credentials_file, variables, source
):
    credentials_file.write_text("[default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key=d\n")
    assert build(RoleConfig(), home | variables).source.describe() == f"profile {source}"


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_EC2_METADATA_DISABLED": "true"},
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"},  # nobody listens there
    ],
)
async def test_nothing_at_all_is_told_at_once(home, running, variables):
    async with running(build(RoleConfig(), home | variables)) as broker:
        with pytest.raises(CredentialsError, match="No credentials were found: name a source") as caught:
            await broker.get()
    assert caught.value.reason is Reason.SESSION_MISSING


def test_a_role_in_a_profile_is_assumed_with_its_source_and_settings(home, config_file, credentials_file):
    credentials_file.write_text("[base]\naws_access_key_id=AKIABASE\naws_secret_access_key=b\n")
    config_file.write_text(
        f"[profile hop]\nrole_arn = {ROLE}2\nsource_profile = base\n"
        f"[profile work]\nrole_arn = {ROLE}\nsource_profile = hop\nexternal_id = ext\n"
        "role_session_name = me\nduration_seconds = 1800\n"
    )
    broker = build(RoleConfig(profile="work"), home)
    assert broker.source.describe() == f"{ROLE} assumed with {ROLE}2 assumed with profile base"


async def test_settings_of_a_profile_reach_sts(home, config_file, credentials_file, front, running):
    credentials_file.write_text("[work]\naws_access_key_id=AKIASELF\naws_secret_access_key=b\n")
    config_file.write_text(
        f"[profile work]\nrole_arn = {ROLE}\nsource_profile = work\nexternal_id = ext\n"
        f"role_session_name = me\nduration_seconds = 5\nendpoint_url = {front.url}\nregion = eu-west-3\n"
    )
    async with running(build(RoleConfig(profile="work"), home)) as broker:
        await broker.get()
    asked = front.requests[0]
    assert (asked["RoleSessionName"], asked["ExternalId"], asked["DurationSeconds"]) == ("me", "ext", "5")
    assert "Credential=AKIASELF/" in asked["authorization"]
    assert "/eu-west-3/sts/" in asked["authorization"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "source_profile = b\n[profile b]\nrole_arn = {role}\nsource_profile = a",
            "a → b → a name",
        ),
        ("web_identity_token_file = /t\nsource_profile = b", "both web_identity_token_file and source_pr"),
        ("credential_source = Nowhere", "no source to assume it with"),
        ("source_profile = b\nduration_seconds = 1h", "duration_seconds=1h in the profile a"),
    ],
)
def test_a_profile_that_cannot_work_is_refused(home, config_file, text, words):
    config_file.write_text(f"[profile a]\nrole_arn = {ROLE}\n{text.format(role=ROLE)}\n")
    with pytest.raises(UserError, match=words):
        build(RoleConfig(profile="a"), home)


def test_an_external_id_from_a_file_is_read_and_its_permissions_checked(home, tmp_path):
    path = tmp_path / "external-id"
    role = RoleConfig(role_arn=ROLE, external_id_file=str(path))
    with pytest.raises(UserError, match=f"external_id_file={path} does not exist"):
        build(role, home)
    path.write_text("ext-1\n")
    path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        build(role, home)
    path.chmod(0o600)
    build(role, home)


# Which STS is asked ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "variables", "s3", "expected"),
    [
        (None, {}, None, None),
        (None, {}, "https://s3.eu-west-1.amazonaws.com", None),
        (None, {}, "https://bucket.vpce-1a2b.s3.eu-west-1.vpce.amazonaws.com", None),
        (None, {}, "http://127.0.0.1:7480", "http://127.0.0.1:7480"),
        (None, {"AWS_ENDPOINT_URL_S3": "https://rgw.example"}, None, "https://rgw.example"),
        (None, {"AWS_ENDPOINT_URL": "https://all.example"}, "https://rgw.example", "https://all.example"),
        (None, {"AWS_ENDPOINT_URL_STS": "https://sts.example"}, "https://rgw.example", "https://sts.example"),
        ("https://mine", {"AWS_ENDPOINT_URL_STS": "https://sts.example"}, None, "https://mine"),
        (None, {}, "https://amazonaws.com.example", "https://amazonaws.com.example"),
        (None, {}, "https://notamazonaws.com", "https://notamazonaws.com"),
    ],
)
def test_the_sts_that_is_asked(home, option, variables, s3, expected):
    role = RoleConfig(role_arn=ROLE, sts_endpoint=option)
    service = Place(
        environment=home | variables, clock=SystemClock(), endpoint_url=s3, region="eu-west-1"
    ).token_service(role)
    assert service.endpoint_url == expected


@pytest.mark.parametrize(
    ("region", "variables", "arn", "expected"),
    [
        ("eu-west-1", {"AWS_REGION": "x"}, ROLE, "STS in eu-west-1"),
        (None, {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "x"}, ROLE, "STS in eu-west-2"),
        (None, {"AWS_DEFAULT_REGION": "eu-west-3"}, ROLE, "STS in eu-west-3"),
        (None, {}, ROLE, "STS in us-east-1"),
        (None, {}, ROLE.replace("aws", "aws-cn"), "STS in cn-north-1"),
    ],
)
def test_the_region_that_is_signed_for(home, region, variables, arn, expected):
    service = Place(environment=home | variables, clock=SystemClock(), region=region).token_service(
        RoleConfig(role_arn=arn)
    )
    assert service.name == expected


def test_less_than_900_seconds_is_an_error_at_aws_only(home):
    role = RoleConfig(role_arn=ROLE, duration_seconds=10)
    build(role, home, endpoint_url="http://127.0.0.1:7480")
    with pytest.raises(UserError, match="duration_seconds=10 must be 900"):
        build(role, home)


def test_a_default_session_name_is_one_that_sts_takes(home):
    arguments.check_session_name(place._default_session_name())
