"""Logging in at IAM Identity Center: the device flow, and the token where botocore finds it."""

import json
import stat
import subprocess
import sys
import time
from hashlib import sha1

import pytest

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles.profiles import Profiles, ProfileSource
from s3rolefs.roles.sso import authorize_blocking
from tests.bed.radosgw import Keys
from tests.bed.sso import START_URL, SsoPortal

SESSION = Keys(access_key="ASIASSO", secret_key="sso-secret", session_token="sso-token")
LONG_SECONDS = 3600.0
# botocore looks for the home directory when it is loaded, so who reads the token has to begin anew.
FETCH = """
import os, trio
from s3rolefs.roles.profiles import Profiles, ProfileSource
print(trio.run(ProfileSource(Profiles(os.environ), "work").fetch).access_key_id)
"""


@pytest.fixture
def portal():
    with SsoPortal(lambda: (SESSION, time.time() + LONG_SECONDS)) as portal:
        yield portal


@pytest.fixture(params=["corp", None], ids=["session", "old form"])
def session(request):
    return request.param


@pytest.fixture
def home(portal, tmp_path, session):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(portal.profile(session=session))
    return tmp_path


@pytest.fixture
def source(home):
    return ProfileSource(Profiles({"HOME": str(home)}), "work")


def cache_file(home, session):
    name = sha1((session or START_URL).encode()).hexdigest()
    return home / ".aws" / "sso" / "cache" / f"{name}.json"


async def the_need(source):
    """Return what is needed after the source has found out that it has no token."""
    with pytest.raises(CredentialsError) as caught:
        await source.fetch()
    assert caught.value.reason is Reason.SESSION_EXPIRED
    (need,) = source.needs()
    assert need.is_missing
    return need


def fetch_anew():
    return subprocess.run([sys.executable, "-c", FETCH], capture_output=True, text=True, check=False)


async def test_a_login_is_confirmed_by_a_person_and_serves_sessions(portal, source, home, session):
    need = await the_need(source)
    details = await need.details()
    shown, slept = [], []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            portal.confirm()

    portal.slow_downs = 1
    text = authorize_blocking(details, shown.append, sleep=sleep)
    assert slept == [1.0, 6.0, 6.0]
    (invitation,) = shown
    assert (invitation.code, invitation.url) == ("ABCD-EFGH", f"{portal.url}/device")
    await need.give(text)
    assert not need.is_missing
    kept = cache_file(home, session)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert {"refreshToken", "clientSecret"} <= set(json.loads(kept.read_text())) or session is None
    scopes = next(json.loads(asked.text).get("scopes") for asked in portal.asked if "register" in asked.path)
    assert scopes == (["sso:account:access"] if session else None)
    assert fetch_anew().stdout == "ASIASSO\n"


@pytest.mark.parametrize("session", ["corp"], indirect=True)
async def test_botocore_renews_a_token_that_came_with_a_refresh_token(portal, source, home):
    need = await the_need(source)
    token = portal.token(seconds=2)
    await need.give(portal.cached(token, portal.register()))
    portal.tokens[token["accessToken"]] = 0.0
    assert fetch_anew().stdout == "ASIASSO\n"
    assert portal.refreshes == 1


@pytest.mark.parametrize("session", ["corp"], indirect=True)
@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"code_seconds": 3}, "Nobody confirmed the code ABCD-EFGH in time"),
        ({"denies": True}, "refuses the login: the person said no"),
    ],
)
async def test_a_login_that_comes_to_nothing_is_told_in_a_sentence(portal, source, trouble, words):
    details = await (await the_need(source)).details()
    for name, value in trouble.items():
        setattr(portal, name, value)
    with pytest.raises(UserError, match=words) as caught:
        authorize_blocking(details, lambda _: None, sleep=lambda _: None)
    assert "\n" not in caught.value.sentence
    assert portal.polls <= 3


@pytest.mark.parametrize("session", ["corp"], indirect=True)
async def test_a_portal_that_is_not_there_is_told(portal, source):
    details = {**await (await the_need(source)).details(), "endpoint_url": "http://127.0.0.1:9"}
    with pytest.raises(UserError, match=r"The login at http://127\.0\.0\.1:9 failed"):
        authorize_blocking(details, lambda _: None)


@pytest.mark.parametrize("session", ["corp"], indirect=True)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hidden words", "is no SSO token"),
        ('{"accessToken": "hidden"}', "is no SSO token"),
        ('{"accessToken": "hidden", "expiresAt": "soon"}', "its expiresAt is no date"),
        ('{"accessToken": "hidden", "expiresAt": "2020-01-01T00:00:00UTC"}', "has expired at 2020-01-01"),
    ],
)
async def test_what_is_no_token_is_not_kept(source, home, text, words):
    need = await the_need(source)
    with pytest.raises(CredentialsError, match=words) as caught:
        await need.give(text)
    assert "hidden" not in caught.value.message
    assert need.is_missing
    assert [path.name for path in (home / ".aws").iterdir()] == ["config"]


@pytest.mark.parametrize("session", ["corp"], indirect=True)
async def test_a_profile_that_lacks_the_place_of_login_is_told(source, home):
    need = await the_need(source)
    config = home / ".aws" / "config"
    config.write_text(config.read_text().replace("sso_region", "region"))
    with pytest.raises(UserError, match="The profile work has no sso_region"):
        await need.details()
    config.write_text(config.read_text().replace("region = us-east-1", "sso_region = not a region"))
    with pytest.raises(UserError, match=r"The profile work cannot be logged in: .*not a region"):
        await need.details()
