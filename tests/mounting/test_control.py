"""A running mount answers on a private socket named after its device."""

import functools
import json
import os
import resource
import socket
import stat
from contextlib import ExitStack, suppress

import pytest
import trio

from s3rolefs.errors import FileSystemError, Reason, SystemFailure, UserError
from s3rolefs.mounting import control
from s3rolefs.mounting.mounttable import FILESYSTEM_TYPE, Mount
from tests.bed.patience import wait_until

DEVICE = "0:999999"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    directory = tmp_path / "private"
    monkeypatch.setattr(control, "socket_directories", lambda _owner: [directory])
    return directory


def a_mount(owner=None):
    return Mount(
        device=DEVICE,
        mountpoint="/mnt",
        filesystem=FILESYSTEM_TYPE,
        source="s3://bucket",
        owner=os.geteuid() if owner is None else owner,
    )


async def answers(_request):
    return {"state": "fresh"}


async def refuses(_request):
    raise FileSystemError(Reason.ROLE_REFUSED, "STS said no.")


async def breaks(_request):
    raise ValueError("a bug")


HANDLERS = {"status": answers, "refresh": refuses, "whoami": breaks}


async def ask(command):
    return await trio.to_thread.run_sync(control.ask, a_mount(), command)


async def test_question_and_answer(nursery, place):
    await nursery.start(control.serve_control, DEVICE, HANDLERS)
    assert await ask("status") == {"state": "fresh"}
    path = place / "0-999999.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    nursery.cancel_scope.cancel()


async def test_what_a_command_takes_reaches_it(nursery):
    requests = []

    async def login(request):
        requests.append(request)
        return {}

    await nursery.start(control.serve_control, DEVICE, {"login": login})
    hand_over = functools.partial(control.ask, a_mount(), "login", "a/b", given="x" * 200_000, role=1)
    await trio.to_thread.run_sync(hand_over)
    assert requests == [{"command": "login", "path": "a/b", "given": "x" * 200_000, "role": 1}]
    nursery.cancel_scope.cancel()


async def test_several_questions_on_one_connection(nursery):
    await nursery.start(control.serve_control, DEVICE, HANDLERS)

    def twice():
        with control.connect(a_mount()) as connection:
            return [control.ask_on(connection, "status") for _ in range(2)], control.peer_of(connection)

    both, peer = await trio.to_thread.run_sync(twice)
    assert both == [{"state": "fresh"}] * 2
    assert peer == (os.getpid(), os.geteuid())
    nursery.cancel_scope.cancel()


async def test_a_refusal_comes_back_as_its_sentence(nursery):
    await nursery.start(control.serve_control, DEVICE, HANDLERS)
    with pytest.raises(UserError, match="STS said no"):
        await ask("refresh")
    with pytest.raises(UserError, match="does not know this command"):
        await ask("dance")
    nursery.cancel_scope.cancel()


async def test_a_bug_in_a_handler_does_not_end_the_server(nursery, caplog):
    await nursery.start(control.serve_control, DEVICE, HANDLERS)
    with pytest.raises(UserError, match="its log says why"):
        await ask("whoami")
    assert "a bug" in caplog.text
    assert await ask("status") == {"state": "fresh"}
    nursery.cancel_scope.cancel()


async def test_a_moment_without_free_descriptors_does_not_end_the_server(nursery, place, caplog):
    await nursery.start(control.serve_control, DEVICE, HANDLERS)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        client = stack.enter_context(trio.socket.socket(socket.AF_UNIX))
        hoard = stack.enter_context(ExitStack())
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 20, limits[1]))
        with suppress(OSError):
            for _ in range(20):
                hoard.callback(os.close, os.dup(client.fileno()))
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(client.fileno())
        await client.connect(str(place / "0-999999.sock"))
        await trio.to_thread.run_sync(wait_until, lambda: "accept" in caplog.text, 30)
    assert await ask("status") == {"state": "fresh"}
    nursery.cancel_scope.cancel()


async def test_the_socket_is_gone_afterwards(place):
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve_control, DEVICE, HANDLERS)
        nursery.cancel_scope.cancel()
    assert not place.exists()
    with pytest.raises(SystemFailure, match="does not answer"):
        await ask("status")


async def test_sockets_of_dead_mounts_are_removed_and_those_of_living_ones_kept(nursery, place):
    place.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as living:
        dead.bind(str(place / "0-1.sock"))
        living.bind(str(place / "0-2.sock"))
        living.listen()
        await nursery.start(control.serve_control, DEVICE, HANDLERS)
        assert sorted(path.name for path in place.iterdir()) == ["0-2.sock", "0-999999.sock"]
    nursery.cancel_scope.cancel()


async def test_a_mount_that_got_the_number_meanwhile_keeps_its_socket(nursery, place):
    async with trio.open_nursery() as first:
        await first.start(control.serve_control, DEVICE, {})
        await nursery.start(control.serve_control, DEVICE, HANDLERS)
        first.cancel_scope.cancel()
    assert [path.name for path in place.iterdir()] == ["0-999999.sock"]
    assert await ask("status") == {"state": "fresh"}
    nursery.cancel_scope.cancel()


async def test_a_directory_that_is_taken_away_is_made_again(nursery, place, monkeypatch):
    sweep = control._sweep

    def swept_away(directory):
        monkeypatch.setattr(control, "_sweep", sweep)
        directory.rmdir()

    monkeypatch.setattr(control, "_sweep", swept_away)
    await nursery.start(control.serve_control, DEVICE, HANDLERS)
    assert await ask("status") == {"state": "fresh"}
    nursery.cancel_scope.cancel()


async def test_a_directory_of_somebody_else_is_not_used(place, tmp_path, monkeypatch):
    place.symlink_to(tmp_path)
    with pytest.raises(SystemFailure, match="no private place"):
        await control.serve_control(DEVICE, HANDLERS)


async def test_rubbish_gets_an_answer_and_a_flood_none(nursery, place):
    await nursery.start(control.serve_control, DEVICE, HANDLERS)
    stream = await trio.open_unix_socket(str(place / "0-999999.sock"))
    async with stream:
        await stream.send_all(b"\xff\n")
        assert "error" in json.loads(await stream.receive_some())
        await stream.send_all(b"[" * 500_000 + b"\n")
        assert "error" in json.loads(await stream.receive_some())
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x" * (64 << 20))
    nursery.cancel_scope.cancel()


def test_the_mount_of_another_user_is_not_asked(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="another user"):
        control.connect(a_mount(owner=1001))
