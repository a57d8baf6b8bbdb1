"""The line of the benchmark adds a round trip, and lets any number of bytes be on their way at once."""

import socket
import subprocess
import sys
import threading
import time

import pytest

ROUND_TRIP_MS = 200
PIECES = 64
PIECE = bytes(256 * 1024)


@pytest.fixture
def port():
    """The port of a line to a server that sends back all it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_echo, args=(listener,), daemon=True).start()
        command = [sys.executable, "-m", "bench.line", str(listener.getsockname()[1]), str(ROUND_TRIP_MS)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def line(port):
    """A connection through the line."""
    with _connection(port) as client:
        yield client


def _connection(port):
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def _echo(listener):
    peer, _address = listener.accept()
    with peer:
        while piece := peer.recv(1 << 20):
            peer.sendall(piece)


def test_a_new_connection_costs_a_round_trip_more_than_an_old_one(port):
    # The clock starts before the connection: the line counts from when it takes it.
    began = time.monotonic()
    with _connection(port) as line:
        line.sendall(b"a")
        assert line.recv(1) == b"a"
        first = time.monotonic() - began
        began = time.monotonic()
        line.sendall(b"b")
        assert line.recv(1) == b"b"
        second = time.monotonic() - began
    assert first >= 2 * ROUND_TRIP_MS / 1000
    assert ROUND_TRIP_MS / 1000 <= second < first + 1


def test_bytes_do_not_wait_for_one_another(line):
    began = time.monotonic()
    threading.Thread(target=line.sendall, args=(PIECE * PIECES,)).start()
    left = len(PIECE) * PIECES
    while left:
        left -= len(line.recv(1 << 20))
    # One after the other the pieces would take 64 half round trips each way.
    assert time.monotonic() - began < PIECES * ROUND_TRIP_MS / 1000 / 2


def test_the_end_of_one_side_reaches_the_other(line):
    line.sendall(b"last")
    line.shutdown(socket.SHUT_WR)
    assert line.recv(4) == b"last"
    assert line.recv(1) == b""
