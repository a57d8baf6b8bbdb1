"""Small exchanges on connections that are open already: on the loop, well-behaved and not."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import asynccontextmanager

import pytest
import trio

from s3rolefs.model import KIB, MIB
from s3rolefs.s3 import multiplexer
from s3rolefs.s3.attempt import FailureKind
from s3rolefs.s3.connections import ConnectionPool
from s3rolefs.s3.tls import tls_maker
from tests.bed.patience import wait_until
from tests.s3.pools import attempt_at, failure_of, pool_of, server_tls
from tests.s3.scripted import ScriptedServer, answer, hang_up, head, raw, slam, stall

_SMALL_SEND_BUFFER = (socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


@pytest.fixture
def on_loop(monkeypatch):
    """Count the exchanges that the loop carries out."""
    started = []
    start = multiplexer.Multiplexer.start
    monkeypatch.setattr(
        multiplexer.Multiplexer, "start", lambda self, call: (started.append(call), start(self, call))
    )
    return started


@asynccontextmanager
async def opened_to(server, *, limit=4, tls=None):
    """Yield a pool that has one connection to a server, whose first step answers for that."""
    async with pool_of(limit, tls=tls) as pool:
        await pool.run(attempt_at(server))
        yield pool


def pieces(*parts, keep=True):
    """Send an answer in pieces that arrive one by one."""

    def step(_received, connection):
        for part in parts:
            connection.sendall(part)
            time.sleep(0.02)  # nothing tells a server that a piece was received by itself
        return keep

    return step


async def test_small_exchanges_need_no_thread_once_there_is_a_connection(on_loop):
    with ScriptedServer(answer(200, b"hello", x_amz_id="7")) as server:
        async with opened_to(server) as pool:
            threads = threading.active_count()
            for _ in range(20):
                got = await pool.run(attempt_at(server, "PUT", body=b"x" * 1000))
                assert (got.status, got.body, got.headers["x-amz-id"]) == (200, b"hello", "7")
            assert threading.active_count() <= threads
        assert server.connections == 1
        assert {request.body for request in server.requests[1:]} == {b"x" * 1000}
    assert len(on_loop) == 20


@pytest.mark.parametrize(
    ("attempt", "on_the_loop"),
    [
        ({"into": [memoryview(bytearray(256 * KIB))]}, True),
        ({"into": [memoryview(bytearray(256 * KIB + 1))]}, False),
        ({"body": bytes(64 * KIB)}, True),
        ({"body": bytes(64 * KIB + 1)}, False),
    ],
)
async def test_what_takes_long_has_a_thread(on_loop, attempt, on_the_loop):
    data = bytes(sum(map(len, attempt.get("into", ()))))
    with ScriptedServer(answer(200), answer(206, data)) as server:
        async with opened_to(server) as pool:
            await pool.run(attempt_at(server, "PUT", **attempt))
        assert server.connections == 1
    assert len(on_loop) == on_the_loop


async def test_an_answer_may_come_in_pieces(on_loop):
    data = bytes(range(200)) * 500
    whole = head(206, {"content-length": str(len(data))}) + data
    filled = []
    buffers = [memoryview(bytearray(size)) for size in (1, 70_000, len(data) - 70_001)]
    with ScriptedServer(
        answer(200), pieces(whole[:10], whole[10:300], whole[300:80_000], whole[80_000:])
    ) as server:
        async with opened_to(server) as pool:
            for _ in range(2):
                got = await pool.run(attempt_at(server, into=buffers, announce=filled.append))
                assert b"".join(buffers) == data
        assert server.connections == 1
    assert (got.filled_bytes, got.body, filled, len(on_loop)) == (len(data), b"", [0, 1, 2] * 2, 2)


async def test_a_chunked_answer_fills_buffers_too():
    buffer = bytearray(10)
    whole = head(206, {"transfer-encoding": "chunked"}) + b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"
    with ScriptedServer(answer(200), pieces(whole[:50], whole[50:])) as server:
        async with opened_to(server) as pool:
            got = await pool.run(attempt_at(server, into=[memoryview(buffer)]))
    assert (buffer, got.filled_bytes) == (b"0123456789", 10)


@pytest.mark.parametrize(
    ("came", "kind"),
    [
        (head(206, {"content-length": "10"}) + b"12345", FailureKind.BROKEN),
        (head(206, {"transfer-encoding": "chunked"}) + b"5\r\n12345\r\n0\r\n\r\n", FailureKind.BROKEN),
        (b"HTTP/1.1 206 OK\r\nContent-Le", FailureKind.BROKEN),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FailureKind.BROKEN),
        (b"HTTP/1.1 200 OK\r\n" + b"x-endless: yes\r\n" * 20_000, FailureKind.BROKEN),
    ],
)
async def test_a_broken_answer_is_a_failure_and_is_not_repeated(on_loop, came, kind):
    buffer = bytearray(10)
    with ScriptedServer(answer(200), raw(came), answer(200)) as server:
        async with opened_to(server) as pool:
            failure = await failure_of(pool, attempt_at(server, into=[memoryview(buffer)]))
            assert (failure.kind, failure.sent) == (kind, True)
            assert (await pool.run(attempt_at(server))).status == 200
        assert len(server.requests) == 3
        assert server.connections == 2
    assert len(on_loop) == 1


@pytest.mark.parametrize("end", [slam, hang_up])
async def test_a_connection_that_ends_without_an_answer_is_replaced_and_the_request_repeated(on_loop, end):
    with ScriptedServer(answer(200), end, answer(200, b"again")) as server:
        async with opened_to(server) as pool:
            got = await pool.run(attempt_at(server, "PUT", body=b"body"))
        assert (got.body, got.repeated) == (b"again", True)
        assert [request.connection for request in server.requests] == [1, 1, 2]
    assert len(on_loop) == 1


@pytest.mark.parametrize("came", [b"", head(200, {"content-length": "10"}) + b"12345"])
async def test_a_server_that_stalls_is_given_up_after_the_timeout(on_loop, came):
    def stop(received, connection):
        connection.sendall(came)
        return stall(received, connection)

    with ScriptedServer(answer(200), stop) as server:
        async with opened_to(server) as pool:
            failure = await failure_of(pool, attempt_at(server, io_timeout=0.2))
    assert (failure.kind, failure.sent, len(on_loop)) == (FailureKind.TIMEOUT, True, 1)
    assert "0.2 s" in failure.message


async def test_the_shortest_limit_counts_whichever_began_first(on_loop):
    together = threading.Barrier(2)

    def meet(received, connection):
        together.wait(5)
        return answer(200)(received, connection)

    with ScriptedServer(meet, meet, stall) as server:
        async with pool_of(2) as pool:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(pool.run, attempt_at(server))
            async with trio.open_nursery() as nursery:
                await nursery.start(cancellable, pool, attempt_at(server, io_timeout=60))
                failure = await failure_of(pool, attempt_at(server, io_timeout=0.1))
                nursery.cancel_scope.cancel()
    assert (failure.kind, len(on_loop)) == (FailureKind.TIMEOUT, 2)


async def test_the_limit_of_an_exchange_that_has_ended_does_not_end_the_next_one(on_loop):
    with ScriptedServer(answer(200), answer(200), stall) as server:
        async with opened_to(server) as pool:
            await pool.run(attempt_at(server, io_timeout=0.1))
            began = time.monotonic()
            failure = await failure_of(pool, attempt_at(server, io_timeout=0.4))
            assert time.monotonic() - began >= 0.4
    assert (failure.kind, len(on_loop)) == (FailureKind.TIMEOUT, 2)


async def test_cancelling_closes_the_connection_at_once(on_loop):
    with ScriptedServer(answer(200), stall, answer(204)) as server:
        async with opened_to(server) as pool:
            with trio.fail_after(2):
                with trio.move_on_after(0.1):
                    await pool.run(attempt_at(server, io_timeout=60))
                assert (await pool.run(attempt_at(server))).status == 204
        assert server.connections == 2
    assert len(on_loop) == 1


async def test_a_cancelled_transfer_leaves_the_buffers_alone(on_loop):
    buffer, filled = bytearray(100), trio.Event()

    def stop(received, connection):
        connection.sendall(head(206, {"content-length": "100"}) + b"a" * 50)
        return stall(received, connection)

    with ScriptedServer(answer(200), stop) as server:
        async with opened_to(server) as pool:
            views = [memoryview(buffer)[:10], memoryview(buffer)[10:]]
            with trio.fail_after(2):
                async with trio.open_nursery() as nursery:
                    attempt = attempt_at(server, into=views, announce=lambda _: filled.set(), io_timeout=60)
                    nursery.start_soon(pool.run, attempt)
                    await filled.wait()
                    nursery.cancel_scope.cancel()
    assert (bytes(buffer), len(on_loop)) == (b"a" * 50 + bytes(50), 1)


async def test_closing_ends_what_is_under_way(on_loop):
    with ScriptedServer(answer(200), stall) as server:
        pool = ConnectionPool(limit=1, tls=ssl.create_default_context, environ={})
        await pool.run(attempt_at(server))
        with trio.fail_after(2):
            async with trio.open_nursery() as nursery:

                async def wait():
                    with pytest.raises(trio.ClosedResourceError):
                        await pool.run(attempt_at(server, io_timeout=60))

                nursery.start_soon(wait)  # on the loop
                nursery.start_soon(wait)  # in the queue
                while not on_loop:
                    await trio.lowlevel.checkpoint()
                await pool.aclose()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_who_waits_has_a_turn_when_the_one_before_fails_or_is_cancelled(on_loop, cancelled):
    with ScriptedServer(answer(200), stall, answer(200, b"last")) as server:
        async with opened_to(server, limit=1) as pool, trio.open_nursery() as nursery:
            before = await nursery.start(
                cancellable, pool, attempt_at(server, io_timeout=60 if cancelled else 0.1)
            )
            while not on_loop:
                await trio.lowlevel.checkpoint()
            if cancelled:
                nursery.start_soon(cancel_once_somebody_waits, pool, before)
            with trio.fail_after(2):
                assert (await pool.run(attempt_at(server))).body == b"last"


async def cancellable(pool, attempt, *, task_status):
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await failure_of(pool, attempt)


async def cancel_once_somebody_waits(pool, scope):
    while not pool._queue:
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_body_that_the_server_takes_slowly_is_sent_whole(on_loop):
    body = bytes(range(256)) * 256
    release = threading.Event()

    def first(received, connection):
        answer(200)(received, connection)
        release.wait(5)  # the next request is not read before
        return True

    with ScriptedServer(first, answer(200)) as server:
        async with opened_to(server) as pool, trio.open_nursery() as nursery:
            (connection,) = pool._idle
            connection.sock.setsockopt(*_SMALL_SEND_BUFFER)
            nursery.start_soon(pool.run, attempt_at(server, "PUT", body=body))
            while not on_loop:
                await trio.lowlevel.checkpoint()
            release.set()
        assert server.requests[1].body == body
        assert server.connections == 1


async def test_what_comes_after_an_answer_ends_the_connection(on_loop):
    twice = (head(200, {"content-length": "2"}) + b"ok") * 2
    with ScriptedServer(answer(200), raw(twice, keep=True), answer(200, b"new")) as server:
        async with opened_to(server) as pool:
            assert (await pool.run(attempt_at(server))).body == b"ok"
            assert (await pool.run(attempt_at(server))).body == b"new"
        assert server.connections == 2


async def test_an_idle_connection_that_the_server_closes_is_not_used():
    def answer_and_close(received, connection):
        answer(200)(received, connection)
        return False

    with ScriptedServer(answer(200), answer_and_close, answer(200)) as server:
        async with opened_to(server) as pool:
            await pool.run(attempt_at(server))
            await trio.to_thread.run_sync(wait_until, lambda: not pool._multiplexer._watched, 5.0)
            assert not (await pool.run(attempt_at(server))).repeated
        assert server.connections == 2


async def test_a_failure_of_the_callers_own_is_the_callers():
    def refuse(_status, _headers):
        raise RuntimeError("mine")

    with ScriptedServer(answer(200, b"some")) as server:
        async with opened_to(server) as pool:
            buffers = [memoryview(bytearray(4))]
            for _ in range(2):
                with pytest.raises(RuntimeError, match="mine"):
                    await pool.run(attempt_at(server, into=buffers, accepts=refuse))
            broken = attempt_at(server, headers={"x": "a\r\nb"})
            with pytest.raises(ValueError, match="line break"):
                await pool.run(broken)
            assert (await pool.run(attempt_at(server))).body == b"some"


async def test_inside_tls(on_loop, ca_bundle):
    data = bytes(range(250)) * 800
    with ScriptedServer(answer(206, data), tls=server_tls()) as server:
        async with opened_to(server, tls=tls_maker(ca_bundle)) as pool:
            buffer = bytearray(len(data))
            for _ in range(5):
                await pool.run(attempt_at(server, "PUT", into=[memoryview(buffer)], body=data[:60_000]))
                assert buffer == data
        assert server.connections == 1
    assert len(on_loop) == 5


async def test_many_at_once_share_the_connections(on_loop):
    with ScriptedServer(answer(200, bytes(2000))) as server:
        async with pool_of(8) as pool:
            for _ in range(3):
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(pool.run, attempt_at(server))
        assert server.connections <= 8
        assert len(server.requests) == 150
    assert len(on_loop) >= 142


async def test_long_and_small_exchanges_take_turns_on_one_connection(on_loop):
    data = bytes(range(256)) * (2 * MIB // 256)
    with ScriptedServer(answer(206, data)) as server:
        async with pool_of(1) as pool:
            for _ in range(3):
                buffer = bytearray(len(data))
                await pool.run(attempt_at(server, into=[memoryview(buffer)]))
                assert buffer == data
                assert (await pool.run(attempt_at(server))).body == data
        assert server.connections == 1
    assert len(on_loop) == 3
