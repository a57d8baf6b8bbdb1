"""The role of an EC2 instance, from a metadata service as strict as AWS's, and from worse ones."""

import json
import socket
import time

import pytest
import trio

from s3rolefs.clock import SystemClock
from s3rolefs.config import RoleConfig
from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import direct, instance, provider
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.instance import InstanceSource, instance_endpoint
from s3rolefs.roles.place import Place
from tests.bed.clock import ManualClock
from tests.bed.instance import LIST, TOKEN_LIFE, InstanceMetadata
from tests.bed.loopback import Said
from tests.bed.radosgw import Keys

LIFE_SECONDS = 6 * 3600


class Numbered:
    """Hand out numbered sessions that end after `life_seconds`; `number` stays when the key does."""

    def __init__(self):
        self.number = 0
        self.step = 1
        self.life_seconds = LIFE_SECONDS

    def __call__(self):
        self.number += self.step
        keys = Keys(access_key=f"ASIA{self.number}", secret_key="imds-secret", session_token="imds-token")
        return keys, time.time() + self.life_seconds


@pytest.fixture
def sessions():
    return Numbered()


@pytest.fixture
def service(sessions):
    with InstanceMetadata(sessions) as service:
        yield service


def source(service, clock=None, **more):
    return InstanceSource(service.url, clock=clock or SystemClock(), **more)


async def refusal(source):
    with trio.fail_after(10), pytest.raises(CredentialsError) as caught:
        await source.fetch()
    assert "\n" not in caught.value.message
    assert "imds-secret" not in caught.value.message + repr(caught.value)
    return caught.value


async def test_the_session_comes_with_its_true_expiry(service):
    snapshot = await source(service).fetch()
    assert (snapshot.access_key_id, snapshot.session_token) == ("ASIA1", "imds-token")
    assert snapshot.expires_at == pytest.approx(time.time() + LIFE_SECONDS, abs=2)
    assert snapshot.obtained_at == 0


async def test_one_token_serves_for_its_life_and_is_asked_for_by_put(service):
    clock = ManualClock()
    asking = source(service, clock)
    for _ in range(3):
        await asking.fetch()
    assert (service.count("PUT"), service.count("GET")) == (1, 6)
    assert service.asked[0].headers[TOKEN_LIFE] == "21600"
    clock.advance(21600 - 59)
    await asking.fetch()
    assert service.count("PUT") == 2


async def test_a_token_that_lives_shorter_is_replaced_in_time(service):
    service.longest_token_seconds = 30.0
    clock = ManualClock()
    asking = source(service, clock)
    await asking.fetch()
    clock.advance(14)
    await asking.fetch()
    assert service.count("PUT") == 1
    clock.advance(2)
    await asking.fetch()
    assert service.count("PUT") == 2


async def test_a_service_that_forgot_its_tokens_gives_a_new_one(service):
    asking = source(service)
    await asking.fetch()
    service.forget_tokens()
    assert (await asking.fetch()).access_key_id == "ASIA2"
    assert service.count("PUT") == 2


async def test_no_proxy_is_asked(service, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.1)
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, url)
        await source(service).fetch()
        with pytest.raises(TimeoutError):
            proxy.accept()


# IMDSv1 and the hop limit -----------------------------------------------------------------------


async def test_without_tokens_it_is_refused_not_silently_asked(service):
    service.is_v1 = True
    error = await refusal(source(service))
    assert error.reason is Reason.ROLE_REFUSED
    assert "the option imdsv1 lets it do without" in error.message
    assert service.count("GET") == 0


async def test_imdsv1_asks_without_a_token_where_there_is_none(service):
    service.is_v1 = True
    assert (await source(service, allow_v1=True).fetch()).access_key_id == "ASIA1"


async def test_imdsv1_still_uses_a_token_where_there_is_one(service):
    await source(service, allow_v1=True).fetch()
    assert service.count("PUT") == 1


