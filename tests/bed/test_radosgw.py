from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.bed.patience import wait_until
from tests.bed.radosgw import Access, Keys, RadosGateway

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_SECONDS = 3


def _may(*actions: str, resource: str = "*") -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": [f"arn:aws:s3:::{resource}"]}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _assume(gateway: RadosGateway, keys: Keys, role_arn: str) -> Keys:
    answer = gateway.client("sts", keys).assume_role(
        RoleArn=role_arn, RoleSessionName="session", DurationSeconds=SESSION_SECONDS
    )["Credentials"]
    return Keys(
        access_key=answer["AccessKeyId"],
        secret_key=answer["SecretAccessKey"],
        session_token=answer["SessionToken"],
    )


def _status(call: Callable[[], dict[str, Any]]) -> int:
    try:
        answer = call()
    except ClientError as error:
        answer = error.response
    return answer["ResponseMetadata"]["HTTPStatusCode"]


def test_a_role_session_may_what_its_policy_says_until_it_expires(radosgw: RadosGateway, bucket: str):
    radosgw.client("s3").put_object(Bucket=bucket, Key="team/a", Body=b"text")
    worker = radosgw.create_user("expiry-worker")
    role = radosgw.create_role(
        "expiry-reader", _may("s3:GetObject", resource=f"{bucket}/team/*"), "expiry-worker"
    )
    before_at = time.monotonic()
    session = radosgw.client("s3", _assume(radosgw, worker, role))
    after_at = time.monotonic()

    assert session.get_object(Bucket=bucket, Key="team/a")["Body"].read() == b"text"
    assert _status(lambda: session.get_object(Bucket=bucket, Key="other")) == 403
    assert _status(lambda: session.put_object(Bucket=bucket, Key="team/b", Body=b"")) == 403

    served_until = after_at

    def expired() -> bool:
        nonlocal served_until
        asked_at = time.monotonic()
        if _status(lambda: session.get_object(Bucket=bucket, Key="team/a")) == 403:
            return True
        served_until = asked_at
        return False

    # Expiry is the server's business: there is nothing to wait on but the request itself.
    wait_until(expired, 10 * SESSION_SECONDS)
    # It was given between `before` and `after`, and has ended between the last answer and the refusal.
    assert time.monotonic() - before_at >= SESSION_SECONDS - 1
    assert served_until - after_at <= SESSION_SECONDS + 1


def test_a_stranger_may_not_assume_a_role(radosgw: RadosGateway):
    radosgw.create_user("trusted")
    stranger = radosgw.create_user("stranger")
    role = radosgw.create_role("guarded", _may("s3:*"), "trusted")
    assert (
        _status(lambda: radosgw.client("sts", stranger).assume_role(RoleArn=role, RoleSessionName="session"))
        == 403
    )


def test_two_side_by_side_know_nothing_of_each_other(radosgw: RadosGateway):
    with RadosGateway(tls=True) as other:
        other.client("s3").create_bucket(Bucket="elsewhere")
        assert other.endpoint_url.startswith("https://")
        assert _status(lambda: radosgw.client("s3").head_bucket(Bucket="elsewhere")) == 404
        directory = other.directory
    assert not directory.exists()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(other.endpoint_url, timeout=2)


def test_accesses_tell_what_was_asked(radosgw: RadosGateway, bucket: str):
    s3 = radosgw.client("s3")
    s3.put_object(Bucket=bucket, Key="odd key", Body=b"")

    def seen() -> list[Access]:
        return [access for access in radosgw.accesses() if access.target.startswith(f"/{bucket}/")]

    wait_until(seen, 5)
    assert seen() == [Access(user="admin", method="PUT", target=f"/{bucket}/odd%20key", status=200)]
