import base64
import json
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.fs import xattrs

names = st.binary(min_size=1, max_size=40).map(lambda raw: "user." + raw.decode("utf-8", "surrogateescape"))


@given(st.dictionaries(names, st.binary(max_size=40), min_size=1))
def test_attributes_survive_a_stay_in_metadata(values):
    text = xattrs.encode({name: xattrs.encoded(value) for name, value in values.items()})
    assert text.isascii()
    assert text.isprintable()
    assert {name: xattrs.value_of(value) for name, value in xattrs.decode(text).items()} == values
    assert xattrs.is_readable(text)


def test_the_format_is_that_of_s3fs():
    assert xattrs.encode({"user.a": xattrs.encoded(b"value")}) == "%7B%22user.a%22%3A%22dmFsdWU%3D%22%7D"
    assert xattrs.decode("%7B%7D") == {}
    assert xattrs.is_readable("%7B%7D")
    assert xattrs.encode({}) is None


def test_a_comma_in_a_name_does_not_split_the_pairs_for_s3fs():
    text = unquote(xattrs.encode({"user.a,b": "eA==", "user.c": "eQ=="}))
    assert text.count(",") == 1
    assert json.loads(text) == {"user.a,b": "eA==", "user.c": "eQ=="}


@pytest.mark.parametrize("text", ["", "abc", "%7B", "%FF", "[1]", "1", quote('{"user.a": 1}'), "[" * 100_000])
def test_broken_text_counts_as_none(text):
    assert xattrs.decode(text) == {}
    assert not xattrs.is_readable(text)


@given(st.text())
def test_no_text_is_too_much(text):
    for value in xattrs.decode(text).values():
        xattrs.value_of(value)


@given(st.binary())
def test_values(value):
    assert (
        xattrs.value_of(base64.b64encode(value).decode()) == xattrs.value_of(xattrs.encoded(value)) == value
    )
    assert xattrs.value_of("no base64") is None
