"""Where requests go: options, environment and profile in their order; botocore's rules behind."""

from __future__ import annotations

import pytest

from s3rolefs.config import StoreConfig
from s3rolefs.errors import UserError
from s3rolefs.s3.attempt import Origin
from s3rolefs.s3.endpoints import EndpointFinder
from s3rolefs.s3.proxies import choose_proxy

PROFILES = """\
[profile plain]
region = eu-north-1

[profile own]
region = ap-south-1
endpoint_url = http://general.example.com
services = mine
ca_bundle = /etc/ca.pem
s3 =
    addressing_style = virtual

[services mine]
s3 =
    endpoint_url = http://special.example.com:8000/base/
"""


@pytest.fixture(autouse=True)
def aws_files(tmp_path, monkeypatch):
    """Nothing of this machine's own configuration counts."""
    config = tmp_path / "config"
    config.write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in (
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ):
        monkeypatch.delenv(name, raising=False)


def find(*, environ=None, profile=None, region=None, **config):
    store = StoreConfig(**{"bucket": "bucket", **config})
    return EndpointFinder(store, profile=profile, environ=environ or {}).find_blocking(region)


def where(endpoint):
    origin = endpoint.origin
    return f"{origin.scheme}://{origin.authority}{endpoint.base_path}"


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, "https://bucket.s3.us-east-1.amazonaws.com"),
        ({"region": "eu-west-1"}, "https://bucket.s3.eu-west-1.amazonaws.com"),
        ({"region": "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn"),
        ({"bucket": "dotted.name"}, "https://s3.us-east-1.amazonaws.com/dotted.name"),
        ({"path_style": True}, "https://s3.us-east-1.amazonaws.com/bucket"),
    ],
)
def test_amazons_own_endpoints(config, url):
    endpoint = find(**config)
    assert where(endpoint) == url
    assert endpoint.is_aws


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("AWS_USE_DUALSTACK_ENDPOINT", "https://bucket.s3.dualstack.us-east-1.amazonaws.com"),
        ("AWS_USE_FIPS_ENDPOINT", "https://bucket.s3-fips.us-east-1.amazonaws.com"),
    ],
)
def test_variants_of_amazons_endpoints(monkeypatch, variable, url):
    monkeypatch.setenv(variable, "true")
    assert where(find()) == url


@pytest.mark.parametrize(
    ("environ", "profile", "region", "found"),
    [
        ({}, None, None, "us-east-1"),
        ({}, "plain", None, "eu-north-1"),
        ({"AWS_DEFAULT_REGION": "a"}, "plain", None, "a"),
        ({"AWS_DEFAULT_REGION": "a", "AWS_REGION": "b"}, "plain", None, "b"),
        ({"AWS_REGION": "b"}, "plain", "c", "c"),
    ],
)
def test_where_the_region_comes_from(environ, profile, region, found):
    # A custom endpoint, so that regions need not exist.
    url = "http://127.0.0.1:1"
    assert find(environ=environ, profile=profile, endpoint_url=url).region == found.replace("c", "b")
    assert find(environ=environ, profile=profile, endpoint_url=url, region=region).region == found
    assert find(environ=environ, profile=profile, endpoint_url=url, region="answer").region == "answer"


@pytest.mark.parametrize(
    ("environ", "profile", "option", "url"),
    [
        ({}, "own", None, "http://bucket.special.example.com:8000/base"),
        ({"AWS_ENDPOINT_URL": "http://env"}, "own", None, "http://bucket.env"),
        (
            {"AWS_ENDPOINT_URL": "http://env", "AWS_ENDPOINT_URL_S3": "http://env3"},
            None,
            None,
            "http://env3/bucket",
        ),
        ({"AWS_ENDPOINT_URL_S3": "http://env3"}, "own", "https://option:9000/", "https://bucket.option:9000"),
        ({}, None, "http://[::1]:9000", "http://[::1]:9000/bucket"),
    ],
)
def test_where_the_endpoint_comes_from(environ, profile, option, url):
    endpoint = find(environ=environ, profile=profile, endpoint_url=option)
    assert where(endpoint) == url
    assert not endpoint.is_aws


