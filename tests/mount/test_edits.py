"""Small edits of a large object, by the bytes that pass between the mount and the server."""

import hashlib
import os

import pytest

from tests.bed.relay import Relay

MIB = 1 << 20
SIZE = 256 * MIB
PIECE = os.urandom(16 * MIB)
BESIDE = {
    "ContentType": "application/x-thing",
    "CacheControl": "max-age=60",
    "ContentDisposition": "attachment",
}


@pytest.fixture
def large(radosgw_s3, bucket):
    """Put an object of 256 MiB together from sixteen copies of a piece."""
    s3, place = radosgw_s3, {"Bucket": bucket, "Key": "large"}
    s3.put_object(Bucket=bucket, Key="piece", Body=PIECE)
    upload = {
        **place,
        "UploadId": s3.create_multipart_upload(**place, **BESIDE, Metadata={"owner": "somebody"})["UploadId"],
    }
    parts = []
    for number in range(1, SIZE // len(PIECE) + 1):
        source = {"Bucket": bucket, "Key": "piece"}
        result = s3.upload_part_copy(**upload, PartNumber=number, CopySource=source)["CopyPartResult"]
        parts.append({"PartNumber": number, "ETag": result["ETag"]})
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    return bytearray(PIECE * (SIZE // len(PIECE)))


def append(path, expected):
    """Add 1 KiB."""
    with path.open("ab") as file:
        file.write(b"e" * 1024)
    expected += b"e" * 1024


def overwrite(path, expected):
    """Write 4 KiB in the middle."""
    with path.open("r+b") as file:
        file.seek(100 * MIB + 123)
        file.write(b"m" * 4096)
    expected[100 * MIB + 123 : 100 * MIB + 123 + 4096] = b"m" * 4096


def cut(path, expected):
    """Cut off a fifth."""
    os.truncate(path, 200 * MIB - 3)
    del expected[200 * MIB - 3 :]


def extend(path, expected):
    """Add a hole of 1 MiB."""
    os.truncate(path, len(expected) + MIB)
    expected += bytes(MIB)


def test_an_edit_moves_little_more_than_what_it_changes(place, bucket, radosgw, radosgw_s3, large):
    with (
        Relay.to(radosgw.endpoint_url) as relay,
        place.mounted(f"s3://{bucket}", endpoint_url=relay.url) as mount,
    ):
        path = mount.path / "large"
        # A part has 5 MiB at least: what is around a change in the middle is fetched and sent with it.
        limits = {append: 64 * 1024, overwrite: 12 * MIB, cut: 64 * 1024, extend: 2 * MIB}
        for edit, limit in limits.items():
            relay.reset()
            edit(path, large)
            assert relay.counts["COMPLETE_UPLOAD"] == 1
            assert relay.passed_bytes < limit
            found = radosgw_s3.head_object(Bucket=bucket, Key="large")
            assert {name: found[name] for name in BESIDE} == BESIDE
            assert found["Metadata"]["owner"] == "somebody"
            assert found["ContentLength"] == len(large)
    digest = hashlib.md5()
    for piece in radosgw_s3.get_object(Bucket=bucket, Key="large")["Body"].iter_chunks(MIB):
        digest.update(piece)
    assert digest.digest() == hashlib.md5(large).digest()


def test_a_role_that_radosgw_lets_not_copy_parts_appends_all_the_same(
    role_place, make_role, radosgw_s3, bucket
):
    below = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    role_arn = make_role({"Effect": "Allow", "Action": ["s3:*"], "Resource": below})
    radosgw_s3.put_object(Bucket=bucket, Key="large", Body=PIECE * 2)
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn) as mount:
        with (mount.path / "large").open("ab") as file:
            file.write(b"tail")
        assert mount.ask("status")["unsent"] == []
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn) as mount:
        assert (mount.path / "large").read_bytes() == PIECE * 2 + b"tail"
