"""Public buckets, mounted without any credentials."""

import json

import pytest

from tests.bed.mounts import PROGRAM, run

UNSIGNED = {"no_sign_request": True, "credentials_file": None}


@pytest.fixture
def public(radosgw_s3, bucket):
    radosgw_s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    radosgw_s3.put_object(Bucket=bucket, Key="hello", Body=b"everybody", ACL="public-read")
    radosgw_s3.put_object(Bucket=bucket, Key="private", Body=b"not for you")
    return bucket


def test_a_public_bucket_is_read_with_unsigned_requests(place, public, radosgw, monkeypatch):
    # Keys that happen to lie around are not used.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", radosgw.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", radosgw.secret_key)
    with place.mounted(f"s3://{public}", **UNSIGNED) as mount:
        assert (mount.path / "hello").read_bytes() == b"everybody"
        with pytest.raises(PermissionError):
            (mount.path / "private").read_bytes()
        with pytest.raises(PermissionError):
            (mount.path / "new").write_bytes(b"x")
        assert mount.ask("whoami")["kind"] == "anonymous"
        role = mount.ask("status")["roles"][0]
        assert (role["state"], role["fetches"]) == ("unsigned", 0)
        assert "unsigned" in run(PROGRAM, "status", mount.path).stdout
        refused = run(PROGRAM, "refresh", mount.path, check=False)
        assert "requests are not signed (no_sign_request)" in refused.stderr
    reads = [access for access in radosgw.accesses() if access.target.startswith(f"/{public}/hello")]
    assert {access.user for access in reads if access.method == "GET"} == {"anonymous"}


def test_a_private_bucket_is_refused_with_the_way_out(place, bucket):
    result = run(*place.command(f"s3://{bucket}", mount_wait=6, **UNSIGNED), check=False)
    assert result.returncode == 32
    assert result.stderr.splitlines() == [
        f"s3rolefs: The bucket {bucket} is not public for listing: leave no_sign_request out and give a role."
    ]


def test_whoami_says_nobody():
    assert json.loads(run(PROGRAM, "whoami", "-o", "no_sign_request", "--json").stdout)["arn"] is None
    assert "nobody (anonymous)" in run(PROGRAM, "whoami", "-o", "no_sign_request").stdout


@pytest.mark.parametrize("other", ["profile=a", "role_arn=arn:aws:iam::111122223333:role/data"])
def test_credentials_beside_it_are_refused(place, other):
    result = run(PROGRAM, "whoami", "-o", f"no_sign_request,{other}", check=False)
    assert result.returncode == 1
    assert f"leave it out, or {other}." in result.stderr
