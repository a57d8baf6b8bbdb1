"""Ask a real STS for sessions, and tell the refusals of a scripted one apart."""

import math
import socket
import time
from datetime import datetime

import boto3
import pytest
import trio

from s3rolefs.clock import SystemClock
from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import sts
from s3rolefs.roles.assumed import AssumedRole
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.environment import EnvironmentSource
from s3rolefs.roles.request import RoleRequest
from s3rolefs.roles.snapshot import Snapshot
from s3rolefs.roles.sts import TokenService

ROLE = "arn:aws:iam::111122223333:role/data"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIACALLER", "AWS_SECRET_ACCESS_KEY": "caller-secret"}
CALLER = Snapshot(access_key_id="AKIACALLER", secret_access_key="caller-secret")


def service(url, clock=None):
    return TokenService(region="us-east-1", endpoint_url=url, ca_bundle=None, clock=clock or SystemClock())


def request(**more):
    return RoleRequest(role_arn=ROLE, session_name="test", **more)


async def test_a_session_comes_from_sts_with_arn_and_expiry(moto_url):
    snapshot = await service(moto_url).assume_role(CALLER, request(duration_seconds=900))
    assert snapshot.access_key_id.startswith("ASIA")
    assert snapshot.session_token
    assert snapshot.arn == "arn:aws:sts::111122223333:assumed-role/data/test"
    assert 890 < snapshot.expires_at - time.time() <= 901
    assert snapshot.obtained_at == 0


async def test_sts_says_who_the_session_is(moto_url):
    sts_service = service(moto_url)
    session = await sts_service.assume_role(CALLER, request())
    assert await sts_service.caller_arn(session) == session.arn


async def test_a_broker_renews_an_assumed_role(moto_url, running):
    source = AssumedRole(EnvironmentSource(KEYS), service(moto_url), request())
    async with running(Broker(source, clock=SystemClock())) as broker:
        first = await broker.get()
        second = await broker.refresh()
    assert second.generation == 2
    assert first.session_token != second.session_token
    s3 = boto3.client(
        "s3",
        endpoint_url=moto_url,
        aws_access_key_id=second.access_key_id,
        aws_secret_access_key=str(second.secret_access_key),
        aws_session_token=second.session_token,
        region_name="us-east-1",
    )
    assert s3.list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200


async def test_what_is_asked_for_is_sent_even_below_900_seconds(front):
    await service(front.url).assume_role(CALLER, request(external_id="ext", duration_seconds=3))
    asked = front.requests[0]
    assert asked["RoleArn"] == ROLE
    assert (asked["RoleSessionName"], asked["ExternalId"], asked["DurationSeconds"]) == ("test", "ext", "3")
    assert "Credential=AKIACALLER/" in asked["authorization"]


async def test_concurrent_calls_sign_with_their_own_keys(front):
    sts_service = service(front.url)
    async with trio.open_nursery() as nursery:
        for number in range(8):
            keys = Snapshot(access_key_id=f"AKIA{number}", secret_access_key="x")
            nursery.start_soon(sts_service.assume_role, keys, request(external_id=f"id{number}"))
    assert len(front.requests) == 8
    for asked in front.requests:
        assert f"Credential=AKIA{asked['ExternalId'][2:]}/" in asked["authorization"]