@pytest.mark.parametrize("allow_v1", [False, True])
async def test_a_token_that_does_not_arrive_names_the_hop_limit(service, monkeypatch, allow_v1):
    """A response of more hops than HttpPutResponseHopLimit is dropped (EC2 User Guide, as above)."""
    monkeypatch.setattr(direct, "_READ_SECONDS", 0.2)
    service.swallows_tokens = True
    error = await refusal(source(service, allow_v1=allow_v1))
    assert error.reason is Reason.UNREACHABLE
    if allow_v1:
        assert "demands a token" in error.message
    else:
        assert "--http-put-response-hop-limit 2" in error.message
        assert service.count("GET") == 0


# What else a service may answer -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (Said(status=503), Reason.UNREACHABLE, "status 503"),
        (Said(status=429), Reason.UNREACHABLE, "status 429"),
        (Said(status=302, headers={"Location": "http://127.0.0.1:1/"}), Reason.UNREACHABLE, "status 302"),
        (Said(status=403), Reason.ROLE_REFUSED, "HttpEndpoint"),
        (Said(text="<html>Welcome</html>"), Reason.UNREACHABLE, "it lists no role"),
        (Said(text=""), Reason.UNREACHABLE, "it lists no role"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Said) else "",
)
async def test_a_service_in_trouble_is_named_with_what_it_said(service, said, reason, words):
    service.troubles = iter([said])
    asking = source(service)
    error = await refusal(asking)
    assert error.reason is reason
    assert words in error.message
    assert service.url in error.message
    await asking.fetch()


class OddSession(InstanceMetadata):
    text = ""

    def answer(self, asked):
        if asked.path.startswith(LIST) and asked.path != LIST:
            return Said(text=self.text)
        return super().answer(asked)


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ('{"Code": "Success", "SecretAccessKey": "imds-secret', Reason.UNREACHABLE, "no JSON object"),
        ('["imds-secret"]', Reason.UNREACHABLE, "no JSON object"),
        ('{"Code": "Success", "SecretAccessKey": "imds-secret"}', Reason.UNREACHABLE, "no access key id"),
        (
            json.dumps({"Code": "Success", "AccessKeyId": "ASIA", "SecretAccessKey": "imds-secret"}),
            Reason.UNREACHABLE,
            "without its session token",
        ),
        (
            '{"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role data."}',
            Reason.ROLE_REFUSED,
            "EC2 cannot assume the role data",
        ),
    ],
)
async def test_an_odd_session_is_told_without_its_keys(sessions, text, reason, words):
    """AssumeRoleUnauthorizedAccess: EC2 User Guide, "Troubleshoot IAM roles for Amazon EC2"."""
    with OddSession(sessions) as service:
        service.text = text
        error = await refusal(source(service))
    assert error.reason is reason
    assert words in error.message


async def test_an_instance_without_a_role_is_told(sessions):
    with InstanceMetadata(sessions, role=None) as service:
        error = await refusal(source(service))
    assert error.reason is Reason.SESSION_MISSING
    assert "aws ec2 associate-iam-instance-profile" in error.message


@pytest.mark.parametrize("role", [None, "data"])
async def test_whoever_named_no_source_is_told_both(sessions, role):
    with InstanceMetadata(sessions, role=role) as service:
        service.is_v1 = role is not None
        error = await refusal(source(service, otherwise="Name a source."))
    assert error.message.startswith("Name a source. ")
    assert ("imdsv1" if role else "No role is attached") in error.message


async def test_a_service_that_hangs_is_given_up(service, monkeypatch):
    monkeypatch.setattr(instance, "_LIMIT_SECONDS", 0.3)
    service.swallows_tokens = True
    error = await refusal(source(service))
    assert error.reason is Reason.UNREACHABLE
    assert "did not answer within 0.3 s" in error.message


async def test_nobody_there_is_waited_for_if_named_and_told_at_once_if_not():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    named = await refusal(InstanceSource(url, clock=SystemClock()))
    assert named.reason is Reason.UNREACHABLE
    assert url in named.message
    found = await refusal(InstanceSource(url, clock=SystemClock(), otherwise="Name a source."))
    assert (found.reason, found.message) == (Reason.SESSION_MISSING, "Name a source.")


