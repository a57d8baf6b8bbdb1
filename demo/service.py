"""Run a small S3, STS and IAM on loopback, with a bucket, a user and a role to try."""

from __future__ import annotations

import json
import logging
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "family-archive"
ROLE = "archivist"
_HOST = "127.0.0.1"
_REGION = "us-east-1"
_OBJECTS = {
    "letters/1903-kitty-hawk.txt": "Success four flights thursday morning all against wind.\n",
    "letters/1969-tranquility.txt": "Houston, Tranquility Base here. The Eagle has landed.\n",
    "music/cantata.txt": "Wachet auf, ruft uns die Stimme\n",
    "notes.txt": "Things to do:\n- put the archive into S3\n",
}
_TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
_ACCESS = {
    "Effect": "Allow",
    "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
    "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
}


class PortInUseError(Exception):
    """Say that somebody else listens on the port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Tell how to reach the service and which role to assume there."""

    url: str
    region: str
    role_arn: str


@contextmanager
def small_aws(port: int, credentials_file: Path) -> Iterator[Service]:
    """Serve until the block ends; the user's keys are written to `credentials_file` (0600).

    Raises `PortInUseError`.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise PortInUseError from error
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(_HOST, port, verbose=False)
    server.start()
    try:
        yield _furnish(f"http://{_HOST}:{port}", credentials_file)
    finally:
        server.stop()


def _furnish(url: str, credentials_file: Path) -> Service:
    session = boto3.Session(aws_access_key_id="demo", aws_secret_access_key="demo", region_name=_REGION)
    iam = session.client("iam", endpoint_url=url)
    iam.create_user(UserName="visitor")
    key = iam.create_access_key(UserName="visitor")["AccessKey"]
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=_policy(_TRUST))["Role"]
    iam.put_role_policy(RoleName=ROLE, PolicyName="archive", PolicyDocument=_policy(_ACCESS))
    s3 = session.client("s3", endpoint_url=url)
    s3.create_bucket(Bucket=BUCKET)
    for name, text in _OBJECTS.items():
        s3.put_object(Bucket=BUCKET, Key=name, Body=text.encode())
    credentials_file.touch(mode=0o600)
    credentials_file.write_text(
        "[default]\n"
        f"aws_access_key_id = {key['AccessKeyId']}\n"
        f"aws_secret_access_key = {key['SecretAccessKey']}\n"
    )
    return Service(url=url, region=_REGION, role_arn=role["Arn"])


def _policy(statement: dict[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
