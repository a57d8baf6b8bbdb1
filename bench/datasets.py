"""Fill the bucket with what the workloads read, move and remove, and the local folder with what they copy.

Objects are put as any tool puts them, without the attributes of a file system, so that no program has an
advantage.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.server import BUCKET, TRANSFER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MIB = 1 << 20
SMALL_BYTES = 4096
_THREADS = 4
# Any bytes do, as long as no part of a file is like another and no disk can compress them.
_NOISE = os.urandom(MIB)
_GIT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
_WHO = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Name what lies below `prefix`; `put` takes a client and the folder of local files."""

    prefix: str
    put: Callable[[Any, Path], None]


def remove(s3: Any, prefix: str) -> None:
    """Remove all keys with a prefix."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
        if keys:
            s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys, "Quiet": True})


def sizes(s3: Any, prefix: str) -> dict[str, int]:
    """Return by key the sizes of all objects with a prefix; markers of directories are left out."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    entries = (entry for page in pages for entry in page.get("Contents", ()))
    return {entry["Key"]: entry["Size"] for entry in entries if not entry["Key"].endswith("/")}


def put_local(folder: Path) -> None:
    """Write what the workloads copy from: small/ (200 files), tree.tar (500 in 10 directories), seed."""
    (folder / "seed").write_bytes(_NOISE)
    (folder / "small").mkdir()
    for number in range(200):
        (folder / "small" / f"f{number:04}").write_bytes(_small(number))
    with tarfile.open(folder / "tree.tar", "w") as archive:
        for number in range(500):
            member = tarfile.TarInfo(f"tree/d{number // 50:02}/f{number:04}")
            member.size, member.mode, member.mtime = SMALL_BYTES, 0o644, 1_700_000_000
            archive.addfile(member, io.BytesIO(_small(number)))


def _small(number: int, size_bytes: int = SMALL_BYTES) -> bytes:
    return (number.to_bytes(8, "big") + _NOISE[number % 1000 :])[:size_bytes]


def _put_all(s3: Any, objects: Iterable[tuple[str, bytes]]) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda item: s3.put_object(Bucket=BUCKET, Key=item[0], Body=item[1]), objects):
            pass


def _large(prefix: str, names: tuple[str, ...], mib: int, *, stays: bool = False) -> Dataset:
    """Return a dataset of large objects; the file that was put `stays` in the local folder, or goes."""

    def put(s3: Any, folder: Path) -> None:
        (folder / prefix).mkdir(exist_ok=True)
        for name in names:
            path = folder / prefix / name
            with path.open("wb") as file:
                for number in range(mib):
                    file.write(number.to_bytes(8, "big") + _NOISE[8:])
            s3.upload_file(str(path), BUCKET, prefix + name, Config=TRANSFER)
            if not stays:
                path.unlink()

    return Dataset(prefix=prefix, put=put)


def _copied(prefix: str, name: str, mib: int) -> Dataset:
    """Return a dataset of one large object, which the server copies from another that stays."""
    original = _large(f"original-{prefix}", (name,), mib)

    def put(s3: Any, folder: Path) -> None:
        if not sizes(s3, original.prefix):
            original.put(s3, folder)
        s3.copy_object(
            Bucket=BUCKET, Key=prefix + name, CopySource={"Bucket": BUCKET, "Key": original.prefix + name}
        )

    return Dataset(prefix=prefix, put=put)


def _many(prefix: str, names: Iterable[str], size_bytes: int = SMALL_BYTES) -> Dataset:
    keys = [prefix + name for name in names]

    def put(s3: Any, _folder: Path) -> None:
        _put_all(s3, ((key, _small(number, size_bytes)) for number, key in enumerate(keys)))

    return Dataset(prefix=prefix, put=put)


def _put_clone(s3: Any, folder: Path) -> None:
    """Put a git clone whose index agrees with the times that S3 gave the files, as any mount shows them."""
    clone = folder / "clone"
    git = ["git", *_WHO, "-C", str(clone)]

    def run(*arguments: str) -> str:
        return subprocess.run(
            [*git, *arguments], check=True, timeout=60, capture_output=True, text=True, env=os.environ | _GIT
        ).stdout

    names = [f"d{number // 20:03}/f{number:04}" for number in range(2000)]
    for number, name in enumerate(names):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes(_small(number, 500))
    run("init", "-q", "-b", "main")
    for setting in ("core.checkStat=minimal", "core.trustctime=false", "core.fileMode=false"):
        run("config", *setting.split("="))
    run("add", ".")
    run("commit", "-q", "-m", "All")
    run("gc", "-q")
    # Git wants a directory of references, and an empty one is nothing in S3.
    (clone / ".git" / "refs" / "heads" / "main").write_text(run("rev-parse", "main"))
    _put_all(s3, ((f"clone/{name}", (clone / name).read_bytes()) for name in names))
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="clone/"):
        for entry in page["Contents"]:
            seconds = entry["LastModified"].timestamp()
            os.utime(folder / entry["Key"], (int(seconds), int(seconds)))
    run("update-index", "-q", "--really-refresh")
    inner = [path for path in (clone / ".git").rglob("*") if path.is_file() and "hooks" not in path.parts]
    _put_all(s3, ((str(path.relative_to(folder)), path.read_bytes()) for path in inner))
    subprocess.run(["rm", "-r", str(clone)], check=True, timeout=60)


LARGE = _large("large/", ("read.bin",), 1024, stays=True)
QUARTERS = _large("quarters/", tuple(f"{number}.bin" for number in range(4)), 256)
THOUSAND = _many("thousand/", [f"f{number:04}" for number in range(1000)])
WIDE = _many("wide/", [f"d{number // 20:02}/f{number % 20:02}" for number in range(1000)], 1000)
CLONE = Dataset(prefix="clone/", put=_put_clone)
GONE = _many("gone/", [f"f{number:04}" for number in range(200)])
MOVED = _many("moved/", [f"before/f{number:04}" for number in range(200)])
BIG = _copied("big/", "before.bin", 512)
LOG = _copied("log/", "log.bin", 256)
EMPTY = _many("new/", [""], 0)
