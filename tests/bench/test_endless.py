"""The store that growth is measured against lists and serves as S3 does."""

import http.client
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.endless import EndlessStore
from bench.growth import STUDIES, Point, holdings, recall, section
from s3rolefs.s3 import wire

NAMES = st.text(alphabet="ab/-", min_size=1, max_size=5)


def listed(keys, prefix, delimiter):
    """What S3 shows of the keys, in order."""
    found = set()
    for key in keys:
        if key.startswith(prefix):
            head, cut, _rest = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            found.add(prefix + head + cut if delimiter else key)
    return sorted(found)


@settings(max_examples=300, deadline=None)
@given(st.sets(NAMES), st.text(alphabet="ab/", max_size=2), st.sampled_from(["", "/"]), st.integers(1, 3))
def test_pages_show_each_key_and_prefix_once_and_in_order(keys, prefix, delimiter, limit):
    store = EndlessStore(dict.fromkeys(keys, 0))
    found, token = store.page(prefix, delimiter, "", limit)
    while token:
        assert len(found) % limit == 0
        more, token = store.page(prefix, delimiter, token, limit)
        found += more
    assert found == listed(keys, prefix, delimiter)


@pytest.fixture(scope="module")
def store():
    with EndlessStore({f"d/{number:04}": number for number in range(2500)} | {"big": 100 << 30}) as store:
        yield store


@pytest.fixture
def ask(store):
    connection = http.client.HTTPConnection(urlsplit(store.endpoint_url).netloc, timeout=30)

    def ask(method, path, **headers):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()

    yield ask
    connection.close()


def test_our_client_understands_the_listing(ask):
    page = wire.parse_listing(ask("GET", "/b?list-type=2&encoding-type=url&prefix=d/")[1], asked_at_ns=0)
    assert (len(page.objects), page.objects[7].key, page.objects[7].size_bytes) == (1000, "d/0007", 7)
    rest = ask("GET", f"/b?list-type=2&prefix=d/&max-keys=2000&continuation-token={page.next_token}")[1]
    page = wire.parse_listing(rest, asked_at_ns=0)
    assert (len(page.objects), page.next_token) == (1500, None)
    top = wire.parse_listing(ask("GET", "/b?list-type=2&delimiter=/")[1], asked_at_ns=0)
    assert (list(top.prefixes), [entry.key for entry in top.objects]) == (["d/"], ["big"])


def test_a_range_of_a_large_file_is_sent(ask):
    answer, body = ask("GET", "/b/big", Range=f"bytes={99 << 30}-{(99 << 30) + 9}")
    assert (answer.status, body) == (206, bytes(10))
    assert answer.headers["Content-Range"] == f"bytes {99 << 30}-{(99 << 30) + 9}/{100 << 30}"
    answer, body = ask("HEAD", "/b/big")
    assert (answer.headers["Content-Length"], body) == (str(100 << 30), b"")


def test_what_is_not_there_is_missing_and_what_is_not_known_is_refused(ask):
    assert ask("HEAD", "/b/none")[0].status == 404
    assert ask("PUT", "/b/new")[0].status == 501


def test_requests_are_counted_by_kind(store, ask):
    store.taken()
    ask("HEAD", "/b/none")
    ask("GET", "/b/d/0003")
    ask("GET", "/b?list-type=2&max-keys=1")
    assert store.taken() == {"HEAD": 1, "GET": 1, "LIST": 1}
    assert store.taken() == {}


def test_the_studies_find_what_they_look_at():
    held = holdings()
    assert held["files/102400"] == 100 << 30
    assert len([key for key in held if key.startswith("keys/1000000/")]) == 1_000_000
    assert "readers/64" in held


def test_the_table_tells_the_time_per_unit(tmp_path):
    point = Point(
        study="ls", size=1000, latency_ms=0, seconds=0.5, cpu=0.1, peak_rss_bytes=50 << 20, kinds={"LIST": 1}
    )
    slow = replace(point, size=10_000, seconds=300.0, failure="> 300.0 s")
    text = "\n".join(section([point, slow], tmp_path / "growth.svg"))
    assert "| ls | 0 | 10,000 keys in the directory | > 300.0 s | – | – | 1 LIST | – |" in text
    assert "| ls | 0 | 1,000 keys in the directory | 0.50 | 500 µs / key | 0.10 | 1 LIST | 50 |" in text
    assert recall(tmp_path / "nothing.json") == []
    assert {study.name for study in STUDIES} >= {"ls", "middle", "readers"}
