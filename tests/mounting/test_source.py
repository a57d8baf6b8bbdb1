"""The source of a mount names a bucket and a prefix."""

import pytest

from s3rolefs.errors import UserError
from s3rolefs.mounting.source import parse_source


@pytest.mark.parametrize(
    ("source", "parsed"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/team", ("bucket", "team/")),
        ("s3://bucket/team/", ("bucket", "team/")),
        ("s3://bucket/a b/ü,c/", ("bucket", "a b/ü,c/")),
        ("s3://bucket//odd//", ("bucket", "/odd//")),
        ("s3://Old_Bucket.2009", ("Old_Bucket.2009", "")),
    ],
)
def test_sources(source, parsed):
    assert parse_source(source) == parsed


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("bucket", "s3://BUCKET"),
        ("http://bucket", "s3://BUCKET"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://ab", "no valid bucket name"),
        ("s3://" + "a" * 64, "no valid bucket name"),
        ("s3://-bucket", "no valid bucket name"),
        ("s3://buc..ket", "no valid bucket name"),
        ("s3://192.168.0.1", "no valid bucket name"),
        ("s3://bucket!/x", "no valid bucket name"),
        ("s3://bucket/" + "x" * 1024, "1,024 bytes"),
    ],
)
def test_what_names_no_bucket(source, word):
    with pytest.raises(UserError, match=word):
        parse_source(source)
