from __future__ import annotations

import hashlib
import http.client
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from tests.bed.relay import Relay, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bed.radosgw import RadosGateway

MIB = 1024 * 1024


@pytest.fixture
def relay(radosgw: RadosGateway) -> Iterator[Relay]:
    with Relay.to(radosgw.endpoint_url) as relay:
        yield relay


@pytest.fixture
def s3(radosgw: RadosGateway, relay: Relay) -> Any:
    return radosgw.client("s3", endpoint_url=relay.url)


def test_every_kind_of_request_is_counted(radosgw: RadosGateway, relay: Relay, bucket: str, s3: Any):
    s3.put_object(Bucket=bucket, Key="a b", Body=b"text")
    s3.get_object(Bucket=bucket, Key="a b")["Body"].read()
    s3.head_object(Bucket=bucket, Key="a b")
    s3.list_objects_v2(Bucket=bucket)
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "a b"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    of_upload = {"Bucket": bucket, "Key": "m", "UploadId": upload}
    part = s3.upload_part(**of_upload, PartNumber=1, Body=b"1")
    s3.complete_multipart_upload(
        **of_upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    of_upload = {"Bucket": bucket, "Key": "m", "UploadId": upload}
    s3.upload_part_copy(**of_upload, PartNumber=1, CopySource={"Bucket": bucket, "Key": "c"})
    s3.abort_multipart_upload(**of_upload)
    s3.delete_object(Bucket=bucket, Key="c")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a b"}]})
    role = radosgw.create_role("relayed", {"Version": "2012-10-17", "Statement": []}, "admin")
    radosgw.client("sts", endpoint_url=relay.url).assume_role(RoleArn=role, RoleSessionName="session")
    s3.head_bucket(Bucket=bucket)

    assert relay.counts == {
        "PUT": 1,
        "GET": 1,
        "HEAD": 1,
        "LIST": 1,
        "COPY": 1,
        "CREATE_UPLOAD": 2,
        "UPLOAD_PART": 1,
        "UPLOAD_PART_COPY": 1,
        "COMPLETE_UPLOAD": 1,
        "ABORT_UPLOAD": 1,
        "DELETE": 1,
        "DELETE_MANY": 1,
        "AssumeRole": 1,
        "OTHER": 1,
    }
    assert relay.requests[0].path == f"/{bucket}/a b"
    relay.reset()
    assert relay.requests == []


def test_the_list_of_buckets_is_no_object():
    assert kind_of("GET", "/", "", {}) == "OTHER"
    assert kind_of("GET", "/bucket/", "location", {}) == "OTHER"


def test_bodies_pass_unchanged_and_fast(relay: Relay, bucket: str, s3: Any, radosgw_s3: Any):
    body = bytes(range(256)) * (64 * MIB // 256)
    s3.put_object(Bucket=bucket, Key="large", Body=body)

    def fetch_seconds(client: Any) -> float:
        started = time.monotonic()
        answer = client.get_object(Bucket=bucket, Key="large")["Body"].read()
        seconds = time.monotonic() - started
        assert hashlib.sha256(answer).digest() == hashlib.sha256(body).digest()
        return seconds

    directly = max(fetch_seconds(radosgw_s3) for _ in range(2))
    assert min(fetch_seconds(s3) for _ in range(2)) < 5 * directly


def test_latency_is_paid_by_each_request_and_connection(relay: Relay, bucket: str, s3: Any):
    s3.head_bucket(Bucket=bucket)
    relay.latency_seconds = 0.1
    started = time.monotonic()
    for _ in range(3):
        s3.head_bucket(Bucket=bucket)
    assert time.monotonic() - started >= 0.3


def test_a_black_hole_holds_everything_until_it_ends(relay: Relay, bucket: str):
    connection = http.client.HTTPConnection(relay.url.removeprefix("http://"), timeout=0.3)
    relay.blackhole()
    connection.request("GET", f"/{bucket}")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    relay.flow()
    connection.sock.settimeout(5)
    assert connection.getresponse().status == 403
    connection.close()


def test_connections_are_refused_and_taken_again(relay: Relay, bucket: str, s3: Any):
    s3.head_bucket(Bucket=bucket)
    relay.refuse()
    with pytest.raises(EndpointConnectionError):
        s3.head_bucket(Bucket=bucket)
    relay.accept()
    s3.head_bucket(Bucket=bucket)


def test_an_answer_is_lost_after_the_server_acted(relay: Relay, bucket: str, s3: Any):
    relay.cut_answers("DELETE", times=1)
    s3.put_object(Bucket=bucket, Key="a", Body=b"text")
    with pytest.raises(ConnectionClosedError):
        s3.delete_object(Bucket=bucket, Key="a")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.delete_object(Bucket=bucket, Key="a")


def test_an_answer_breaks_off_after_so_many_bytes(relay: Relay, bucket: str, s3: Any):
    body = bytes(4 * MIB)
    s3.put_object(Bucket=bucket, Key="a", Body=body)
    relay.cut_answers("GET", after_bytes=MIB)
    connection = http.client.HTTPConnection(relay.url.removeprefix("http://"), timeout=5)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"})
    connection.request("GET", url.removeprefix(relay.url))
    with pytest.raises(http.client.IncompleteRead) as caught:
        connection.getresponse().read()
    assert MIB - 2000 < len(caught.value.partial) < MIB
    connection.close()
