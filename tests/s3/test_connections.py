"""Connections to real sockets, well-behaved and not."""

from __future__ import annotations

import gc
import socket
import ssl
import tempfile
import threading
import weakref
from contextlib import suppress

import pytest
import trio

from s3rolefs.model import MIB
from s3rolefs.s3.attempt import Answer, FailureKind, Origin
from s3rolefs.s3.connections import ConnectionPool
from s3rolefs.s3.store import FileSpan
from s3rolefs.s3.tls import tls_maker
from s3rolefs.s3.workers import Workers
from tests.bed.patience import wait_until
from tests.s3.pools import arrival, attempt_at, failure_of, pool_of, server_tls
from tests.s3.scripted import ScriptedServer, answer, hang_up, head, raw, slam, stall


async def test_one_connection_serves_requests_in_turn():
    with ScriptedServer(answer(200, b"hello", x_amz_id="7")) as server:
        async with pool_of() as pool:
            for _ in range(3):
                got = await pool.run(attempt_at(server))
                assert (got.status, got.body, got.headers["x-amz-id"]) == (200, b"hello", "7")
        assert [request.connection for request in server.requests] == [1, 1, 1]


async def test_as_many_threads_as_are_needed_and_no_more_than_allowed():
    together = threading.Barrier(3)

    def meet(received, connection):
        together.wait(5)
        return answer(200)(received, connection)

    with ScriptedServer(meet) as server:
        async with pool_of(3) as pool, trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(pool.run, attempt_at(server))
        assert server.connections == 3


async def test_a_kept_connection_that_the_server_closed_is_replaced():
    def answer_and_close(received, connection):
        answer(200)(received, connection)
        return False

    with ScriptedServer(answer_and_close) as server:
        async with pool_of() as pool:
            for _ in range(3):
                assert (await pool.run(attempt_at(server))).status == 200
        assert server.connections == 3


@pytest.mark.parametrize("end", [slam, hang_up])
async def test_a_kept_connection_that_ends_without_an_answer_is_repeated_at_once(end):
    with ScriptedServer(answer(200), end, answer(200, b"again")) as server:
        async with pool_of() as pool:
            await pool.run(attempt_at(server))
            got = await pool.run(attempt_at(server, "PUT", body=b"body"))
        assert (got.body, got.repeated) == (b"again", True)
        assert [request.connection for request in server.requests] == [1, 1, 2]
        assert server.requests[2].body == b"body"


async def test_a_fresh_connection_that_ends_without_an_answer_is_a_failure():
    with ScriptedServer(slam) as server:
        async with pool_of() as pool:
            failure = await failure_of(pool, attempt_at(server, "PUT", body=b"x"))
        assert (failure.kind, failure.sent) == (FailureKind.BROKEN, True)
        assert len(server.requests) == 1


async def test_a_started_answer_is_never_repeated():
    half = head(200, {"content-length": "10"}) + b"12345"
    with ScriptedServer(answer(200), raw(half), answer(200)) as server:
        async with pool_of() as pool:
            await pool.run(attempt_at(server))
            failure = await failure_of(pool, attempt_at(server))
        assert failure.kind is FailureKind.BROKEN
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "cut", [b"ETag", b'ETag: "1"', b'ETag: "1"\r\n', b'ETag: "1"\r\nx-amz-meta-mode: 33188\r\n']
)
@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
async def test_a_head_that_breaks_off_is_a_failure(method, cut):
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    with ScriptedServer(raw(start + cut), answer(200)) as server:
        async with pool_of() as pool:
            failure = await failure_of(pool, attempt_at(server, method))
        assert (failure.kind, failure.sent) == (FailureKind.BROKEN, True)
        assert "broke the connection off" in failure.message
        assert len(server.requests) == 1


async def test_chunked_answers_are_read_and_cut_ones_noticed():
    start = head(200, {"transfer-encoding": "chunked"})
    with ScriptedServer(
        raw(start + b"5\r\nhello\r\n0\r\n\r\n", keep=True), raw(start + b"5\r\nhello\r\n")
    ) as server:
        async with pool_of() as pool:
            assert (await pool.run(attempt_at(server))).body == b"hello"
            assert (await failure_of(pool, attempt_at(server))).kind is FailureKind.BROKEN
        assert server.connections == 1


