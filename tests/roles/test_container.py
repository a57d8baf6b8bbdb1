"""The role of a container: which addresses are asked, with which token, and what is answered."""

import json
import time

import pytest
import trio

from s3rolefs.clock import SystemClock
from s3rolefs.config import RoleConfig
from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import container, provider
from s3rolefs.roles.container import FULL, RELATIVE, ContainerSource, container_uri
from s3rolefs.roles.place import Place
from tests.bed.instance import ContainerEndpoint
from tests.bed.loopback import Said
from tests.bed.radosgw import Keys

KEYS = Keys(access_key="ASIATASK", secret_key="task-secret", session_token="task-token")


@pytest.fixture
def endpoint():
    with ContainerEndpoint(lambda: (KEYS, time.time() + 3600)) as endpoint:
        yield endpoint


def source(endpoint, **variables):
    environment = {FULL: endpoint.uri, **variables}
    return ContainerSource(container_uri(environment), environment, clock=SystemClock())


async def refusal(source):
    with trio.fail_after(10), pytest.raises(CredentialsError) as caught:
        await source.fetch()
    assert "\n" not in caught.value.message
    assert "task-secret" not in caught.value.message
    assert "pod-token" not in caught.value.message
    return caught.value


async def test_the_session_comes_with_its_expiry(endpoint):
    snapshot = await source(endpoint).fetch()
    assert (snapshot.access_key_id, snapshot.session_token) == ("ASIATASK", "task-token")
    assert snapshot.expires_at == pytest.approx(time.time() + 3600, abs=2)
    assert "authorization" not in endpoint.asked[0].headers


async def test_a_relative_address_is_that_of_ecs(endpoint, monkeypatch):
    assert container_uri({RELATIVE: "/v2/x?id=1", FULL: "https://b"}) == "http://169.254.170.2/v2/x?id=1"
    monkeypatch.setattr(container, "_ECS_ENDPOINT", endpoint.url)
    environment = {RELATIVE: endpoint.path}
    asked = ContainerSource(container_uri(environment), environment, clock=SystemClock())
    assert (await asked.fetch()).access_key_id == "ASIATASK"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
async def test_a_token_file_is_read_each_time_and_may_end_with_a_newline(endpoint, tmp_path, ending):
    """AWS rotates it in place (EKS User Guide, "Learn how EKS Pod Identity works")."""
    path = tmp_path / "token"
    asking = source(endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(path))
    for number in range(2):
        endpoint.token = f"pod-token-{number}"
        path.write_text(endpoint.token + ending)
        await asking.fetch()


async def test_a_token_from_the_environment_is_sent_but_a_file_counts_more(endpoint, tmp_path):
    endpoint.token = "pod-token"
    await source(endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN="pod-token").fetch()
    path = tmp_path / "token"
    path.write_text("pod-token")
    variables = {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "other", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": path}
    await source(endpoint, **variables).fetch()


@pytest.mark.parametrize("text", ["", "pod-token\nX-Evil: 1", "pod-töken"])
async def test_what_is_no_token_is_never_sent(endpoint, tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text)
    error = await refusal(source(endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(path)))
    assert error.reason is Reason.SESSION_MISSING
    assert str(path) in error.message
    assert not endpoint.asked


async def test_a_token_file_that_is_missing_is_named(endpoint, tmp_path):
    path = tmp_path / "token"
    error = await refusal(source(endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(path)))
    assert f"{path} cannot be read (No such file or directory)" in error.message


async def test_after_a_refusal_a_new_token_is_noticed(endpoint, tmp_path):
    path = tmp_path / "token"
    path.write_text("pod-token-old")
    endpoint.token = "pod-token"
    asking = source(endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(path))
    error = await refusal(asking)
    assert error.reason is Reason.ROLE_REFUSED
    assert "the token is not the pod's (InvalidTokenException)" in error.message
    before = await asking.stamp()
    path.write_text("pod-token")
    assert await asking.stamp() != before
    await asking.fetch()


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (Said(status=503), Reason.UNREACHABLE, "status 503"),
        (Said(status=429), Reason.UNREACHABLE, "status 429"),
        (Said(status=404, text="not found"), Reason.ROLE_REFUSED, "no reason given (404)"),
        (Said(status=302, headers={"Location": "/"}), Reason.ROLE_REFUSED, "302"),
        (Said(text="{"), Reason.UNREACHABLE, "no complete JSON"),
        (Said(text=json.dumps({"SecretAccessKey": "task-secret"})), Reason.UNREACHABLE, "no access key id"),
    ],
    ids=["503", "429", "404", "302", "cut", "incomplete"],
)
async def test_an_endpoint_in_trouble_is_named_with_what_it_said(endpoint, said, reason, words):
    endpoint.trouble = said
    error = await refusal(source(endpoint))
    assert error.reason is reason
    assert words in error.message
    assert endpoint.uri in error.message


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:80/x",
        "http://127.8.9.1/x",
        "http://[::1]/x",
        "http://localhost/x",
        "http://169.254.170.2/x",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
        "https://anywhere.example/x",
    ],
)
def test_addresses_that_the_sdks_allow_pass(uri):
    """AWS SDKs and Tools Reference Guide, "Container credential provider"."""
    assert container_uri({FULL: uri}) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.com/x",
        "http://127.0.0.1@example.com/x",
        "http://169.254.169.254/x",
        "http://localhost.example.com/x",
        "file:///etc/passwd",
        "127.0.0.1/x",
        "http:///x",
    ],
)
def test_other_addresses_are_refused(uri):
    with pytest.raises(UserError, match=f"{FULL}=.* must be https"):
        container_uri({FULL: uri})


def build(options, environment):
    return provider.build(RoleConfig(**options), Place(environment=environment, clock=SystemClock())).source


def test_it_is_found_before_the_instance_and_after_keys_and_profile(endpoint, tmp_path):
    environment = {"HOME": str(tmp_path), FULL: endpoint.uri}
    assert build({}, environment).describe() == f"the container's role ({endpoint.uri})"
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    assert build({}, environment | keys).describe() == "the environment"
    assert "container" in build({"credential_source": "EcsContainer"}, environment | keys).describe()
    (tmp_path / ".aws").mkdir()
    credentials = tmp_path / ".aws" / "credentials"
    credentials.write_text("[default]\naws_access_key_id=AKIA\naws_secret_access_key=x\n")
    assert build({}, environment).describe() == "profile default"


def test_asked_for_by_name_it_has_to_be_there(tmp_path):
    with pytest.raises(UserError, match=f"needs {RELATIVE} or {FULL}"):
        build({"credential_source": "EcsContainer"}, {"HOME": str(tmp_path)})
