"""Run a one-node radosgw on loopback: a real S3, STS and IAM that enforces policies and expiry.

By hand: `python -m tests.bed.radosgw` prints endpoint and keys, and runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3
import trustme
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

START_ATTEMPTS = 3
START_SECONDS = 20.0
STOP_SECONDS = 5.0
REGION = "us-east-1"
PROGRAMS = (
    "ceph",
    "ceph-authtool",
    "ceph-mon",
    "ceph-osd",
    "monmaptool",
    "radosgw",
    "radosgw-admin",
    "setpriv",
)

CONFIGURATION = Path(__file__).with_name("radosgw.conf")

ACCESS_LINE = re.compile(
    r'beast: \S+ \S+ - (?P<user>\S+) \[[^]]*\] "(?P<method>\S+) (?P<target>.*) HTTP/[\d.]+" '
    r"(?P<status>\d+) "
)


class StartError(Exception):
    """Say why the server could not be started, with the end of its logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Hold what signs requests; `session_token` is None for a user's own keys."""

    access_key: str
    secret_key: str
    session_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Tell of one request that was answered, as the server logged it."""

    user: str
    method: str
    target: str
    status: int


class RadosGateway:
    """Run the servers from `with` to its end; each has a directory and ports of its own.

    Every process is ended by its pid, and by the kernel when the thread that started it dies first:
    so enter it in a thread that lives as long (pytest's main thread does).
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    ca_bundle: Path | None = None

    def __init__(self, *, tls: bool = False, size_bytes: int = 6 << 30, settings: str = "") -> None:
        """Take more lines for the configuration's global section in `settings`."""
        self._tls = tls
        self._size_bytes = size_bytes
        self._settings = settings
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        missing = ", ".join(program for program in PROGRAMS if shutil.which(program) is None)
        if missing:
            raise StartError(f"not installed: {missing} (Debian: radosgw ceph-mon ceph-osd ceph-common)")
        for attempt in range(1, START_ATTEMPTS + 1):
            self.directory = Path(tempfile.mkdtemp(prefix="s3rolefs-rgw-"))
            try:
                self._start()
            except StartError:
                self._end()
                if attempt == START_ATTEMPTS:
                    raise
            except BaseException:
                self._end()
                raise
            else:
                return self
        raise AssertionError("unreachable")

    def __exit__(self, *_exception: object) -> None:
        self._end()

    @property
    def admin_keys(self) -> Keys:
        """Return the keys of the user who owns what `client` makes, and may create users and roles."""
        return Keys(access_key=self.access_key, secret_key=self.secret_key)

    def client(self, service: str, keys: Keys | None = None, *, endpoint_url: str | None = None) -> Any:
        """Return a boto3 client (s3, sts, iam) of a user, by default of the admin user."""
        return client(service, endpoint_url or self.endpoint_url, keys or self.admin_keys, self.ca_bundle)

    def create_user(self, name: str) -> Keys:
        """Create a user who owns nothing and may do nothing but on their own buckets."""
        keys = Keys(access_key=secrets.token_hex(10).upper(), secret_key=secrets.token_hex(20))
        self._create_user(name, keys)
        return keys

    def create_role(self, name: str, policy: Mapping[str, Any], trust: str | Mapping[str, Any]) -> str:
        """Create a role with one permission policy; return its ARN.

        `trust` is the user who may assume it, or the statement that says who may.
        """
        if isinstance(trust, str):
            principal = {"AWS": [f"arn:aws:iam:::user/{trust}"]}
            trust = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole"]}
        trust_policy = {"Version": "2012-10-17", "Statement": [trust]}
        role = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=_compact(trust_policy))
        self.put_role_policy(name, policy)
        arn: str = role["Role"]["Arn"]
        return arn

    def put_role_policy(self, name: str, policy: Mapping[str, Any]) -> None:
        """Replace the permission policy of a role."""
        self.client("iam").put_role_policy(
            RoleName=name, PolicyName="permissions", PolicyDocument=_compact(policy)
        )

    def collect_garbage(self) -> None:
        """Free the memory of what was deleted, which otherwise happens a few seconds later."""
        self._run("radosgw-admin", "gc", "process", "--include-all")

    def accesses(self) -> list[Access]:
        """Return every request answered so far, oldest first (targets as they came, with query)."""
        text = (self.directory / "client.rgw.log").read_text(errors="replace")
        lines = (match.groupdict() for match in ACCESS_LINE.finditer(text))
        return [Access(**{**line, "status": int(line["status"])}) for line in lines]

    def _start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        fsid, osd_uuid = str(uuid.uuid4()), str(uuid.uuid4())
        mon_port, port = _free_ports(2)
        for part in ("mon", "osd"):
            (self.directory / part).mkdir()
        configuration = CONFIGURATION.read_text().format(
            fsid=fsid,
            mon_port=mon_port,
            directory=self.directory,
            size_bytes=self._size_bytes,
            endpoint=self._listen_on(port),
            sts_key=secrets.token_hex(8),
            settings=self._settings,
        )
        (self.directory / "ceph.conf").write_text(configuration)

        osd_files = self._spawn("ceph-osd", "-i", "0", "--mkfs", "--no-mon-config", "--osd-uuid", osd_uuid)
        monmap = self.directory / "monmap"
        mon_address = f"[v2:127.0.0.1:{mon_port}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", mon_address, str(monmap))
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(monmap))
        self._run("ceph-authtool", "--create-keyring", f"{self.directory}/keyring")
        self._spawn("ceph-mon", "-i", "a", "-f")
        self._run("ceph", "osd", "new", osd_uuid, "0")
        _wait_for_exit(osd_files, deadline)
        osd = self._spawn("ceph-osd", "-i", "0", "-f")

        admin = Keys(access_key=secrets.token_hex(10).upper(), secret_key=secrets.token_hex(20))
        self.access_key, self.secret_key = admin.access_key, admin.secret_key
        # Not --admin: a refusal that such a user overrides (a copy of what is not there) crashes 16.2.
        self._create_user("admin", admin, "--caps", "roles=*;user-policy=*;users=*;buckets=*;oidc-provider=*")
        gateway = self._spawn("radosgw", "-n", "client.rgw", "-f")
        while not self._answers():
            if time.monotonic() > deadline:
                raise StartError(f"radosgw did not answer in {START_SECONDS} s\n{self._logs()}")
            if gateway.poll() is not None:
                raise StartError(f"radosgw ended with {gateway.returncode}\n{self._logs()}")
            if osd.poll() is not None:
                # Now and then it says "wrong fsid" when the monitor is young; the next one does not.
                osd = self._spawn("ceph-osd", "-i", "0", "-f")
            time.sleep(0.05)

    def _listen_on(self, port: int) -> str:
        self.endpoint_url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        if not self._tls:
            return f"endpoint=127.0.0.1:{port}"
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        self.ca_bundle = self.directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_bundle)
        served, key = self.directory / "server.pem", self.directory / "server.key"
        served.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(key)
        return f"ssl_endpoint=127.0.0.1:{port} ssl_certificate={served} ssl_private_key={key}"

    def _create_user(self, name: str, keys: Keys, *more: str) -> None:
        # The keys live as long as this server; in argv they betray nothing.
        self._run(
            "radosgw-admin",
            *("user", "create", "--uid", name, "--display-name", name),
            *("--access-key", keys.access_key, "--secret-key", keys.secret_key),
            *more,
        )

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=self.ca_bundle)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            opener.open(self.endpoint_url, timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            return False
        return True

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [program, *arguments, "-c", str(self.directory / "ceph.conf")]

    def _run(self, program: str, *arguments: str) -> None:
        """Run a command to its end; it has the whole start's time, and fails with its own words."""
        command = self._command(program, *arguments)
        try:
            subprocess.run(
                command, check=True, capture_output=True, timeout=START_SECONDS, text=True, env=_environment()
            )
        except subprocess.CalledProcessError as error:
            raise StartError(f"{program} ended with {error.returncode}: {error.stderr}") from None
        except subprocess.TimeoutExpired:
            raise StartError(f"{program} took longer than {START_SECONDS} s\n{self._logs()}") from None

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory / "output").open("ab") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command(program, *arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_environment(),
            )
        self._processes.append(process)
        return process

    def _logs(self) -> str:
        files = [self.directory / "output", *sorted(self.directory.glob("*.log"))]
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-600:]}" for file in files)

    def _end(self) -> None:
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait(STOP_SECONDS)
        shutil.rmtree(self.directory, ignore_errors=True)