async def test_a_stalled_server_is_given_up_after_the_timeout():
    with ScriptedServer(stall) as server:
        async with pool_of() as pool:
            failure = await failure_of(pool, attempt_at(server, io_timeout=0.2))
    assert (failure.kind, failure.sent) == (FailureKind.TIMEOUT, True)
    assert "0.2 s" in failure.message


async def test_bodies_fill_the_buffers_in_order():
    data = bytes(range(256)) * 4096
    filled: list[int] = []
    buffers = [memoryview(bytearray(size)) for size in (10, 600_000, len(data) - 600_010)]
    with ScriptedServer(answer(206, data)) as server:
        async with pool_of() as pool:
            got = await pool.run(attempt_at(server, into=buffers, announce=filled.append))
            assert (await pool.run(attempt_at(server, into=buffers))).filled_bytes == len(data)
        assert server.connections == 1
    assert b"".join(buffers) == data
    assert (got.filled_bytes, got.body, filled) == (len(data), b"", [0, 1, 2])


async def test_an_answer_that_is_not_accepted_fills_nothing():
    buffer = bytearray(4)
    with ScriptedServer(answer(206, b"evil")) as server:
        async with pool_of() as pool:
            attempt = attempt_at(server, into=[memoryview(buffer)], accepts=lambda *_: False)
            got = await pool.run(attempt)
    assert (got.filled_bytes, buffer) == (0, bytearray(4))


async def test_a_cut_body_tells_how_far_it_came():
    data = bytes(1_000_000)
    with ScriptedServer(raw(head(206, {"content-length": str(len(data))}) + data[:600_000])) as server:
        async with pool_of() as pool:
            attempt = attempt_at(server, into=[memoryview(bytearray(len(data)))])
            await failure_of(pool, attempt)
    assert attempt.filled_bytes == 600_000


@pytest.mark.parametrize("came_bytes", [0, 3 * MIB + 5])
async def test_a_long_body_that_stops_is_given_up_after_the_timeout(came_bytes):
    more = threading.Event()

    def stop(_received, connection):
        connection.sendall(head(206, {"content-length": str(8 * MIB)}) + bytes(came_bytes))
        more.wait(5)
        return False

    with ScriptedServer(stop) as server:
        async with pool_of() as pool:
            attempt = attempt_at(server, into=[memoryview(bytearray(MIB))] * 8, io_timeout=0.3)
            failure = await failure_of(pool, attempt)
            more.set()
    assert (failure.kind, attempt.filled_bytes) == (FailureKind.TIMEOUT, came_bytes)


