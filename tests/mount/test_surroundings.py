"""Mounts that live on the role of the machine they run on, whatever its metadata service does."""

import pytest

from tests.bed.instance import ContainerEndpoint, InstanceMetadata
from tests.bed.loopback import Said
from tests.bed.mounts import run
from tests.bed.patience import read_until
from tests.bed.sessions import RoleSessions

SESSION_SECONDS = 12
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


@pytest.fixture
def sessions(radosgw, visitor, make_role):
    return RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=SESSION_SECONDS)


@pytest.mark.timeout(180)
def test_the_instances_role_outlives_a_bad_metadata_service(role_place, bucket, sessions, monkeypatch):
    with InstanceMetadata(sessions) as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
        with role_place.mounted(f"s3://{bucket}", credentials_file=None) as mount:
            path = mount.path / "watched"
            path.write_bytes(b"still here")
            read_until(lambda: sessions.made == 2, path)
            assert mount.ask("status")["roles"][0]["failures"] == 0
            for troubles in ([Said(status=503), Said(text="{")], [Said(status=401)], [None]):
                before = sessions.made
                service.troubles = iter(troubles)
                read_until(lambda: sessions.made > before, path)  # noqa: B023 - it is over when the loop goes on
            sessions.kept, asked = True, service.count("GET")
            read_until(lambda: service.count("GET") >= asked + 4, path)
            sessions.kept, before = False, sessions.made
            read_until(lambda: sessions.made >= before + 2, path)
            role = mount.ask("status")["roles"][0]
        assert role["source"] == f"the instance's role ({service.url})"
        assert role["generation"] == sessions.made >= 7
        assert role["failures"] >= 3
        assert role["longest_wait_seconds"] <= 0.1
        assert service.count("PUT") == 2  # a refused token is replaced once


@pytest.mark.timeout(120)
def test_the_containers_role_is_renewed_with_a_rotated_token(
    role_place, bucket, sessions, monkeypatch, tmp_path
):
    token = tmp_path / "token"
    with ContainerEndpoint(sessions) as endpoint:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint.uri)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        endpoint.token = "first"
        token.write_text("first\n")
        with role_place.mounted(
            f"s3://{bucket}", credential_source="EcsContainer", credentials_file=None
        ) as mount:
            path = mount.path / "watched"
            path.write_bytes(b"still here")
            read_until(lambda: sessions.made == 2, path)
            endpoint.token = "second"
            token.write_text("second\n")
            read_until(lambda: sessions.made == 3, path)
            role = mount.ask("status")["roles"][0]
        assert role["generation"] == sessions.made >= 3
        assert role["longest_wait_seconds"] <= 0.1


@pytest.mark.parametrize("is_v1", [True, False])
def test_a_metadata_service_without_a_session_is_told(role_place, bucket, sessions, monkeypatch, is_v1):
    with InstanceMetadata(sessions, role=None) as service:
        service.is_v1 = is_v1
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
        command = role_place.command(
            f"s3://{bucket}", credentials_file=None, credential_source="Ec2InstanceMetadata", mount_wait=6
        )
        result = run(*command, check=False)
    assert result.returncode == 32
    assert ("the option imdsv1" if is_v1 else "No role is attached") in result.stderr
    assert len(result.stderr.splitlines()) == 1
