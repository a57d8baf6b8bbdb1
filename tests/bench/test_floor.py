"""The requests of a row by themselves do in S3 what they say, and what is refused is no floor."""

import pytest

from bench import floor
from bench.datasets import remove, sizes
from bench.floor import Wave
from bench.programs import Failure
from bench.server import BUCKET
from tests.bed.radosgw import RadosGateway

PREFIX = "floor/"
KEYS = [f'{PREFIX}a "b" {n}' for n in range(4)]


@pytest.fixture
def s3(radosgw_s3):
    radosgw_s3.create_bucket(Bucket=BUCKET)
    for key in KEYS:
        radosgw_s3.put_object(Bucket=BUCKET, Key=key, Body=b"1234")
    yield radosgw_s3
    remove(radosgw_s3, "")


@pytest.fixture
def send(s3, radosgw, tmp_path):
    def send(asked):
        waves = asked(s3, PREFIX)
        floor.seconds(waves, radosgw, radosgw.endpoint_url, tmp_path)
        return [[request.method for request in wave.requests] for wave in waves]

    return send


@pytest.mark.parametrize("at_once", [1, floor.MANY])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_each_object_is_asked_for(send, method, at_once):
    assert send(floor.each(method, at_once)) == [[method] * 4]


def test_everything_is_got_in_four_parts(send, s3):
    assert send(floor.four_parts) == [["GET"] * 4]
    for key in KEYS[1:]:
        s3.delete_object(Bucket=BUCKET, Key=key)
    assert send(floor.four_parts) == [["GET"] * 4]
    [wave] = floor.four_parts(s3, PREFIX)
    assert [request.headers["range"] for request in wave.requests] == [f"bytes={n}-{n}" for n in range(4)]


def test_objects_are_put(send, s3):
    assert send(floor.puts(3, f"{PREFIX}new/")) == [["PUT"] * 3]
    assert list(sizes(s3, f"{PREFIX}new/").values()) == [4096] * 3


@pytest.mark.parametrize(
    ("asked", "then"), [(floor.removals, ["DELETE"] * 4), (floor.gathered_removals, ["POST"])]
)
def test_objects_are_removed(send, s3, asked, then):
    assert send(asked) == [["HEAD"] * 4, then]
    assert sizes(s3, PREFIX) == {}


def test_an_object_is_copied_into_a_part(send, s3):
    for key in KEYS[1:]:
        s3.delete_object(Bucket=BUCKET, Key=key)
    for _ in range(2):  # nothing is left of the one before
        assert send(floor.part_copy) == [["PUT"]]
        [upload] = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        place = {"Bucket": BUCKET, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        assert [part["Size"] for part in s3.list_parts(**place)["Parts"]] == [4]


@pytest.mark.parametrize("at_once", [1, 2])
def test_what_s3_refuses_is_no_floor(send, at_once):
    requests = [floor.ask("GET", key) for key in (KEYS[0], f"{PREFIX}missing", KEYS[1])]
    with pytest.raises(Failure, match=r"3 of 3 requests were answered; refused: \['404'\]"):
        send(lambda _s3, _prefix: [Wave(requests=requests, at_once=at_once)])


def test_every_request_of_a_wave_trusts_an_https_server(tmp_path):
    with RadosGateway(tls=True) as gateway:
        s3 = gateway.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        for asked in (floor.puts(3, PREFIX), floor.each("HEAD"), floor.each("HEAD", floor.MANY)):
            floor.seconds(asked(s3, PREFIX), gateway, gateway.endpoint_url, tmp_path)
        assert len(sizes(s3, PREFIX)) == 3