@pytest.mark.parametrize(
    ("config", "path_style"),
    [
        ({"endpoint_url": "https://minio.example.com"}, True),
        ({"endpoint_url": "https://minio.example.com", "path_style": False}, False),
        ({"endpoint_url": "http://127.0.0.1:1", "path_style": False}, True),
        ({"endpoint_url": "http://localhost:1", "path_style": False}, True),
        ({"endpoint_url": "https://h", "path_style": False, "bucket": "a.b"}, True),
        ({"endpoint_url": "http://h", "path_style": False, "bucket": "a.b"}, False),
    ],
)
def test_path_style_or_a_host_of_its_own(config, path_style):
    endpoint = find(**config)
    assert bool(endpoint.base_path) is path_style


def test_a_region_that_the_service_named_wins():
    assert where(find(region="eu-west-1")) == "https://bucket.s3.eu-west-1.amazonaws.com"
    finder = EndpointFinder(StoreConfig(bucket="bucket", region="us-east-1"), profile=None, environ={})
    assert where(finder.find_blocking("eu-west-1")) == "https://bucket.s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    "url", ["example.com", "ftp://h", "http://", "http://h:x", "http://u:p@h", "http://h?q=1"]
)
def test_what_is_no_endpoint(url):
    with pytest.raises(UserError, match="http://host") as caught:
        find(endpoint_url=url)
    assert "p@" not in caught.value.sentence


def test_a_profile_that_is_not_there():
    with pytest.raises(UserError, match="nobody"):
        find(profile="nobody")


def test_a_region_that_is_none():
    with pytest.raises(UserError, match="bucket"):
        find(region="not a region!")


@pytest.mark.parametrize(
    ("environ", "profile", "option", "bundle"),
    [
        ({}, None, None, None),
        ({}, "own", None, "/etc/ca.pem"),
        ({"AWS_CA_BUNDLE": "/env.pem"}, "own", None, "/env.pem"),
        ({"AWS_CA_BUNDLE": "/env.pem"}, "own", "/option.pem", "/option.pem"),
    ],
)
def test_where_the_ca_bundle_comes_from(environ, profile, option, bundle):
    store = StoreConfig(bucket="bucket", ca_bundle=option)
    assert EndpointFinder(store, profile=profile, environ=environ).ca_bundle_blocking() == bundle


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (("https", "h", 443), "h"),
        (("http", "h", 80), "h"),
        (("http", "h", 443), "h:443"),
        (("http", "::1", 80), "[::1]"),
    ],
)
def test_the_host_header(origin, authority):
    scheme, host, port = origin
    assert Origin(scheme=scheme, host=host, port=port).authority == authority


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, ("p", 1)),
        ({"https_proxy": "http://low:2", "HTTPS_PROXY": "http://up:1"}, ("low", 2)),
        ({"http_proxy": "http://p:1"}, None),
        ({"ALL_PROXY": "p:3"}, ("p", 3)),
        ({"HTTPS_PROXY": "http://p"}, ("p", 80)),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "s3.example.com:443"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ample.com,other"}, ("p", 1)),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "", "NO_PROXY": ""}, None),
    ],
)
def test_which_proxy(environ, proxy):
    chosen = choose_proxy("https", "s3.example.com", 443, environ)
    assert (chosen and (chosen.host, chosen.port)) == proxy


@pytest.mark.parametrize(
    "url", ["https://user:hidden@p:1", "socks5://user:hidden@p:1", "http://user:hidden@p:x", "http://"]
)
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(url):
    with pytest.raises(UserError, match="HTTPS_PROXY") as caught:
        choose_proxy("https", "h", 443, {"HTTPS_PROXY": url})
    assert "hidden" not in caught.value.sentence


def test_a_proxys_password_is_not_shown():
    chosen = choose_proxy("https", "h", 443, {"HTTPS_PROXY": "http://u:hidden@p:1"})
    assert "hidden" not in repr(chosen)
    assert chosen.authorization not in repr(chosen)
