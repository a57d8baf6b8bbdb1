"""Give the tests of the roles room a clock they drive and a source they script."""

from __future__ import annotations

import math
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from moto.server import ThreadedMotoServer

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.snapshot import Snapshot
from tests.roles.stsfront import StsFront

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3rolefs.roles.broker import Broker
    from s3rolefs.roles.need import Need

START = 1_800_000_000.0
SECRET = "wJalrXUtnFEMI/K7MDENG"
TOKEN = "FwoGZXIvYXdzEJr-token"


class ScriptedSource:
    """Give numbered sessions of `life_seconds`; `trouble` is raised instead while it is set."""

    def __init__(self, clock) -> None:
        self._clock = clock
        self.life_seconds: float | None = 900.0
        self.renews_on_change = False
        self.trouble: CredentialsError | None = None
        self.delay_seconds = 0.0
        self.same_keys = False
        self.file_version: int | None = None
        self.fetched_at: list[float] = []
        self.wanted: list[Need] = []

    async def fetch(self) -> Snapshot:
        self.fetched_at.append(self._clock.boot_seconds())
        expires_at = None
        if self.life_seconds is not None:
            expires_at = self._clock.wall_seconds() + self.life_seconds
        await trio.sleep(self.delay_seconds)
        if self.trouble is not None:
            raise self.trouble
        number = 1 if self.same_keys else len(self.fetched_at)
        return Snapshot(
            access_key_id=f"ASIA{number}",
            secret_access_key=SECRET,
            session_token=TOKEN,
            expires_at=expires_at,
            arn="arn:aws:sts::111122223333:assumed-role/data/test",
            source="a script",
        )

    async def stamp(self) -> int | None:
        return self.file_version

    def describe(self) -> str:
        return "a script"

    def needs(self) -> list[Need]:
        return self.wanted

    def hang(self) -> None:
        """Answer nothing any more, as a black hole does."""
        self.delay_seconds = math.inf


@pytest.fixture
def clock(autojump_clock):
    """Return trio's jumping clock, which tells boot and wall time as well.

    A test may set the wall clock (`set_by_seconds`) or let the machine sleep (`slept_seconds`).
    """
    clock = autojump_clock
    clock.set_by_seconds = clock.slept_seconds = 0.0
    clock.boot_seconds = lambda: 1000.0 + clock.current_time() + clock.slept_seconds
    clock.wall_seconds = lambda: START + clock.boot_seconds() + clock.set_by_seconds
    return clock


@pytest.fixture
def source(clock) -> ScriptedSource:
    return ScriptedSource(clock)


@asynccontextmanager
async def _running(broker: Broker):
    async with trio.open_nursery() as nursery:
        await nursery.start(broker.run)
        yield broker
        nursery.cancel_scope.cancel()


@pytest.fixture
def running() -> Callable:
    """Run a broker for the length of an `async with`."""
    return _running


@pytest.fixture
def unreachable() -> CredentialsError:
    return CredentialsError(Reason.UNREACHABLE, "STS cannot be reached.")


@pytest.fixture
def refused() -> CredentialsError:
    return CredentialsError(Reason.ROLE_REFUSED, "STS refuses.", code="AccessDenied")


@pytest.fixture
def secrets() -> tuple[str, str]:
    """Return what must never be shown."""
    return (SECRET, TOKEN)


@pytest.fixture
def front():
    with StsFront() as front:
        yield front


@pytest.fixture(scope="session")
def moto_url():
    """Return the address of an embedded S3, STS and IAM."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch, tmp_path):
    """Hide the developer's own AWS settings and proxies."""
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