async def test_while_the_network_is_down_even_an_unnamed_service_is_waited_for(monkeypatch):
    def unreachable(_connection):
        raise OSError(101, "Network is unreachable")

    # There is no safe way to take the network away from a test's own machine.
    monkeypatch.setattr(direct.http.client.HTTPConnection, "connect", unreachable)
    error = await refusal(InstanceSource("http://127.0.0.1", clock=SystemClock(), otherwise="Name one."))
    assert error.reason is Reason.UNREACHABLE


# With a broker ----------------------------------------------------------------------------------


async def test_the_same_key_again_is_asked_for_again_and_no_new_session(service, sessions, running):
    sessions.step = 0
    sessions.life_seconds = 30
    async with running(Broker(source(service), clock=SystemClock())) as broker:
        await broker.get()
        await broker.refresh()
        assert broker.generation == 1
        due_in = broker.describe()["next_refresh_at"] - time.time()
        assert due_in <= 3.1
        sessions.step = 1
        assert (await broker.refresh()).generation == 2


async def test_an_expiry_in_the_past_is_not_rewritten(service, sessions, running):
    sessions.life_seconds = -5
    async with running(Broker(source(service), clock=SystemClock())) as broker:
        with pytest.raises(CredentialsError) as caught:
            await broker.get()
    assert caught.value.reason is Reason.SESSION_EXPIRED


@pytest.mark.parametrize("ahead_seconds", [-1200.0, 1200.0])
async def test_lives_are_right_although_the_clock_is_wrong(service, sessions, running, ahead_seconds):
    service.ahead_seconds = ahead_seconds
    sessions.life_seconds = 900 + ahead_seconds
    async with running(Broker(source(service), clock=SystemClock())) as broker:
        await broker.get()
        due_in = broker.describe()["next_refresh_at"] - time.time()
    assert 0.60 * 890 < due_in < 0.67 * 910


# How it is chosen -------------------------------------------------------------------------------


def build(options, environment):
    return provider.build(RoleConfig(**options), Place(environment=environment, clock=SystemClock())).source


def test_it_is_found_by_itself_when_nothing_else_is(tmp_path):
    home = {"HOME": str(tmp_path)}
    assert build({}, home).describe() == "the instance's role (http://169.254.169.254)"
    role_arn = "arn:aws:iam::111122223333:role/data"
    assert build({"role_arn": role_arn}, home).describe() == (
        f"{role_arn} assumed with the instance's role (http://169.254.169.254)"
    )


def test_a_profile_without_a_source_does_not_hide_it(tmp_path):
    (tmp_path / ".aws").mkdir()
    config = tmp_path / ".aws" / "config"
    config.write_text("[default]\nregion = eu-west-1\n")
    home = {"HOME": str(tmp_path)}
    assert build({}, home).describe().startswith("the instance's role")
    # Whoever sets AWS_PROFILE means that profile, and no other identity.
    assert build({}, home | {"AWS_PROFILE": "default"}).describe() == "profile default"


def test_it_is_taken_by_name_although_the_environment_has_keys(tmp_path):
    keys = {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    by_name = build({"credential_source": "Ec2InstanceMetadata"}, keys)
    assert by_name.describe().startswith("the instance's role")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        "[profile a]\nrole_arn = arn:aws:iam::111122223333:role/data\n"
        "credential_source = Ec2InstanceMetadata\n"
    )
    assert "assumed with the instance's role" in build({"profile": "a"}, keys).describe()


def test_it_may_be_forbidden(tmp_path):
    forbidden = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "True"}
    assert build({}, forbidden).describe() == "profile default"
    with pytest.raises(UserError, match="AWS_EC2_METADATA_DISABLED"):
        build({"credential_source": "Ec2InstanceMetadata"}, forbidden)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "http://[fd00:ec2::254]"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9/"}, "http://127.0.0.1:9"),
    ],
)
def test_where_it_is_asked(environment, expected):
    assert instance_endpoint(environment) == expected


def test_an_address_that_is_none_is_refused():
    with pytest.raises(UserError, match="AWS_EC2_METADATA_SERVICE_ENDPOINT=localhost is no address"):
        instance_endpoint({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "localhost"})
