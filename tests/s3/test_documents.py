"""What S3 writes and what it reads: headers, XML, times."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import UploadedPart
from s3rolefs.s3 import headers, wire
from s3rolefs.s3.store import ObjectAttributes

values = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)


@given(value=values)
def test_metadata_survives_as_plain_ascii(value):
    sent = headers.encode_metadata(value)
    assert sent.isascii()
    assert sent == " ".join(sent.split())
    assert headers.decode_metadata(sent) == value


@pytest.mark.parametrize("value", ["33188", "1700000000.123456789", "a/b c", "", '{"user.a": "YQ=="}'])
def test_plain_metadata_goes_as_it_is(value):
    assert headers.encode_metadata(value) == value


@pytest.mark.parametrize(
    ("received", "value"),
    [
        ("=?UTF-8?B?Z3LDvMOfZQ==?=", "grüße"),
        ("=?UTF-8?Q?gr=C3=BC=C3=9Fe_da?=", "grüße da"),
        ("grüße".encode().decode("latin-1"), "grüße"),
        ("\xff\xfe", "\xff\xfe"),
        ("=?nonsense?Q?x?=", "=?nonsense?Q?x?="),
        ("a =? b", "a =? b"),
    ],
)
def test_metadata_of_other_tools_is_understood(received, value):
    assert headers.decode_metadata(received) == value


@pytest.mark.parametrize(
    "attributes",
    [
        ObjectAttributes(metadata={"bad name": "x"}),
        ObjectAttributes(metadata={"Upper": "x"}),
        ObjectAttributes(metadata={"a\r\nx-amz-acl": "x"}),
        ObjectAttributes(headers={"content-type": "a\r\nx-amz-acl: public-read"}),
        ObjectAttributes(headers={"x-amz-acl": "public-read"}),
    ],
)
def test_what_cannot_be_stored_is_refused(attributes):
    with pytest.raises(StoreError) as caught:
        headers.attribute_headers(attributes)
    assert caught.value.reason is Reason.INVALID


def test_headers_become_an_object():
    info = headers.object_info(
        "k",
        {
            "etag": '"abc-2"',
            "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT",
            "date": "Tue, 14 Nov 2023 22:13:21 GMT",
            "content-type": "text/plain",
            "content-language": "de",
            "x-amz-storage-class": "GLACIER",
            "x-amz-version-id": "null",
            "x-amz-meta-mode": "33188",
            "x-amz-request-id": "1",
        },
        size_bytes=7,
    )
    assert (info.etag, info.storage_class, info.version_id) == ("abc-2", "GLACIER", None)
    assert info.last_modified_ns == 1_700_000_000 * 10**9
    assert info.asked_at_ns == 1_700_000_001 * 10**9
    assert info.metadata == {"mode": "33188"}
    assert info.headers == {"content-type": "text/plain", "content-language": "de"}


@pytest.mark.parametrize("text", [None, "", "yesterday", "Tue, 99 Nov 2023 22:13:20 GMT"])
def test_a_date_that_is_none(text):
    assert headers.parse_http_date(text) == 0


PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult%s><Name>b</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<Contents><Key>a+b%%2Bc%%01%%C3%%BC</Key><LastModified>2023-11-14T22:13:20.123Z</LastModified>
<ETag>&quot;e&quot;</ETag><Size>12</Size><StorageClass>GLACIER</StorageClass></Contents>
<Contents><Key>d%%2F</Key><LastModified>2023-11-14T22:13:20Z</LastModified><Size>0</Size></Contents>
<CommonPrefixes><Prefix>p+q%%2F</Prefix></CommonPrefixes>
<NextContinuationToken>1+%%2F&amp;</NextContinuationToken></ListBucketResult>"""


@pytest.mark.parametrize(
    "namespace", [b"", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b' xmlns="other"']
)
def test_a_listing(namespace):
    page = wire.parse_listing(PAGE % namespace, asked_at_ns=5)
    first, second = page.objects
    assert (first.key, first.size_bytes, first.etag, first.storage_class) == (
        "a b+c\x01ü",
        12,
        "e",
        "GLACIER",
    )
    assert (first.last_modified_ns, first.asked_at_ns) == (1_700_000_000_123_000_000, 5)
    assert first.metadata is None
    assert (second.key, second.etag, second.storage_class) == ("d/", "", "STANDARD")
    assert page.prefixes == ("p q/",)
    assert page.next_token == "1+%2F&"


def test_keys_that_a_service_did_not_encode_are_left_alone():
    body = b"<ListBucketResult><Contents><Key>a+b%20</Key><LastModified>2023-11-14T22:13:20Z</LastModified>"
    body += b"<Size>1</Size></Contents></ListBucketResult>"
    assert wire.parse_listing(body, asked_at_ns=0).objects[0].key == "a+b%20"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"<html/>", b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"],
)
def test_what_is_no_listing(body):
    with pytest.raises(StoreError) as caught:
        wire.parse_listing(body, asked_at_ns=0)
    assert caught.value.reason is Reason.REFUSED


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<Error><Code>SlowDown</Code></Error>", "SlowDown"),
        (b'\n <?xml version="1.0"?><Error xmlns="x"><Code>A</Code></Error>', "A"),
        (b"<ErrorResponse><Error><Code>B</Code></Error></ErrorResponse>", "B"),
        (b"<Error><Code>C</Code><Key>a\x01&#x2;</Key></Error>", "C"),
        (b"<DeleteResult><Error><Code>D</Code></Error></DeleteResult>", None),
        (b"<html><Error></html>", None),
        (b"", None),
    ],
)
def test_errors(body, code):
    document = wire.parse_error(body)
    assert (document and document.code) == code


@given(keys=st.lists(values.filter(wire.fit_for_xml), min_size=1, max_size=5))
def test_a_batch_names_exactly_the_keys(keys):
    root = ET.fromstring(wire.delete_document(keys))
    assert [element.text or "" for element in root.findall(".//{*}Key")] == keys


@given(key=values)
def test_only_what_xml_changes_is_unfit(key):
    if any(character < " " or character in "\x7f\ufffe\uffff" for character in key):
        assert not wire.fit_for_xml(key)


def test_a_completion_lists_the_parts_in_order():
    parts = [UploadedPart(number=2, etag="b"), UploadedPart(number=1, etag="a")]
    root = ET.fromstring(wire.complete_document(parts))
    assert [element.text for element in root.findall(".//{*}PartNumber")] == ["1", "2"]
    assert [element.text for element in root.findall(".//{*}ETag")] == ['"a"', '"b"']