async def test_a_long_body_comes_past_the_parser_whatever_came_with_its_head():
    data = bytes(range(256)) * (5 * MIB // 256)
    sizes = [1, MIB, 2 * MIB - 1, 2 * MIB]

    def in_two(_received, connection):
        whole = head(206, {"content-length": str(len(data))}) + data
        for begin, end in ((0, 150), (150, 5000), (5000, len(whole))):
            connection.sendall(whole[begin:end])
        return True

    with ScriptedServer(in_two) as server:
        async with pool_of() as pool:
            for _ in range(3):
                buffers = [memoryview(bytearray(size)) for size in sizes]
                await pool.run(attempt_at(server, into=buffers))
                assert b"".join(buffers) == data
        assert server.connections == 1


async def test_cancelling_a_waiting_request_returns_at_once_and_closes_the_connection():
    with ScriptedServer(stall) as server:
        async with pool_of() as pool:
            with trio.fail_after(2):
                with trio.move_on_after(0.1) as scope:
                    await pool.run(attempt_at(server, io_timeout=60))
                assert scope.cancelled_caught
                assert len(server.requests) == 1
                # The worker is free again, long before the timeout.
                with ScriptedServer(answer(204)) as other:
                    for _ in range(5):
                        assert (await pool.run(attempt_at(other))).status == 204


async def test_a_cancelled_transfer_leaves_the_buffers_alone():
    more = threading.Event()

    def trickle(_received, connection):
        connection.sendall(head(206, {"content-length": str(4 * MIB)}) + b"a" * MIB)
        more.wait(5)
        connection.sendall(b"b" * MIB)
        return False

    buffer = bytearray(4 * MIB)
    started = trio.Event()
    token = trio.lowlevel.current_trio_token()
    with ScriptedServer(trickle) as server:
        async with pool_of() as pool:
            views = [memoryview(buffer)[:1000], memoryview(buffer)[1000:]]
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    attempt = attempt_at(
                        server, into=views, announce=lambda _: token.run_sync_soon(started.set)
                    )
                    nursery.start_soon(pool.run, attempt)
                    await started.wait()
                    nursery.cancel_scope.cancel()
            seen = bytes(buffer)
            more.set()
        assert b"b" not in buffer
        assert bytes(buffer) == seen


async def test_a_request_cancelled_in_the_queue_is_never_sent():
    with ScriptedServer(stall) as server:
        async with pool_of(1) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(pool.run, attempt_at(server, target="/first", io_timeout=60))
            await arrival(server)
            with trio.move_on_after(0.05):
                await pool.run(attempt_at(server, target="/second"))
            nursery.cancel_scope.cancel()
        assert [request.target for request in server.requests] == ["/first"]


async def test_closing_ends_what_is_under_way():
    with ScriptedServer(stall) as server:
        pool = ConnectionPool(limit=2, tls=ssl.create_default_context, environ={})
        with trio.fail_after(2):
            async with trio.open_nursery() as nursery:

                async def wait():
                    with pytest.raises(trio.ClosedResourceError):
                        await pool.run(attempt_at(server, io_timeout=60))

                nursery.start_soon(wait)
                await arrival(server)
                await pool.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await pool.run(attempt_at(server))


async def test_an_error_that_comes_before_the_body_was_sent_is_read():
    def refuse(_received, connection):
        connection.sendall(head(403, {"content-length": "2"}) + b"no")
        # Not a byte of the body is read, so that the client cannot get rid of it.
        server.ending.wait(5)
        return False

    with ScriptedServer(refuse, reads_body=False) as server:
        async with pool_of() as pool:
            got = await pool.run(attempt_at(server, "PUT", body=bytes(64 * MIB), io_timeout=0.2))
    assert (got.status, got.body) == (403, b"no")


async def test_a_span_of_a_file_is_sent():
    with tempfile.TemporaryFile() as file, ScriptedServer(answer(200)) as server:
        file.write(b"0123456789" * 100_000)
        file.flush()
        span = FileSpan(fd=file.fileno(), offset=3, length=900_000)
        async with pool_of() as pool:
            await pool.run(attempt_at(server, "PUT", body=span))
            too_far = FileSpan(fd=file.fileno(), offset=999_999, length=10)
            assert (await failure_of(pool, attempt_at(server, "PUT", body=too_far))).kind is FailureKind.BODY
        assert server.requests[0].body == (b"0123456789" * 100_000)[3:900_003]


async def test_nobody_listening():
    with ScriptedServer(answer(200)) as server:
        gone = attempt_at(server)
    async with pool_of() as pool:
        failure = await failure_of(pool, gone)
    assert failure.kind is FailureKind.REFUSED
    assert "connection refused" in failure.message


async def test_the_addresses_of_a_server_are_tried_in_turn(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()
    with ScriptedServer(answer(200, b"second")) as server:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        addresses = [(*kind, dead), (*kind, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        async with pool_of() as pool:
            assert (await pool.run(attempt_at(server, host="two.example.com"))).body == b"second"


async def test_a_name_that_is_none():
    with ScriptedServer(answer(200)) as server:
        async with pool_of() as pool:
            failure = await failure_of(pool, attempt_at(server, host="no..name"))
    assert failure.kind is FailureKind.DNS
    assert "no..name" in failure.message


async def test_what_does_not_speak_http():
    with ScriptedServer(raw(b"SSH-2.0-OpenSSH_9.2\r\n")) as server:
        async with pool_of() as pool:
            failure = await failure_of(pool, attempt_at(server))
    assert failure.kind is FailureKind.BROKEN


async def test_tls_with_an_authority_of_ones_own(ca_bundle):
    data = bytes(range(250)) * 4000
    with ScriptedServer(answer(206, data), tls=server_tls()) as server:
        async with pool_of(tls=tls_maker(ca_bundle)) as pool:
            buffer = bytearray(len(data))
            for _ in range(2):
                await pool.run(attempt_at(server, "PUT", into=[memoryview(buffer)], body=data))
        assert server.requests[1].body == data
        assert server.connections == 1
    assert buffer == data


async def test_cancelling_inside_tls(ca_bundle):
    with ScriptedServer(stall, tls=server_tls()) as server:
        async with pool_of(tls=tls_maker(ca_bundle)) as pool:
            with trio.fail_after(2), trio.move_on_after(0.2) as scope:
                await pool.run(attempt_at(server, io_timeout=60))
    assert scope.cancelled_caught


async def test_an_unknown_authority_is_refused():
    with ScriptedServer(answer(200), tls=server_tls()) as server:
        async with pool_of() as pool:
            failure = await failure_of(pool, attempt_at(server))
    assert failure.kind is FailureKind.TLS
    assert "not trusted" in failure.message


async def test_no_tls_where_it_was_expected(ca_bundle):
    with ScriptedServer(answer(200), greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        origin = Origin(scheme="https", host="127.0.0.1", port=server.port)
        attempt = attempt_at(server)
        attempt.origin = origin
        async with pool_of(tls=tls_maker(ca_bundle)) as pool:
            failure = await failure_of(pool, attempt)
    assert failure.kind is FailureKind.TLS


def connect_through(received, connection):
    """Be a proxy: make the tunnel that was asked for and carry bytes both ways."""
    host, _, port = received.target.partition(":")
    with socket.create_connection((host, int(port)), 5) as upstream:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def carry(source, target):
            try:
                while data := source.recv(65536):
                    target.sendall(data)
            except OSError:
                pass
            finally:
                for end in (source, target):
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=carry, args=(upstream, connection))
        back.start()
        carry(connection, upstream)
        back.join(5)
    return False


async def test_https_goes_through_the_proxy_in_a_tunnel(ca_bundle):
    with (
        ScriptedServer(answer(200, b"in"), tls=server_tls()) as server,
        ScriptedServer(connect_through) as proxy,
    ):
        environ = {"HTTPS_PROXY": f"http://me:p%40ss@127.0.0.1:{proxy.port}"}
        async with pool_of(environ=environ, tls=tls_maker(ca_bundle)) as pool:
            for _ in range(2):
                assert (await pool.run(attempt_at(server))).body == b"in"
        assert [request.method for request in proxy.requests] == ["CONNECT"]
        assert proxy.requests[0].target == f"127.0.0.1:{server.port}"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
        assert "proxy-authorization" not in server.requests[0].headers


async def test_a_proxy_that_refuses_is_named_without_its_password(ca_bundle):
    with ScriptedServer(answer(407)) as proxy, ScriptedServer(answer(200), tls=server_tls()) as server:
        environ = {"https_proxy": f"http://me:secret@127.0.0.1:{proxy.port}"}
        async with pool_of(environ=environ, tls=tls_maker(ca_bundle)) as pool:
            failure = await failure_of(pool, attempt_at(server))
    assert failure.kind is FailureKind.PROXY
    assert "407" in failure.message
    assert "secret" not in failure.message


async def test_http_goes_to_the_proxy_in_absolute_form():
    with ScriptedServer(answer(200, b"from proxy")) as proxy:
        environ = {"http_proxy": f"http://u:p@127.0.0.1:{proxy.port}"}
        async with pool_of(environ=environ) as pool:
            attempt = attempt_at(proxy, target="/b/k?x=1", host="s3.example.com")
            attempt.origin = Origin(scheme="http", host="s3.example.com", port=80)
            assert (await pool.run(attempt)).body == b"from proxy"
        assert proxy.requests[0].target == "http://s3.example.com/b/k?x=1"
        assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")


async def test_no_proxy_is_honoured():
    with ScriptedServer(answer(200, b"direct")) as server:
        environ = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.com,127.0.0.1"}
        async with pool_of(environ=environ) as pool:
            assert (await pool.run(attempt_at(server))).body == b"direct"


async def test_whitespace_keeps_a_long_answer_alive():
    def slow(_received, connection):
        connection.sendall(head(200, {"transfer-encoding": "chunked"}))
        for _ in range(6):
            if server.ending.wait(0.1):
                return False
            connection.sendall(b"1\r\n \r\n")
        connection.sendall(b"4\r\n<a/>\r\n0\r\n\r\n")
        return True

    with ScriptedServer(slow) as server:
        async with pool_of() as pool:
            got = await pool.run(attempt_at(server, io_timeout=0.3))
    assert got.body.strip() == b"<a/>"
    assert isinstance(got, Answer)


@pytest.mark.parametrize("size", [100, 300_000])
async def test_what_was_sent_once_may_have_been_done_whatever_becomes_of_its_repetition(size):
    """The server takes a request, resets the connection, and is gone when it is dialled again."""
    closing = threading.Event()

    def take_and_go(received, connection):
        server._listener.shutdown(socket.SHUT_RDWR)
        server._listener.close()
        closing.set()
        return slam(received, connection)

    with ScriptedServer(answer(200), take_and_go) as server:
        async with pool_of() as pool:
            await pool.run(attempt_at(server))
            failure = await failure_of(pool, attempt_at(server, "PUT", body=bytes(size)))
    assert closing.is_set()
    assert (failure.kind, failure.sent) == (FailureKind.REFUSED, True)


@pytest.mark.parametrize("on_loop", [False, True])
async def test_nothing_holds_bodies_and_buffers_when_an_exchange_is_over(on_loop):
    class Buffer(bytearray):
        pass

    gc.collect()
    gc.disable()
    try:
        with ScriptedServer(answer(200, b"0123456789"), answer(206, b"0123456789"), hang_up) as server:
            async with pool_of() as pool:
                if on_loop:
                    await pool.run(attempt_at(server))
                buffer = Buffer(10)
                gone = weakref.ref(buffer)
                await pool.run(attempt_at(server, into=[memoryview(buffer)]))
                del buffer
                # A thread lets go of it a moment after it has told.
                await trio.to_thread.run_sync(wait_until, lambda: gone() is None, 5.0)
    finally:
        gc.enable()


async def test_a_machine_without_room_for_threads_fails_a_request_and_nothing_else(monkeypatch):
    def refuse(_self, _job):
        raise RuntimeError("can't start new thread")

    with ScriptedServer(answer(200), slam, answer(200, b"later")) as server:
        async with pool_of(1) as pool:
            await pool.run(attempt_at(server))
            with monkeypatch.context() as patch:
                patch.setattr(Workers, "put", refuse)
                # The first was sent on the loop, and would be repeated by a thread.
                for sent in (True, False, False):
                    failure = await failure_of(pool, attempt_at(server))
                    assert (failure.kind, failure.sent) == (FailureKind.BROKEN, sent)
                    assert "thread" in failure.message
            assert (await pool.run(attempt_at(server))).body == b"later"


async def test_a_thread_that_does_not_start_is_not_counted(monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("s3-worker"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with ScriptedServer(answer(200)) as server:
        async with pool_of(1) as pool:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuse)
                await failure_of(pool, attempt_at(server))
            assert (await pool.run(attempt_at(server))).status == 200


async def test_what_nobody_waits_for_is_not_sent():
    with ScriptedServer(answer(200)) as server:
        async with pool_of() as pool:
            await pool.run(attempt_at(server))
            with trio.CancelScope() as scope:
                scope.cancel()
                await pool.run(attempt_at(server, "DELETE"))
        assert [request.method for request in server.requests] == ["GET"]


async def test_many_that_cannot_be_made_do_not_pile_up():
    async def broken(pool, server):
        with pytest.raises(ValueError, match="line break"):
            await pool.run(attempt_at(server, headers={"x": "a\r\nb"}))

    with ScriptedServer(answer(200)) as server:
        async with pool_of(1) as pool:
            await pool.run(attempt_at(server))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.run, attempt_at(server))
                for _ in range(1000):
                    nursery.start_soon(broken, pool, server)
            assert (await pool.run(attempt_at(server))).status == 200
