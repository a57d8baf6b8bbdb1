"""Run the S3 that all programs are measured against, near and far, and count what it is asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from tests.bed.radosgw import REGION, RadosGateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "bench"
MEMORY_BYTES = 10 << 30
# What AWS asks for, with a GET as the unit (0.0004 USD per 1,000, against 0.005 for LIST, PUT and COPY).
_PRICES = {"GET": 1, "HEAD": 1, "DELETE": 0, "DELETE_MANY": 0, "ABORT_UPLOAD": 0}
_PRICE_OF_OTHERS = 12
_KINDS = {
    "list_bucket": "LIST",
    "list_buckets": "LIST",
    "list_multipart": "LIST",
    "copy_obj": "COPY",
    "init_multipart": "CREATE_UPLOAD",
    "complete_multipart": "COMPLETE_UPLOAD",
    "abort_multipart": "ABORT_UPLOAD",
    "delete_obj": "DELETE",
    "multi_object_delete": "DELETE_MANY",
}
_ANSWER_SECONDS = 20
_QUIET_SECONDS = 0.2
# One thread and small parts: what prepares a row must not crowd out what was asked for before.
TRANSFER = TransferConfig(multipart_chunksize=64 << 20, max_concurrency=2)


@dataclass(slots=True, kw_only=True)
class Asked:
    """Tell what the server was asked: requests by kind, and bytes of the bodies both ways."""

    kinds: dict[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def price(self) -> int:
        """Return what AWS would ask for, in GETs."""
        return sum(_PRICES.get(kind, _PRICE_OF_OTHERS) * count for kind, count in self.kinds.items())


class Lines:
    """Run the lines to a server on loopback, one for each latency, until `cleanup` ends them."""

    def __init__(self, cleanup: ExitStack) -> None:
        self._cleanup = cleanup
        self._ports: dict[int, int] = {}

    def url(self, address: str, latency_ms: int) -> str:
        """Return the address of a server as it is for somebody at that distance."""
        if latency_ms == 0:
            return address
        head, _, port = address.rpartition(":")
        if latency_ms not in self._ports:
            line = [sys.executable, "-m", "bench.line", port, str(latency_ms)]
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *line], stdout=subprocess.PIPE, text=True
            )
            self._cleanup.callback(process.wait, 10)
            self._cleanup.callback(process.kill)
            assert process.stdout
            self._ports[latency_ms] = int(process.stdout.readline())
        return f"{head}:{self._ports[latency_ms]}"


class Server:
    """Run one radosgw from `with` to its end, and a line to it for each latency.

    Requests are counted in radosgw's own log of operations, so for http and https, near and far, and every
    program alike.
    """

    def __init__(self, folder: Path, *, tls: bool) -> None:
        self._log = folder / "operations"
        settings = (
            "rgw enable ops log = true",
            "rgw ops log rados = false",
            f"rgw ops log file path = {self._log}",
            # It would free deleted objects at the cost of whoever is timed then; `free` does it between.
            "rgw enable gc threads = false",
        )
        self._gateway = RadosGateway(tls=tls, size_bytes=MEMORY_BYTES, settings="\n".join(settings))
        self._cleanup = ExitStack()
        self._lines = Lines(self._cleanup)

    def __enter__(self) -> Self:
        self._cleanup.enter_context(self._gateway)
        self.access_key, self.secret_key = self._gateway.access_key, self._gateway.secret_key
        self.ca_bundle = self._gateway.ca_bundle
        self.s3.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._cleanup.close()

    @cached_property
    def s3(self) -> Any:
        """Return a boto3 client that goes to the server directly."""
        return boto3.client(
            "s3",
            endpoint_url=self._gateway.endpoint_url,
            region_name=REGION,
            aws_access_key_id=self._gateway.access_key,
            aws_secret_access_key=self._gateway.secret_key,
            verify=str(self._gateway.ca_bundle) if self._gateway.ca_bundle else None,
            # Over https boto3 would send checksums in trailers, which radosgw 16 does not know.
            config=Config(
                request_checksum_calculation="when_required", s3={"addressing_style": "path"}, proxies={}
            ),
        )

    def url(self, latency_ms: int) -> str:
        """Return the address at the end of a line with this round trip; for 0 the server itself."""
        return self._lines.url(self._gateway.endpoint_url, latency_ms)

    def free(self) -> None:
        """Free the memory of what was deleted."""
        self._gateway.collect_garbage()

    def mark(self) -> int:
        """Return a place in the log after everything that has been answered."""
        sentinel = f"sentinel-{uuid.uuid4().hex}"
        self.s3.list_objects_v2(Bucket=BUCKET, Prefix=sentinel, MaxKeys=1)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            text = self._log.read_bytes()
            if (at := text.find(sentinel.encode())) >= 0 and (end := text.find(b"\n", at)) >= 0:
                return end + 1
            if time.monotonic() > deadline:
                raise TimeoutError(f"radosgw does not log its operations in {self._log}")
            time.sleep(0.02)

    def quiet(self) -> int:
        """Return a place in the log once nobody has asked for anything for a while."""
        mark = self.mark()
        while True:
            time.sleep(_QUIET_SECONDS)
            begin, mark = mark, self.mark()
            if not self.asked(begin, mark).kinds:
                return mark

    def asked(self, begin: int, end: int) -> Asked:
        """Return what was asked between two marks, without the marks themselves."""
        asked, kinds = Asked(), Counter[str]()
        for operation in _records(self._log.read_bytes()[begin:end].decode()):
            if "sentinel-" in operation["uri"]:
                continue
            kinds[_kind_of(operation)] += 1
            asked.bytes_sent += operation["bytes_sent"]
            asked.bytes_received += operation["bytes_received"]
        asked.kinds = dict(kinds.most_common())
        return asked


def _records(text: str) -> Iterator[dict[str, Any]]:
    """Yield the records of the log; several may stand on a line, and some versions put commas between."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        record, at = decoder.raw_decode(text, at)
        yield record


def _kind_of(operation: dict[str, Any]) -> str:
    method, target, _version = operation["uri"].split(" ")
    if operation["operation"] == "put_obj" and "uploadId=" in target:
        copied = operation["object_size"] > 0 and operation["bytes_received"] == 0
        return "UPLOAD_PART_COPY" if copied else "UPLOAD_PART"
    return _KINDS.get(operation["operation"], str(method))
