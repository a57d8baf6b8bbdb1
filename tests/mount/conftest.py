import uuid

import pytest

from tests.bed.mounts import Place


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
