"""Bad input on the real program: one sentence, the right status, nothing left mounted or running."""

import json
import socket
import threading
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from s3rolefs.mounting import mounttable
from tests.bed.mounts import run
from tests.bed.radosgw import Keys

QUICK = {"mount_wait": 6, "cred_wait": 5}


def refused(place, source, *, lines=1, **options):
    """Return the sentence of a mount that is refused with 32."""
    result = run(*place.command(source, **{**QUICK, **options}), check=False)
    assert result.returncode == 32, result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == lines, result.stderr
    assert mounttable.mount_at(str(place.directory)) is None
    return result.stderr


def test_no_such_bucket(place):
    assert "There is no bucket no-such-bucket at http://127" in refused(place, "s3://no-such-bucket")


def test_the_bucket_of_another_account(role_place, bucket):
    sentence = refused(role_place, f"s3://{bucket}/team/")
    assert f"Access to the bucket {bucket} is denied" in sentence
    assert f"allow s3:ListBucket on arn:aws:s3:::{bucket}" in sentence
    assert 's3:prefix "team/*"' in sentence


@pytest.mark.parametrize("access_key", [None, "A" * 20])
def test_wrong_keys(place, bucket, radosgw, access_key):
    place.write_keys(Keys(access_key=access_key or radosgw.access_key, secret_key="b" * 40))
    # radosgw does not tell wrong keys from a denial; AWS does (tests/mounting/test_refusals.py).
    assert "check also that they belong to this service" in refused(place, f"s3://{bucket}")


def test_nobody_at_the_endpoint(place, bucket):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sentence = refused(place, f"s3://{bucket}", endpoint_url=f"http://127.0.0.1:{port}")
    assert f"Nobody answers at http://127.0.0.1:{port}" in sentence


def test_no_such_host(place, bucket):
    sentence = refused(place, f"s3://{bucket}", endpoint_url="http://no-such-host.invalid:80")
    assert "no such host name" in sentence


def test_an_endpoint_that_stays_silent(place, bucket):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "does not answer" in refused(place, f"s3://{bucket}", endpoint_url=url)


def test_https_where_http_is_spoken(place, bucket, radosgw):
    url = radosgw.endpoint_url.replace("http:", "https:")
    assert "certificate is not trusted" in refused(place, f"s3://{bucket}", endpoint_url=url)


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html><body>Welcome to nginx!</body></html>"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def web_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_endpoint_that_is_not_s3(place, bucket):
    with web_server() as url:
        assert "is not S3" in refused(place, f"s3://{bucket}", endpoint_url=url)


def test_an_expired_session(place, bucket, radosgw, visitor, make_role):
    role_arn = make_role({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]})
    session = radosgw.client("sts", visitor).assume_role(
        RoleArn=role_arn, RoleSessionName="short", DurationSeconds=900
    )["Credentials"]
    expired = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    place.credentials.write_text(
        json.dumps(
            {
                "Version": 1,
                "AccessKeyId": session["AccessKeyId"],
                "SecretAccessKey": session["SecretAccessKey"],
                "SessionToken": session["SessionToken"],
                "Expiration": expired,
            }
        )
    )
    assert "expired" in refused(place, f"s3://{bucket}")


def test_a_role_that_may_not_be_assumed(role_place, bucket, radosgw):
    role_arn = radosgw.create_role(
        f"role-{uuid.uuid4().hex[:8]}", {"Version": "2012-10-17", "Statement": []}, "admin"
    )
    result = run(*role_place.command(f"s3://{bucket}", role_arn=role_arn, **QUICK), check=False)
    assert result.returncode == 32
    sentence, *advice = result.stderr.splitlines()
    assert f"refuses to assume {role_arn}" in sentence
    text = "\n".join(advice)
    assert '"Action": "sts:AssumeRole"' in text
    assert f'"Resource": "{role_arn}"' in text
    assert '"Principal"' in text
    assert mounttable.mount_at(str(role_place.directory)) is None


def test_a_secret_file_that_others_can_read(place, bucket):
    place.credentials.chmod(0o644)
    result = run(*place.command(f"s3://{bucket}", **QUICK), check=False)
    assert result.returncode in {1, 32}
    assert str(place.credentials) in result.stderr
    assert "chmod 600" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_secret_file_that_is_missing(place, bucket):
    place.credentials.unlink()
    assert str(place.credentials) in refused(place, f"s3://{bucket}")


def test_a_profile_that_does_not_exist(place, bucket):
    result = run(
        *place.command(f"s3://{bucket}", credentials_file=None, profile="nobody", **QUICK), check=False
    )
    assert result.returncode in {1, 32}
    assert "nobody" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "options", "word"),
    [
        ("bucket", {}, "s3://BUCKET"),
        ("s3://b", {}, "no valid bucket name"),
        ("s3://bucket", {"colour": "red"}, "no option colour"),
        ("s3://bucket", {"secret_key": "hunter2"}, "credentials_file=PATH"),
        ("s3://bucket", {"profile": "work"}, "both name a source"),
        ("s3://bucket", {"allow_other": True, "allow_root": True}, "contradict"),
    ],
)
def test_wrong_usage(place, source, options, word):
    result = run(*place.command(source, **options), check=False)
    assert result.returncode == 1
    assert word in result.stderr
    assert "hunter2" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_foreground_says_the_same(place):
    result = run(*place.command("s3://no-such-bucket", **QUICK), "--foreground", check=False)
    assert result.returncode == 32
    assert "There is no bucket no-such-bucket" in result.stderr
    assert "Traceback" not in result.stderr


def test_spool_dir_that_cannot_be_made(place, bucket):
    result = run(*place.command(f"s3://{bucket}", spool_dir="/proc/nowhere"), check=False)
    assert result.returncode == 2
    assert "spool_dir /proc/nowhere cannot be used" in result.stderr
