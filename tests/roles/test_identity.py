"""whoami says what STS says, else what AssumeRole said."""

import json
import logging

import pytest

from s3rolefs.clock import SystemClock
from s3rolefs.config import RoleConfig
from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import identity, provider
from s3rolefs.roles.place import Place

ROLE = "arn:aws:iam::111122223333:role/data"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env-secret", "HOME": "/nonexistent"}
CONFIG = RoleConfig(role_arn=ROLE, role_session_name="me")


def parts(role, url):
    place = Place(environment=KEYS, clock=SystemClock(), endpoint_url=url)
    return provider.build(role, place), place.token_service(role)


async def test_whoami_names_account_role_session_and_expiry(moto_url, running, caplog):
    caplog.set_level(logging.DEBUG, logger="s3rolefs")
    broker, service = parts(CONFIG, moto_url)
    async with running(broker):
        who = await identity.whoami(broker, service)
    assert (who.account, who.kind, who.role, who.session) == ("111122223333", "assumed-role", "data", "me")
    assert who.expires_at == broker.describe()["expires_at"]
    shown = json.dumps(who.as_json())
    assert json.loads(shown)["arn"] == "arn:aws:sts::111122223333:assumed-role/data/me"
    session = broker.peek()
    for secret in ("env-secret", session.secret_access_key, session.session_token):
        assert secret not in shown + caplog.text + repr(broker.describe())


async def test_whoami_of_plain_keys_is_what_sts_says(moto_url, running):
    broker, service = parts(RoleConfig(), moto_url)
    async with running(broker):
        who = await identity.whoami(broker, service)
    assert (who.kind, who.role, who.expires_at, who.source) == ("user", None, None, "the environment")


@pytest.mark.parametrize(
    "error", [(405, "MethodNotAllowed", "No"), (403, "AccessDenied", "No"), (503, "Busy", "No")]
)
async def test_where_sts_does_not_tell_assume_roles_answer_stands_in(front, running, error):
    broker, service = parts(CONFIG, front.url)
    async with running(broker):
        await broker.get()
        front.error = error
        who = await identity.whoami(broker, service)
    assert who.arn == "arn:aws:sts::111122223333:assumed-role/data/x"


async def test_plain_keys_where_nobody_tells_are_unknown(front, running):
    broker, service = parts(RoleConfig(), front.url)
    front.error = (405, "MethodNotAllowed", "No")
    async with running(broker):
        who = await identity.whoami(broker, service)
    assert (who.kind, who.arn, who.account) == ("unknown", None, None)


async def test_wrong_keys_are_told(front, running):
    broker, service = parts(RoleConfig(), front.url)
    front.error = (403, "InvalidClientTokenId", "The security token is invalid.")
    async with running(broker):
        with pytest.raises(CredentialsError, match="does not accept the keys") as caught:
            await identity.whoami(broker, service)
    assert caught.value.reason is Reason.ROLE_REFUSED
