"""Large files that are sent while they are still being written, on a real server."""

import os

MIB = 1 << 20


def stored(radosgw_s3, bucket, key):
    return radosgw_s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_cut_after_parts_were_sent(place, bucket, radosgw_s3):
    content = os.urandom(40 * MIB)
    with place.mounted(f"s3://{bucket}") as mount:
        with (mount.path / "file").open("wb") as file:
            file.write(content)
            file.flush()
            file.truncate(20 * MIB)
        assert (mount.path / "file").read_bytes() == content[: 20 * MIB]
    assert stored(radosgw_s3, bucket, "file") == content[: 20 * MIB]
    assert radosgw_s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_written_again_after_parts_were_sent(place, bucket, radosgw_s3):
    content = bytearray(os.urandom(40 * MIB))
    with place.mounted(f"s3://{bucket}") as mount:
        with (mount.path / "file").open("wb") as file:
            file.write(content)
            file.flush()
            file.seek(3)
            file.write(b"head")
            content[3:7] = b"head"
            file.seek(0, os.SEEK_END)
            file.write(b"tail")
            content += b"tail"
        os.utime(mount.path / "file", ns=(1, 1_234_567_890_123_456_789))
    assert stored(radosgw_s3, bucket, "file") == content
    with place.mounted(f"s3://{bucket}") as mount:
        assert (mount.path / "file").stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_replaced_while_it_is_known(place, bucket, radosgw_s3):
    """An emptied file is streamed, too, and keeps what its object has beside the bytes."""
    radosgw_s3.put_object(
        Bucket=bucket, Key="file", Body=b"old", ContentType="text/x-old", Metadata={"a": "b"}
    )
    content = os.urandom(24 * MIB)
    with place.mounted(f"s3://{bucket}") as mount:
        (mount.path / "file").write_bytes(content)
    assert stored(radosgw_s3, bucket, "file") == content
    head = radosgw_s3.head_object(Bucket=bucket, Key="file")
    assert head["ContentType"] == "text/x-old"
    assert head["Metadata"]["a"] == "b"
