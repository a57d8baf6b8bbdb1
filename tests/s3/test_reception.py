"""One answer, however its bytes come."""

from __future__ import annotations

import pytest

from s3rolefs.s3.attempt import Attempt, Origin
from s3rolefs.s3.reception import CutOffError, NotHttpError, Reception

ORIGIN = Origin(scheme="http", host="127.0.0.1", port=1)


def reception(method="GET", *, size=0):
    buffer = bytearray(size)
    attempt = Attempt(
        origin=ORIGIN,
        method=method,
        target="/",
        make_headers=dict,
        into=[memoryview(buffer)] if size else (),
        io_timeout_seconds=1,
        answer_timeout_seconds=1,
    )
    return Reception(attempt), buffer


def raw(text):
    return memoryview(text.replace("\n", "\r\n").encode("latin-1"))


def received(text, method="GET", *, size=0, at_once=True):
    taking, buffer = reception(method, size=size)
    data = raw(text)
    for piece in [data] if at_once else [data[at : at + 1] for at in range(len(data))]:
        taking.feed(piece)
    return taking, buffer


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("method", "text", "status", "body", "reusable"),
    [
        ("GET", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 200, b"hello", True),
        ("GET", "HTTP/1.1 200\nContent-Length: 0\n\n", 200, b"", True),
        ("HEAD", "HTTP/1.1 200 OK\nContent-Length: 5\n\n", 200, b"", True),
        ("PUT", "HTTP/1.1 204 No Content\n\n", 204, b"", True),
        ("GET", "HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n", 304, b"", True),
        ("PUT", "HTTP/1.1 100 Continue\nx: y\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok", True),
        ("GET", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", 200, b"hello", True),
        ("GET", "HTTP/1.1 200 OK\nTransfer-Encoding: Chunked \n\n5\nhello\n0\n\n", 200, b"hello", True),
        ("GET", "HTTP/1.1 200 OK\nContent-Length: 5 \nConnection: close\n\nhello", 200, b"hello", False),
        ("GET", "HTTP/1.0 200 OK\nContent-Length: 5\n\nhello", 200, b"hello", False),
        ("GET", "HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 5\n\nhello", 200, b"hello", True),
    ],
)
def test_answers_are_taken_whole(method, text, status, body, reusable, at_once):
    taking, _ = received(text, method, at_once=at_once)
    answer = taking.answer(repeated=False)
    assert taking.is_whole
    assert (answer.status, answer.body, taking.is_reusable) == (status, body, reusable)


@pytest.mark.parametrize(
    "text",
    [
        "HTTP/1.1 200 OK\nContent-Length: 10 \n\n12345",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked \n\n5\n12345\n",
        "HTTP/1.1 200 OK\nContent-Le",
        "HTTP/1.1 100 Continue\n\n",
        "",
    ],
)
def test_what_breaks_off_is_not_taken_for_whole(text):
    taking, _ = received(text) if text else reception()
    assert not taking.is_whole
    with pytest.raises(CutOffError):
        taking.end()


def test_without_a_length_the_end_of_the_connection_ends_the_answer():
    taking, _ = received("HTTP/1.1 200 OK\n\nhel")
    taking.feed(memoryview(b"lo"))
    assert not taking.is_whole
    taking.end()
    assert (taking.is_whole, taking.is_reusable, taking.answer(repeated=True).body) == (True, False, b"hello")


@pytest.mark.parametrize(
    "more",
    [
        "HTTP/1.1 408 Timeout\nContent-Length: 2\nETag: x\n\nno",
        "HTTP/1.1 204 No Content\nETag: x\n\n",
        "anything else",
        "\n\nHTTP/1.1",
    ],
)
@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize("close", ["", "Connection: close\n"])
def test_what_comes_after_an_answer_changes_nothing_of_it(more, size, close):
    text = f"HTTP/1.1 200 OK\nETag: one\n{close}Content-Length: 2\n\nok"
    taking, buffer = received(text + more, size=size)
    answer = taking.answer(repeated=False)
    assert taking.is_whole
    assert not (taking.is_reusable and more != "\n\nHTTP/1.1")
    assert (answer.status, answer.headers["etag"], answer.body or bytes(buffer)) == (200, "one", b"ok")


def test_trailers_are_no_headers():
    text = "HTTP/1.1 200 OK\nETag: a\nTransfer-Encoding: chunked\n\n2\nok\n0\nETag: b\n\n"
    taking, _ = received(text)
    assert taking.answer(repeated=False).headers["etag"] == "a"
    assert taking.is_whole


@pytest.mark.parametrize("size", [4, 5, 6])
def test_a_body_fills_buffers_of_another_size_as_far_as_they_go(size):
    text = "HTTP/1.1 206 Partial\nContent-Length: 5\n\n01234"
    taking, buffer = received(text, size=size)
    assert taking.is_whole
    # What has too little in it fills nothing; what has more leaves a connection with a rest on it.
    assert bytes(buffer) == {4: b"0123", 5: b"01234", 6: bytes(6)}[size]
    assert taking.is_reusable == (size == 5)


@pytest.mark.parametrize(
    "text",
    [
        "SSH-2.0-OpenSSH_9.2\n",
        "HTTP/1.1 101 Other\nUpgrade: h2c\nConnection: Upgrade\n\n",
        "<html>",
    ],
)
def test_what_is_not_http_is_refused(text):
    with pytest.raises(NotHttpError):
        received(text)


def test_a_head_that_does_not_end_is_refused():
    taking, _ = received("HTTP/1.1 200 OK\n")
    for _ in range(500):
        taking.feed(raw("x-endless: yes, it goes on\n" * 18))
    with pytest.raises(NotHttpError, match="does not end"):
        taking.feed(raw("x-endless: yes, it goes on\n" * 1000))


def test_headers_of_one_name_are_joined_and_folded_ones_are_one():
    taking, _ = received("HTTP/1.1 200 OK\nA: 1\nA: 2\nB: one\n two\nContent-Length: 0\n\n")
    assert taking.headers["a"] == "1, 2"
    assert taking.headers["b"].split() == ["one", "two"]
