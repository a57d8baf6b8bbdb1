"""A file of credentials is watched; how it is rewritten does not matter, who may read it does."""

import os
from pathlib import Path

import pytest
import trio

from s3rolefs.clock import SystemClock
from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.files import FileSource


def triple(number):
    names = {"ACCESS_KEY_ID": "AKIA", "SECRET_ACCESS_KEY": "secret-", "SESSION_TOKEN": "token-"}
    return "".join(f"AWS_{name}={start}{number}\n" for name, start in names.items())


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "credentials"
    path.write_text(triple(1))
    path.chmod(0o600)
    return path


def replace(path, text):
    other = path.with_suffix(".new")
    other.write_text(text)
    other.chmod(0o600)
    other.rename(path)


def rewrite(path, text):
    path.write_text(text)


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the broker has no event for tests
            await trio.sleep(0.01)


@pytest.mark.parametrize("change", [replace, rewrite])
async def test_a_rotated_triple_is_used_within_seconds(path, change, running):
    async with running(Broker(FileSource(str(path)), clock=SystemClock())) as broker:
        assert (await broker.get()).access_key_id == "AKIA1"
        change(path, triple(2))
        await until(lambda: broker.peek().access_key_id == "AKIA2")
        assert broker.generation == 2


async def test_a_half_written_file_leaves_the_old_session_in_use(path, running):
    async with running(Broker(FileSource(str(path)), clock=SystemClock(), watch_seconds=0.05)) as broker:
        await broker.get()
        path.write_text(triple(2)[:30])
        await until(lambda: broker.record.failures)
        assert broker.peek().access_key_id == "AKIA1"
        assert "AKIA2" not in broker.record.last_error
        path.write_text(triple(2))
        await until(lambda: broker.peek().access_key_id == "AKIA2")


async def test_a_file_that_is_just_being_written_is_waited_for(path):
    path.write_text(triple(2)[:40])
    fetched = []

    async def fetch():
        fetched.append(await FileSource(str(path)).fetch())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch)
        await trio.sleep(0.05)
        path.write_text(triple(2)[:-4])  # looks whole, only its token is too short
        await trio.sleep(0.1)
        path.write_text(triple(2))
    assert fetched[0].session_token == "token-2"


async def test_a_file_that_appears_later_is_found(path, running):
    path.rename(path.with_suffix(".away"))
    async with running(Broker(FileSource(str(path)), clock=SystemClock(), watch_seconds=0.05)) as broker:
        with pytest.raises(CredentialsError, match="does not exist") as caught:
            await broker.get()
        path.with_suffix(".away").rename(path)
        await until(broker.peek)
    assert caught.value.reason is Reason.SESSION_MISSING


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
async def test_a_file_that_others_can_read_or_change_is_refused(path, mode):
    path.chmod(mode)
    with pytest.raises(CredentialsError, match=f"every user; run: chmod 600 {path}"):
        await FileSource(str(path)).fetch()


async def test_a_group_may_read_it(path):
    path.chmod(0o640)
    assert (await FileSource(str(path)).fetch()).access_key_id == "AKIA1"


async def test_what_is_no_file_is_refused_and_never_hangs(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "."):
        with trio.fail_after(5), pytest.raises(CredentialsError, match="not a regular file"):
            await FileSource(str(tmp_path / name)).fetch()


async def test_a_file_that_is_none_of_credentials_is_told_in_one_sentence(path):
    path.write_text('{"Credentials": {"SecretAccessKey": "very-secret"')
    with pytest.raises(CredentialsError) as caught:
        await FileSource(str(path)).fetch()
    assert caught.value.message == f"credentials_file={path} cannot be used: it is no complete JSON."
