"""Say what is timed: each workload prepares, then runs one command on a fresh mount.

A time of these machines means nothing by itself; only the ratio of two programs in one run does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
_CHUNK = os.urandom(MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Describe one row: `prepare` fills the bucket, `command` runs in the mounted directory.

    `check` looks at the bucket afterwards: a program that lost data is not fast.
    """

    name: str
    title: str
    command: tuple[str, ...]
    size_bytes: int
    prepare: Callable[[Any, str], None]
    check: Callable[[Any, str], bool]


def _put_large(size_bytes: int) -> Callable[[Any, str], None]:
    def prepare(bucket: Any, key: str) -> None:
        path = Path(os.environ.get("TMPDIR", "/var/tmp")) / f"s3rolefs-bench-{os.getpid()}"
        try:
            with path.open("wb") as file:
                for number in range(size_bytes // MIB):
                    file.write(number.to_bytes(8, "big") + _CHUNK[8:])
            bucket.upload_file(str(path), key)
        finally:
            path.unlink(missing_ok=True)

    return prepare


def _nothing(bucket: Any, key: str) -> None:
    bucket.Object(key).delete()


def _has_size(size_bytes: int) -> Callable[[Any, str], bool]:
    return lambda bucket, key: bucket.Object(key).content_length == size_bytes


WORKLOADS = (
    Workload(
        name="read",
        title="read 1 GiB, cold",
        command=("dd", "if=read.bin", "of=/dev/null", "bs=1M", "status=none"),
        size_bytes=1024 * MIB,
        prepare=_put_large(1024 * MIB),
        check=_has_size(1024 * MIB),
    ),
    Workload(
        name="write",
        title="write 512 MiB + fsync",
        command=("dd", "if=/dev/zero", "of=write.bin", "bs=1M", "count=512", "conv=fsync", "status=none"),
        size_bytes=512 * MIB,
        prepare=_nothing,
        check=_has_size(512 * MIB),
    ),
)
