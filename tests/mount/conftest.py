import uuid
from pathlib import Path

import pytest

from tests.bed.mounts import PROGRAM, Place

HELPERS = ("mount.s3rolefs", "mount.fuse.s3rolefs", "umount.fuse.s3rolefs")


@pytest.fixture
def place(tmp_path, radosgw):
    """Where to mount, with the keys of radosgw's admin user."""
    made = Place(tmp_path, radosgw)
    yield made
    made.clear()


@pytest.fixture(scope="session")
def visitor(radosgw):
    """Keys of a user without rights of their own."""
    return radosgw.create_user("visitor")


@pytest.fixture
def make_role(radosgw, visitor):
    """Make a role that the visitor may assume, from statements of its policy; return its ARN."""

    def make(*statements):
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        return radosgw.create_role(f"role-{uuid.uuid4().hex[:8]}", policy, "visitor")

    return make


@pytest.fixture
def role_place(tmp_path, radosgw, visitor):
    """Where to mount, with the visitor's keys."""
    made = Place(tmp_path, radosgw, visitor)
    yield made
    made.clear()


@pytest.fixture
def helpers(machine):
    """Put links to the helpers into /sbin, and take away what was put there."""
    links = [Path("/sbin") / name for name in HELPERS]
    kept = {link: link.readlink() for link in links if link.is_symlink()}
    for link in links:
        link.unlink(missing_ok=True)
        link.symlink_to(PROGRAM)
    yield
    for link in links:
        link.unlink()
        if link in kept:
            link.symlink_to(kept[link])
