"""Configuration and secrets reach the serving process, and nobody else."""

import os

import pytest

from s3rolefs.mounting.handover import Handover
from s3rolefs.mounting.options import parse_mount

ROLE = "role_arn=arn:aws:iam::111122223333:role/data,session_tags=a=1+b=2,transitive_tags=a"


def handover():
    config = parse_mount("s3://bucket/ü/", "/srv/data", ["allow_other,pass_env=A+B,cred_wait=3", ROLE])
    return Handover(config=config, secrets={"AWS_SECRET_ACCESS_KEY": "hush"})


def test_what_is_written_is_read():
    given = handover()
    descriptor = given.write()
    assert Handover.read(descriptor) == given
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_descriptor_is_not_inherited_unasked():
    descriptor = handover().write()
    assert os.get_inheritable(descriptor) is False
    os.close(descriptor)


def test_the_repr_shows_no_secret():
    assert "hush" not in repr(handover())
