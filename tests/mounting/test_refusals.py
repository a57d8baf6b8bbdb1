"""Every failure of the first request has one sentence with the way out."""

import pytest

from s3rolefs.errors import CredentialsError, MountFailure, Reason, StoreError
from s3rolefs.mounting.options import parse_mount
from s3rolefs.mounting.refusals import denial_of, refusal_of


def config(*options):
    return parse_mount("s3://bucket/team/", "/srv/data", options)


def sentence(code, reason=Reason.REFUSED, message="", *options):
    store = config(*options).buckets[0].store
    refusal = refusal_of(StoreError(reason, message, code=code), store, store.endpoint_url)
    assert isinstance(refusal, MountFailure)
    assert refusal.exit_status == 32
    assert "\n" not in refusal.sentence
    assert "{" not in refusal.sentence
    return refusal.sentence


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("NoSuchBucket", ["no bucket bucket at AWS", "create it"]),
        ("InvalidAccessKeyId", ["access key is not known", "check the credentials"]),
        ("InvalidClientTokenId", ["access key is not known"]),
        ("SignatureDoesNotMatch", ["secret key does not belong"]),
        ("ExpiredToken", ["has expired", "role_arn"]),
        ("TokenRefreshRequired", ["has expired"]),
        ("InvalidToken", ["token is refused"]),
        ("RequestTimeTooSkewed", ["set its clock"]),
        ("PermanentRedirect", ["not in the region", "leave region out"]),
        ("AuthorizationHeaderMalformed", ["not in the region"]),
        ("NameNotResolved", ["no such host name"]),
        ("ConnectionRefused", ["Nobody answers"]),
        ("TlsFailed", ["ca_bundle"]),
        ("TimedOut", ["does not answer"]),
        ("ConnectionBroken", ["breaks off"]),
        ("ProxyRefused", ["HTTPS_PROXY"]),
        ("NotS3", ["is not S3"]),
    ],
)
def test_codes(code, words):
    for word in words:
        assert word in sentence(code, Reason.REFUSED, "what was said")


def test_an_unknown_code_is_passed_on():
    assert sentence("Teapot", Reason.REFUSED, "I am short and stout.").endswith(
        "cannot be used: I am short and stout (Teapot)."
    )


def test_where_it_was_asked():
    assert "at http://127.0.0.1:9" in sentence(
        "NoSuchBucket", Reason.NOT_FOUND, "", "endpoint_url=http://127.0.0.1:9"
    )
    assert "at AWS in eu-west-1" in sentence("NoSuchBucket", Reason.NOT_FOUND, "", "region=eu-west-1")


def test_a_denial_names_who_what_and_where():
    text = denial_of(config().buckets[0].store, "arn:aws:sts::1:assumed-role/data/me").sentence
    for word in (
        "assumed-role/data/me",
        "s3:ListBucket",
        "arn:aws:s3:::bucket",
        '"team/*"',
        "another account",
    ):
        assert word in text
    assert sentence("AllAccessDisabled", Reason.ACCESS_DENIED).startswith(
        "Access to the bucket bucket is denied"
    )


def test_a_refused_role_keeps_its_policies():
    error = CredentialsError(Reason.ROLE_REFUSED, "STS said no.", advice='{\n"Version": 1}')
    assert refusal_of(error, config().buckets[0].store, None).sentence == 'STS said no.\n{\n"Version": 1}'