NOT_AUTHORIZED = (
    "User: arn:aws:iam::444455556666:user/ada is not authorized to perform: sts:AssumeRole "
    f"on resource: {ROLE}"
)


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        ((403, "AccessDenied", NOT_AUTHORIZED), Reason.ROLE_REFUSED, "refuses to assume"),
        (
            (400, "ValidationError", "exceeds the MaxSessionDuration"),
            Reason.ROLE_REFUSED,
            "MaxSessionDuration",
        ),
        (
            (403, "InvalidClientTokenId", "It is invalid"),
            Reason.ROLE_REFUSED,
            "does not accept the keys",
        ),
        ((403, "SignatureDoesNotMatch", "No match"), Reason.ROLE_REFUSED, "does not accept the keys"),
        ((403, "ExpiredToken", "The token has expired"), Reason.SESSION_EXPIRED, "has expired"),
        ((400, "ExpiredTokenException", "Expired"), Reason.SESSION_EXPIRED, "has expired"),
        ((400, "Throttling", "Rate exceeded"), Reason.UNREACHABLE, "just now"),
        ((429, "Unheard", "Slow"), Reason.UNREACHABLE, "just now"),
        ((503, "ServiceUnavailable", "Later"), Reason.UNREACHABLE, "just now"),
        ((400, "IDPCommunicationError", "No answer"), Reason.UNREACHABLE, "just now"),
        ((403, "RequestExpired", "Too old"), Reason.UNREACHABLE, "set the machine's clock"),
        ((404, "NoSuchEntity", "None of that name"), Reason.ROLE_REFUSED, "refuses to assume"),
        ((405, "MethodNotAllowed", "Not here"), Reason.ROLE_REFUSED, "sts_endpoint= names the right one"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
async def test_refusals_are_told_apart(front, error, reason, words):
    front.error = error
    with pytest.raises(CredentialsError, match=words) as caught:
        await service(front.url).assume_role(CALLER, request())
    assert caught.value.reason is reason
    assert caught.value.detail == error[2]
    assert error[2] in caught.value.message
    assert "caller-secret" not in str(caught.value) + caught.value.detail + caught.value.advice
    assert len(front.requests) == 1


async def test_a_denial_brings_both_policies_with_caller_and_role(front):
    front.error = (403, "AccessDenied", NOT_AUTHORIZED)
    with pytest.raises(CredentialsError) as caught:
        await service(front.url).assume_role(CALLER, request(external_id="ext-1"))
    advice = caught.value.advice
    assert "The caller is arn:aws:iam::444455556666:user/ada." in advice
    assert f'"Resource": "{ROLE}"' in advice
    assert '"AWS": "arn:aws:iam::444455556666:user/ada"' in advice
    assert '"sts:ExternalId": "ext-1"' in advice


async def test_a_denial_that_names_nobody_asks_who_the_caller_is(front):
    front.error = (403, "AccessDenied", "")
    with pytest.raises(CredentialsError, match="wrong keys, or policies that do not allow it") as caught:
        await service(front.url).assume_role(CALLER, request())
    assert [asked["Action"] for asked in front.requests] == ["AssumeRole", "GetCallerIdentity"]
    assert "unknown (the service does not tell)" in caught.value.advice


@pytest.mark.parametrize("body", ["<html>a page</html>", "", "<a>", "<AssumeRoleResponse/>"])
async def test_what_is_no_sts_is_recognised(front, body):
    front.body = body
    with pytest.raises(CredentialsError, match="is sts_endpoint right") as caught:
        await service(front.url).assume_role(CALLER, request())
    assert caught.value.reason is Reason.UNREACHABLE


async def test_nobody_there_is_unreachable():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        deaf = service(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(CredentialsError, match="cannot be reached") as caught:
            await deaf.assume_role(CALLER, request())
    assert caught.value.reason is Reason.UNREACHABLE


async def test_a_silent_service_is_given_up(front, monkeypatch):
    monkeypatch.setattr(sts, "_LIMIT_SECONDS", 0.3)
    front.silent = True
    with trio.fail_after(5), pytest.raises(CredentialsError, match=r"did not answer within 0\.3 s"):
        await service(front.url).assume_role(CALLER, request())


@pytest.mark.parametrize("ahead_seconds", [-1200.0, 1200.0, 0.0])
async def test_lives_are_right_although_the_machines_clock_is_wrong(front, running, ahead_seconds):
    """Sessions of 900 s, a machine that is 20 minutes off: the broker plans with 900 s."""
    front.ahead_seconds = ahead_seconds
    source = AssumedRole(EnvironmentSource(KEYS), service(front.url), request())
    async with running(Broker(source, clock=SystemClock())) as broker:
        snapshot = await broker.get()
        due_in = broker.describe()["next_refresh_at"] - time.time()
    assert 0.60 * 890 < due_in < 0.67 * 910
    assert math.isclose(snapshot.expires_at - snapshot.obtained_at, 900, abs_tol=2)


@pytest.mark.parametrize("ahead_seconds", [-1200.0, 1200.0])
async def test_a_request_that_the_clock_made_invalid_is_signed_again_by_the_services(front, ahead_seconds):
    """AWS's words (IAM User Guide, "Troubleshoot signed requests for AWS APIs")."""
    front.ahead_seconds = ahead_seconds

    def judge(_request):
        signed_at = datetime.strptime(front.asked[-1].headers["x-amz-date"], "%Y%m%dT%H%M%S%z").timestamp()
        if abs(signed_at - front.now()) < 300:
            return None
        return 403, "SignatureDoesNotMatch", "Signature expired: it is now earlier than it should be"

    front.judge = judge
    sts_service = service(front.url)
    for sent in (2, 3):  # what was learnt is kept
        await sts_service.assume_role(CALLER, request())
        assert len(front.requests) == sent
    front.ahead_seconds = 0.0  # somebody set the machine's clock right
    await sts_service.assume_role(CALLER, request())
    assert len(front.requests) == 5


async def test_a_wrong_signature_is_not_put_down_to_a_right_clock(front):
    front.error = (403, "SignatureDoesNotMatch", "The signature does not match")
    with pytest.raises(CredentialsError, match="does not accept the keys"):
        await service(front.url).assume_role(CALLER, request())
    assert len(front.requests) == 1


async def test_the_source_below_is_asked_each_time(front):
    class Counted(EnvironmentSource):
        fetches = 0

        async def fetch(self):
            self.fetches += 1
            return await super().fetch()

    below = Counted(KEYS)
    source = AssumedRole(below, service(front.url), request())
    await source.fetch()
    await source.fetch()
    assert below.fetches == 2
    assert source.describe() == f"{ROLE} assumed with the environment"
