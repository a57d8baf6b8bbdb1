"""Mounts over https, with a certificate authority of one's own."""

import os

import pytest

from tests.bed.mounts import Place, run
from tests.bed.radosgw import RadosGateway


@pytest.fixture(scope="module")
def gateway():
    with RadosGateway(tls=True) as made:
        made.client("s3").create_bucket(Bucket="secure")
        yield made


def test_reads_and_writes_over_https(gateway, tmp_path):
    place = Place(tmp_path, gateway)
    content = os.urandom(20 << 20)
    with place.mounted("s3://secure", ca_bundle=gateway.ca_bundle) as mount:
        (mount.path / "large").write_bytes(content)
        (mount.path / "small").write_text("hello")
    with place.mounted("s3://secure", ca_bundle=gateway.ca_bundle) as mount:
        assert (mount.path / "large").read_bytes() == content
        assert (mount.path / "small").read_text() == "hello"


def test_a_role_is_assumed_over_https(gateway, tmp_path):
    visitor = gateway.create_user("visitor")
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    role_arn = gateway.create_role("secure", {"Version": "2012-10-17", "Statement": [everything]}, "visitor")
    place = Place(tmp_path, gateway, visitor)
    with place.mounted("s3://secure", ca_bundle=gateway.ca_bundle, role_arn=role_arn) as mount:
        (mount.path / "by-role").write_text("hello")
        assert mount.ask("whoami")["role"] == "secure"


def test_an_unknown_authority_is_refused(gateway, tmp_path):
    place = Place(tmp_path, gateway)
    refused = run(*place.command("s3://secure"), check=False)
    assert refused.returncode == 32
    assert "ca_bundle" in refused.stderr
