"""Time the requests that a row needs by themselves: no mount can take less than they do.

curl sends them, in C and with no file system: they are signed beforehand, and nothing is done with the
answers. Each wave is one curl, which opens its own connections.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.datasets import SMALL_BYTES, sizes
from bench.programs import Failure
from bench.server import BUCKET
from s3rolefs.s3 import requests
from s3rolefs.s3.requests import Request
from tests.bed.radosgw import REGION

if TYPE_CHECKING:
    from pathlib import Path

    from bench.programs import Service

# What our own mount has at once on a far line.
MANY = 64
_STREAMS = 4
_LIMIT_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Hold requests of which so many may be under way at once."""

    requests: Sequence[Request]
    at_once: int = 1


# From a client and the prefix of the row's data.
Floor = Callable[[Any, str], Sequence[Wave]]


def ask(method: str, key: str, body: bytes = b"") -> Request:
    """Build what asks for no more of an object than it must."""
    return Request(kind=method, method=method, key=key, path=f"/{requests.quote_key(key)}", body=body)


def each(method: str, at_once: int = 1) -> Floor:
    """Ask for every object."""
    return lambda s3, prefix: [
        Wave(requests=[ask(method, key) for key in sorted(sizes(s3, prefix))], at_once=at_once)
    ]


def four_parts(s3: Any, prefix: str) -> Sequence[Wave]:
    """Get everything in four parts at once, of one object or of four."""
    objects = sizes(s3, prefix)
    parts = _STREAMS // len(objects)
    gets = [
        requests.get_object(key, offset=size // parts * part, length=size // parts, if_match=None)
        for key, size in objects.items()
        for part in range(parts)
    ]
    return [Wave(requests=gets, at_once=_STREAMS)]


def puts(count: int, prefix: str) -> Floor:
    """Put small objects, one after the other, as who waits for each close does."""
    wave = Wave(requests=[ask("PUT", f"{prefix}{number}", bytes(SMALL_BYTES)) for number in range(count)])
    return lambda _s3, _prefix: [wave]


def removals(s3: Any, prefix: str) -> Sequence[Wave]:
    """Look at every object, at once, and delete them one after the other."""
    return [*each("HEAD", MANY)(s3, prefix), *each("DELETE")(s3, prefix)]


def gathered_removals(s3: Any, prefix: str) -> Sequence[Wave]:
    """Look at every object, at once, and delete them with one request."""
    return [
        *each("HEAD", MANY)(s3, prefix),
        Wave(requests=[requests.delete_objects(list(sizes(s3, prefix)))]),
    ]


def part_copy(s3: Any, prefix: str) -> Sequence[Wave]:
    """Let the server copy the one object into a part of another."""
    [(source, size)] = sizes(s3, prefix).items()
    key = f"{prefix}copy"
    for upload in s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads", ()):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload["UploadId"])
    upload_id = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    copy = requests.upload_part_copy(BUCKET, source, key, upload_id, 1, offset=0, length=size, if_match=None)
    return [Wave(requests=[copy])]


def seconds(waves: Sequence[Wave], service: Service, url: str, scratch: Path) -> float:
    """Send the waves, one after the other, and return how long that took; raises Failure."""
    commands = [_command(wave, service, url, scratch / f"wave{place}") for place, wave in enumerate(waves)]
    began = time.perf_counter()
    said = [_run(command) for command in commands]
    passed = time.perf_counter() - began
    for wave, statuses in zip(waves, said, strict=True):
        bad = sorted({status for status in statuses if not status.startswith("2")})
        if bad or len(statuses) != len(wave.requests):
            raise Failure(f"{len(statuses)} of {len(wave.requests)} requests were answered; refused: {bad}")
    return passed


def _run(command: Sequence[str]) -> list[str]:
    """Return the statuses of the answers."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"took more than {_LIMIT_SECONDS} s") from None
    return done.stdout.split()


def _command(wave: Wave, service: Service, url: str, options: Path) -> list[str]:
    """Write a file of options for curl, and return the command that reads it."""
    signer = S3SigV4Auth(Credentials(service.access_key, service.secret_key), "s3", REGION)
    body = options.with_suffix(".body")
    body.write_bytes(_bytes(wave.requests[0]))  # all of a wave send the same
    asked = [_options(request, signer, service, url, body) for request in wave.requests]
    options.touch(mode=0o600)
    options.write_text("\nnext\n".join(asked))
    parallel = ["--parallel", "--parallel-max", str(wave.at_once)] if wave.at_once > 1 else []
    return ["curl", "--disable", "--config", str(options), *parallel]


def _options(request: Request, signer: S3SigV4Auth, service: Service, url: str, body: Path) -> str:
    """Return how curl sends one request: it adds no header of its own that S3 would have to look at."""
    target = f"{url}/{BUCKET}{request.path}" + (f"?{request.query}" if request.query else "")
    signed = AWSRequest(method=request.method, url=target, headers=request.headers, data=_bytes(request))
    signer.add_auth(signed)
    headers = {"content-type": "", "expect": ""} | {
        name.lower(): value for name, value in signed.headers.items()
    }
    lines = ["silent", 'noproxy = "*"', f"url = {_quoted(target)}", "output = /dev/null"]
    lines.append(r'write-out = "%{http_code}\n"')
    if service.ca_bundle is not None:
        lines.append(f"cacert = {_quoted(str(service.ca_bundle))}")
    lines += [f"header = {_quoted(f'{name}: {value}')}" for name, value in headers.items()]
    if request.method == "HEAD":
        return "\n".join([*lines, "head"])
    if request.method in ("PUT", "POST"):
        lines.append(f"data-binary = {_quoted(f'@{body}')}")
    return "\n".join([*lines, f"request = {request.method}"])


def _bytes(request: Request) -> bytes:
    assert isinstance(request.body, bytes)
    return request.body


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
