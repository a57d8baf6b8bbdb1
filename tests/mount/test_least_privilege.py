"""Roles that may do little: the mount asks for nothing else, and does what they may."""

import pytest

from tests.bed.mounts import run
from tests.bed.relay import Relay


def allow(actions, *resources, **conditions):
    names = [f"arn:aws:s3:::{resource}" for resource in resources]
    statement = {"Effect": "Allow", "Action": actions, "Resource": names}
    return statement | ({"Condition": conditions} if conditions else {})


@pytest.fixture
def relay(radosgw):
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


def test_a_prefix_and_nothing_outside_it(role_place, make_role, bucket, relay, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="other/secret", Body=b"not yours")
    role_arn = make_role(
        allow(["s3:ListBucket"], bucket, StringLike={"s3:prefix": "team/*"}),
        allow(["s3:*"], f"{bucket}/team/*"),
    )
    options = {"role_arn": role_arn, "duration_seconds": 900, "endpoint_url": relay.url}
    with role_place.mounted(f"s3://{bucket}/team/", **options) as mount:
        (mount.path / "d").mkdir()
        (mount.path / "d" / "f").write_text("one")
        with (mount.path / "d" / "f").open("a") as file:
            file.write(" two")
        (mount.path / "d").rename(mount.path / "e")
        (mount.path / "large").write_bytes(bytes(20 << 20))
        assert (mount.path / "e" / "f").read_text() == "one two"
        assert sorted(path.name for path in mount.path.rglob("*")) == ["e", "f", "large"]
        run("rm", "-r", mount.path / "e")
        mount.ask("whoami")
        assert not (mount.path / ".." / "other").exists()
    s3_requests = [request for request in relay.requests if request.path != "/"]
    assert len(s3_requests) > 10
    for request in s3_requests:
        below = request.path.startswith(f"/{bucket}/team/")
        listing = request.path.rstrip("/") == f"/{bucket}" and "prefix=team%2F" in request.query
        batch = request.kind == "DELETE_MANY"
        assert below or listing or batch, request
    # 403 came only where S3 says it instead of 404: HEAD of an absent key without the whole s3:ListBucket.
    denied = [
        access
        for access in role_place.gateway.accesses()
        if f"/{bucket}" in access.target and access.status == 403
    ]
    batches = [access for access in denied if access.method == "POST"]
    assert all(access.method in ("HEAD", "POST") for access in denied)
    # radosgw denies a batch delete to whom it allows each single one: asked once, then never again.
    assert len(batches) <= 2


def test_a_read_only_role(role_place, make_role, bucket, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="d/f", Body=b"read me")
    role_arn = make_role(allow(["s3:ListBucket"], bucket), allow(["s3:GetObject"], f"{bucket}/*"))
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn) as mount:
        assert [path.name for path in mount.path.iterdir()] == ["d"]
        assert (mount.path / "d" / "f").read_text() == "read me"
        with pytest.raises(PermissionError):
            (mount.path / "d" / "f").unlink()
        with pytest.raises(PermissionError):
            (mount.path / "new").mkdir()
        with pytest.raises(PermissionError):
            (mount.path / "d" / "f").write_text("mine")
    assert radosgw_s3.get_object(Bucket=bucket, Key="d/f")["Body"].read() == b"read me"


def test_a_write_only_role(role_place, make_role, bucket, radosgw, visitor):
    role_arn = make_role(allow(["s3:PutObject"], f"{bucket}/*"))
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn) as mount:
        (mount.path / "report").write_text("today")
        (mount.path / "large").write_bytes(bytes(20 << 20))
        with pytest.raises(PermissionError):
            list(mount.path.iterdir())
    owner = radosgw.client("s3", visitor)  # what a role wrote belongs to who assumed it
    assert owner.get_object(Bucket=bucket, Key="report")["Body"].read() == b"today"
    assert owner.head_object(Bucket=bucket, Key="large")["ContentLength"] == 20 << 20
