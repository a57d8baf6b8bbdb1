from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.bed.revocation import DENIED, EXPIRED, RevokingFront

if TYPE_CHECKING:
    from tests.bed.radosgw import RadosGateway


@pytest.mark.parametrize("refusal", [DENIED, EXPIRED])
def test_a_revoked_key_is_refused_and_the_others_are_not(radosgw: RadosGateway, bucket: str, refusal):
    with RevokingFront.to(radosgw.endpoint_url) as front:
        ours = radosgw.client("s3", endpoint_url=front.url)
        others = radosgw.client("s3", radosgw.create_user(bucket), endpoint_url=front.url)
        ours.put_object(Bucket=bucket, Key="before", Body=b"1")
        front.revoke_at("PUT", refusal)
        ours.head_object(Bucket=bucket, Key="before")
        with pytest.raises(ClientError, match=refusal.code):
            ours.put_object(Bucket=bucket, Key="refused", Body=bytes(3 << 20))
        with pytest.raises(ClientError, match=str(refusal.status)):
            ours.head_object(Bucket=bucket, Key="before")
        others.create_bucket(Bucket=f"{bucket}-other")
        others.put_object(Bucket=f"{bucket}-other", Key="a", Body=b"2")
        # After a 400, botocore goes on to ask for the bucket's region.
        assert [request.kind for request in front.refused][:2] == ["PUT", "HEAD"]
    direct = radosgw.client("s3").list_objects_v2(Bucket=bucket)
    assert [entry["Key"] for entry in direct["Contents"]] == ["before"]
