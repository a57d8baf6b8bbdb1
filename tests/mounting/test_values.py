"""Addresses that are none are refused with the way out."""

import pytest

from s3rolefs.errors import UserError
from s3rolefs.mounting.values import url


def test_an_address_loses_its_last_slash():
    assert url("endpoint_url", "https://[::1]:9000/") == "https://[::1]:9000"


@pytest.mark.parametrize(
    "value", ["localhost:9000", "http://", "http://[::1:9", "http://h:0", "http://h:x", "ftp://h"]
)
def test_what_is_no_address(value):
    with pytest.raises(UserError, match=r"endpoint_url=.* is no address: write http://HOST:PORT"):
        url("endpoint_url", value)
