from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from moto.server import ThreadedMotoServer

from s3rolefs.clock import SystemClock
from s3rolefs.config import StoreConfig
from s3rolefs.roles.broker import Broker
from s3rolefs.roles.environment import EnvironmentSource
from s3rolefs.s3.client import S3Client
from s3rolefs.s3.faults import FaultyStore
from s3rolefs.s3.joint import JointStore, Part
from s3rolefs.s3.memory import MemoryStore
from tests.bed.radosgw import REGION, Keys, client
from tests.s3.pools import AUTHORITY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import trio

    from s3rolefs.s3.store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A real server, or at least one over HTTP."""

    endpoint_url: str
    keys: Keys


def one_part_of_joint(store: ObjectStore) -> ObjectStore:
    """Return what a joint store shows as one of its parts, its prefix taken off again by another one."""
    parts = [Part(outer="a/", store=MemoryStore(), inner=""), Part(outer="b/", store=store, inner="")]
    return JointStore([Part(outer="", store=JointStore(parts), inner="b/")])


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Server(endpoint_url=f"http://{host}:{port}", keys=Keys(access_key="key", secret_key="secret"))
    server.stop()


@pytest.fixture
def ca_bundle(tmp_path: Path) -> str:
    """A file with the authority that vouches for scripted servers."""
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(params=["memory", "faults", "joint", "moto", "radosgw"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store a contract test runs against."""
    return request.param


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> Server | None:
    if kind == "moto":
        return request.getfixturevalue("moto")
    if kind == "radosgw":
        gateway = request.getfixturevalue("radosgw")
        return Server(endpoint_url=gateway.endpoint_url, keys=gateway.admin_keys)
    return None


@pytest.fixture
async def store(
    kind: str, server: Server | None, bucket_names: Iterator[str], nursery: trio.Nursery
) -> AsyncIterator[ObjectStore]:
    """Every implementation of `ObjectStore`, each with an empty bucket."""
    if server is None:
        memory = MemoryStore()
        match kind:
            case "faults":
                yield FaultyStore(memory)
            case "joint":
                yield one_part_of_joint(memory)
            case _:
                yield memory
        return
    bucket = next(bucket_names)
    client("s3", server.endpoint_url, server.keys).create_bucket(Bucket=bucket)
    config = StoreConfig(
        bucket=bucket,
        region=REGION,
        endpoint_url=server.endpoint_url,
        path_style=True,
        io_timeout_seconds=20,
    )
    clock = SystemClock()
    source = EnvironmentSource(
        {"AWS_ACCESS_KEY_ID": server.keys.access_key, "AWS_SECRET_ACCESS_KEY": server.keys.secret_key}
    )
    broker = Broker(source, clock=clock)
    await nursery.start(broker.run)
    real = S3Client(config, broker, clock, environ={})
    yield real
    await real.aclose()