def _compact(policy: Mapping[str, Any]) -> str:
    # radosgw takes the "+" that a space becomes in a form for a plus sign, and the JSON for malformed.
    return json.dumps(policy, separators=(",", ":"))


def _environment() -> dict[str, str]:
    """Return the environment without what would point ceph's programs at another cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CEPH_")}


def client(service: str, endpoint_url: str, keys: Keys, ca_bundle: Path | None = None) -> Any:
    """Return a boto3 client that neither retries nor asks the environment for anything."""
    return boto3.session.Session().client(
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.session_token,
        verify=str(ca_bundle) if ca_bundle else None,
        config=Config(
            parameter_validation=False,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )


def _wait_for_exit(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise StartError("ceph-osd --mkfs did not end") from None


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago; another who takes one costs a second start."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def main() -> None:
    """Run one by hand until Ctrl-C, and print how to reach it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate of its own")
    arguments = parser.parse_args()
    with RadosGateway(tls=arguments.tls) as gateway:
        print(f"export AWS_ENDPOINT_URL={gateway.endpoint_url}")
        print(f"export AWS_ACCESS_KEY_ID={gateway.access_key}")
        print(f"export AWS_SECRET_ACCESS_KEY={gateway.secret_key}")
        if gateway.ca_bundle:
            print(f"export AWS_CA_BUNDLE={gateway.ca_bundle}")
        print(f"export AWS_REGION={REGION}", flush=True)
        signal.pause()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except StartError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        pass
