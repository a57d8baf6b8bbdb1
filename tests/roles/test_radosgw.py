"""Against a real STS that enforces what it says: sessions of 3 s, renewed and refused."""

import os

import pytest
import trio
from botocore.exceptions import ClientError

from s3rolefs.clock import SystemClock
from s3rolefs.config import RoleConfig
from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import identity, provider
from s3rolefs.roles.place import Place

SECONDS = 9.0
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


def environment(keys):
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "HOME": os.devnull,
    }


def parts(radosgw, keys, role):
    place = Place(environment=environment(keys), clock=SystemClock(), endpoint_url=radosgw.endpoint_url)
    return provider.build(role, place), place.token_service(role)


async def test_sessions_of_three_seconds_serve_without_a_gap(radosgw, bucket, running):
    keys = radosgw.create_user("roles-worker")
    arn = radosgw.create_role("roles-data", EVERYTHING, "roles-worker")
    role = RoleConfig(role_arn=arn, role_session_name="gapless", duration_seconds=3)
    broker, service = parts(radosgw, keys, role)
    refused = []

    def list_blocking(snapshot):
        session = type(keys)(
            access_key=snapshot.access_key_id,
            secret_key=str(snapshot.secret_access_key),
            session_token=snapshot.session_token,
        )
        try:
            radosgw.client("s3", session).list_objects_v2(Bucket=bucket)
        except ClientError as error:
            refused.append(error.response["Error"]["Code"])

    async with running(broker):
        await broker.get()
        with trio.move_on_after(SECONDS):
            while True:
                snapshot = await broker.get()
                await trio.to_thread.run_sync(list_blocking, snapshot)
        who = await identity.whoami(broker, service)
    assert not refused
    assert broker.record.longest_wait_seconds < 0.1
    assert SECONDS / 3 <= broker.record.fetches <= SECONDS
    assert (who.role, who.session) == ("roles-data", "gapless")


async def test_a_role_that_trusts_somebody_else_is_refused_with_the_policies_to_paste(radosgw, running):
    keys = radosgw.create_user("roles-stranger")
    radosgw.create_user("roles-friend")
    arn = radosgw.create_role("roles-closed", EVERYTHING, "roles-friend")
    broker, _ = parts(radosgw, keys, RoleConfig(role_arn=arn))
    async with running(broker):
        with pytest.raises(CredentialsError, match="refuses to assume") as caught:
            await broker.get()
    assert caught.value.reason is Reason.ROLE_REFUSED
    assert arn in caught.value.advice
    assert keys.secret_key not in str(caught.value) + caught.value.advice


async def test_plain_keys_are_not_named_by_this_service(radosgw, running):
    keys = radosgw.create_user("roles-plain")
    broker, service = parts(radosgw, keys, RoleConfig())
    async with running(broker):
        who = await identity.whoami(broker, service)
    assert (who.kind, who.arn, who.source) == ("unknown", None, "the environment")


async def test_wrong_keys_are_refused(radosgw, running):
    radosgw.create_user("roles-owner")
    arn = radosgw.create_role("roles-locked", EVERYTHING, "roles-owner")
    wrong = type(radosgw.admin_keys)(access_key="NOBODY", secret_key="wrong-secret")
    broker, _ = parts(radosgw, wrong, RoleConfig(role_arn=arn))
    async with running(broker):
        with pytest.raises(CredentialsError, match=r"refuses to assume .* wrong keys") as caught:
            await broker.get()
    assert caught.value.reason is Reason.ROLE_REFUSED
