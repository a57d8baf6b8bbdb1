"""Real kernel mounts, made by the real programs, in directories of their own."""

import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3rolefs.fuse import kernel
from s3rolefs.mounting import mounttable
from tests.bed.radosgw import REGION, RadosGateway

PROGRAM = str(Path(sys.executable).parent / "s3rolefs")
LIMIT_SECONDS = 60


@pytest.fixture(scope="session")
def gateway():
    with RadosGateway() as running:
        yield running


@pytest.fixture(scope="session")
def visitor(gateway):
    """A user without rights of their own."""
    return gateway.create_user("visitor")


@pytest.fixture
def bucket(gateway):
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    gateway.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def role(gateway, visitor, bucket):
    """A role that may do everything in the bucket, and that the visitor may assume."""
    statement = {
        "Effect": "Allow",
        "Action": ["s3:*"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    return gateway.create_role(
        f"role-{uuid.uuid4().hex[:8]}", {"Version": "2012-10-17", "Statement": [statement]}, "visitor"
    )


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """One mount that is ready."""

    path: Path
    source: str
    pid: int

    def ask(self, command):
        return json.loads(run(PROGRAM, command, self.path, "--json").stdout)

    def wait_for_end(self):
        """Wait until the serving process has ended; a zombie counts as ended."""
        wait_for_end(self.pid)


def run(*command, check=True, limit_seconds=LIMIT_SECONDS, **kwargs):
    """Run a program to its end, within a limit; a failure shows what it said."""
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=limit_seconds,
        check=False,
        **kwargs,
    )
    if check:
        assert result.returncode == 0, (
            f"{command}: status {result.returncode}\n{result.stdout}{result.stderr}"
        )
    return result


def wait_for_end(pid, limit_seconds=LIMIT_SECONDS):
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            import select

            ended, _, _ = select.select([descriptor], [], [], limit_seconds)
            assert ended, f"process {pid} still runs"
        finally:
            os.close(descriptor)


def make_away(directory, pid=None):
    """Leave nothing mounted on a directory and no process behind it, whatever happened."""
    while mounttable.mount_at(str(directory)) is not None:
        kernel.unmount_blocking(str(directory), lazy=True)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)


class Place:
    """A directory to mount on, and the options that reach the test's server."""

    def __init__(self, folder, gateway, keys):
        self.folder = folder
        self.gateway = gateway
        self.directory = folder / "mnt"
        self.directory.mkdir()
        self.spool = folder / "spool"
        self.credentials = folder / "credentials"
        self.write_keys(keys)

    def write_keys(self, keys):
        self.credentials.touch(mode=0o600)
        lines = [
            "[default]",
            f"aws_access_key_id = {keys.access_key}",
            f"aws_secret_access_key = {keys.secret_key}",
        ]
        if keys.session_token:
            lines.append(f"aws_session_token = {keys.session_token}")
        self.credentials.write_text("\n".join(lines) + "\n")

    def options(self, **more):
        """Return the text of -o; None leaves a default out, True makes a flag."""
        options = {
            "credentials_file": self.credentials,
            "endpoint_url": self.gateway.endpoint_url,
            "region": REGION,
            "path_style": True,
            "spool_dir": self.spool,
            "mount_wait": 30,
            "stop_timeout": 20,
        }
        if more.get("role_arn"):
            options["sts_endpoint"] = self.gateway.endpoint_url
        options |= more
        return ",".join(
            name if value is True else f"{name}={value}"
            for name, value in options.items()
            if value is not None
        )

    def mount_command(self, source, **options):
        return [PROGRAM, "mount", source, self.directory, "-o", self.options(**options)]

    def mounted(self):
        """Return the mount that is there now."""
        record = json.loads(run(PROGRAM, "status", self.directory, "--json").stdout)
        return Mounted(path=self.directory, source=record["source"], pid=record["pid"])


@pytest.fixture
def place(tmp_path, gateway):
    """Mount with the server's admin keys, unless the test hands over others."""
    made = Place(tmp_path, gateway, gateway.admin_keys)
    yield made
    make_away(made.directory)


@pytest.fixture
def mounted(place):
    """Return a context manager: `with mounted("s3://bucket", role_arn=...) as mount:`."""

    @contextmanager
    def mount(source, **options):
        pid = None
        try:
            run(*place.mount_command(source, **options))
            there = place.mounted()
            pid = there.pid
            yield there
        finally:
            make_away(place.directory, pid)

    return mount
