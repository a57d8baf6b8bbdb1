"""The signer: equal to botocore's, byte for byte."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from unittest import mock
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from s3rolefs.s3.requests import Request, quote_key
from s3rolefs.s3.signer import Signer


@dataclass(frozen=True, kw_only=True)
class Keys:
    access_key_id: str = "AKIDEXAMPLE"
    secret_access_key: str = "wJalrXUtnFEMI"
    session_token: str | None = None


text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
keys = text.filter(lambda key: 0 < len(key.encode()) <= 1024)
printable = st.text(alphabet=string.printable.replace("\r", "").replace("\n", ""), max_size=30)
names = st.text(alphabet=string.ascii_lowercase + string.digits + "-", min_size=1, max_size=15).map(
    "x-t".__add__
)
tokens = st.none() | st.text(alphabet=string.ascii_letters + "+/=", min_size=1, max_size=80)


@given(
    key=keys,
    parameters=st.dictionaries(text.filter(bool), text, max_size=4),
    headers=st.dictionaries(names, printable, max_size=4),
    body=st.binary(max_size=50),
    token=tokens,
    region=st.sampled_from(["us-east-1", "eu-central-1", ""]),
    at_seconds=st.integers(min_value=0, max_value=4_000_000_000),
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
)
@example(
    key="//a/../b c//ü+~%41",
    parameters={"prefix": "a b/+", "list-type": "2", "delete": ""},
    headers={"x-amz-meta-a": "  two   spaces "},
    body=b"",
    token="t",
    region="us-east-1",
    at_seconds=1_700_000_000,
    method="GET",
)
def test_signs_as_botocore_does(key, parameters, headers, body, token, region, at_seconds, method):
    path = "/bucket/" + quote_key(key)
    query = Request(kind="GET", method="GET", parameters=parameters).query
    ours = Signer().sign(
        method=method,
        path=path,
        query=query,
        headers={"host": "s3.example.com:9000", **headers},
        payload_sha256=hashlib.sha256(body).hexdigest(),
        region=region,
        keys=Keys(session_token=token),
        at_seconds=at_seconds,
    )

    url = f"http://s3.example.com:9000{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    credentials = Credentials(Keys.access_key_id, Keys.secret_access_key, token)
    moment = datetime.fromtimestamp(at_seconds, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        S3SigV4Auth(credentials, "s3", region).add_auth(request)

    theirs = {name.lower(): value for name, value in request.headers.items()}
    assert {name: value for name, value in ours.items() if name != "host"} == theirs


@given(key=keys)
def test_a_quoted_key_is_what_botocore_sends(key):
    assert quote_key(key) == quote(key, safe="/~")


def test_a_signer_follows_the_day_the_region_and_the_secret():
    one = Signer()

    def signature(signer: Signer, *, secret: str, region: str, at_seconds: int) -> str:
        return signer.sign(
            method="GET",
            path="/",
            query="",
            headers={"host": "h"},
            payload_sha256="x",
            region=region,
            keys=Keys(secret_access_key=secret),
            at_seconds=at_seconds,
        )["authorization"]

    for secret in ("a", "b"):
        for region in ("r", "s"):
            for at_seconds in (0, 86_400):
                again = signature(one, secret=secret, region=region, at_seconds=at_seconds)
                assert again == signature(Signer(), secret=secret, region=region, at_seconds=at_seconds)
