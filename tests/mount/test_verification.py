"""Compare every byte: fio, an exerciser like fsx, sizes at which something changes, holes."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from s3rolefs.fs.parts import SINGLE_PUT_LIMIT_BYTES, STREAM_PART_BYTES
from tests.bed.effort import EFFORT
from tests.bed.mounts import SPEEDS, Place, run
from tests.bed.radosgw import RadosGateway

MIB = 1 << 20
GIB = 1 << 30
SPARSE_BYTES = 256 * MIB if EFFORT == 1 else 5 * GIB
CALLS = 300 * min(EFFORT, 10)

JOBS = {
    "small-random": "rw=randwrite bsrange=512-64k size=6m ioengine=psync",
    "large-sequential": "rw=write bs=1m size=40m ioengine=psync",
    "mixed": "rw=randrw bssplit=1k/40:4k/30:128k/30 size=8m ioengine=psync fsync=50",
    "mapped": "rw=randwrite bs=4k size=4m ioengine=mmap",
    "rewritten": "rw=randwrite bs=8k size=20m io_size=4m ioengine=psync overwrite=1",
}


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("job", JOBS)
def test_fio_finds_what_it_wrote_also_on_another_mount(place, bucket, tmp_path, job, speed):
    options = [f"--{option}" for option in JOBS[job].split()]
    fio = [
        "fio",
        "--name=job",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--randseed=7",
        "--fallocate=none",
        *options,
    ]
    with place.mounted(f"s3://{bucket}", **SPEEDS[speed]) as mount:
        run(*fio, f"--directory={mount.path}", cwd=tmp_path)
    with place.mounted(f"s3://{bucket}", **SPEEDS[speed]) as mount:
        assert (mount.path / "job.0.0").stat().st_size
        run(*fio, "--verify_only", f"--directory={mount.path}", cwd=tmp_path)


def exercise(path, rng: random.Random, limit_bytes: int) -> bytes:
    """Do random calls on a file and compare what is read with a bytearray; return what the file must hold."""
    model = bytearray()
    files = [os.open(path, os.O_RDWR | os.O_CREAT), os.open(path, os.O_RDWR)]
    try:
        for _ in range(CALLS if limit_bytes < 10 * MIB else CALLS // 4):
            file = rng.choice(files)
            # Mostly small, now and then as large as the file may be.
            offset, size = (int(limit_bytes * rng.random() ** rng.choice((1, 8))) for _ in range(2))
            size = min(size, limit_bytes - offset)
            call = rng.choice(
                ("read", "read", "write", "write", "append", "cut", "grow", "map", "fsync", "reopen")
            )
            if call == "read":
                assert os.pread(file, size, offset) == model[offset : offset + size]
            elif call in ("write", "append"):
                offset = len(model) if call == "append" else offset
                content = rng.randbytes(min(size, max(0, limit_bytes - offset)))
                assert os.pwrite(file, content, offset) == len(content)
                if content:
                    model.extend(bytes(max(0, offset - len(model))))
                    model[offset : offset + len(content)] = content
            elif call in ("cut", "grow"):
                length = min(offset, len(model)) if call == "cut" else max(offset, len(model))
                rng.choice((lambda to: os.ftruncate(file, to), lambda to: os.truncate(path, to)))(length)  # noqa: B023
                del model[length:]
                model.extend(bytes(length - len(model)))
            elif call == "map" and model:
                with mmap.mmap(file, len(model)) as mapping:
                    assert mapping[:] == model
                    offset %= len(model)
                    content = rng.randbytes(min(size, len(model) - offset))
                    mapping[offset : offset + len(content)] = content
                    model[offset : offset + len(content)] = content
            elif call == "fsync":
                os.fsync(file)
            elif call == "reopen":
                os.close(file)
                files[files.index(file)] = os.open(path, os.O_RDWR)
            assert os.fstat(file).st_size == len(model)
    finally:
        for file in files:
            os.close(file)
    return bytes(model)


@pytest.mark.timeout(60 + 60 * EFFORT)
@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("limit_bytes", [100_000, 3 * MIB, 40 * MIB])
def test_an_exerciser_reads_what_it_wrote_also_on_another_mount(place, bucket, limit_bytes, speed):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown when the test fails
    with place.mounted(f"s3://{bucket}", **SPEEDS[speed]) as mount:
        content = exercise(mount.path / "f", random.Random(seed), limit_bytes)
        assert (mount.path / "f").read_bytes() == content
    with place.mounted(f"s3://{bucket}", **SPEEDS[speed]) as mount:
        assert (mount.path / "f").read_bytes() == content


def test_files_of_every_size_at_which_something_changes(place, bucket, radosgw_s3):
    borders = (0, MIB, SINGLE_PUT_LIMIT_BYTES, 2 * STREAM_PART_BYTES)
    sizes = sorted({max(0, border + more) for border in borders for more in (-1, 0, 1)})
    contents = {str(size): random.Random(size).randbytes(size) for size in sizes}
    with place.mounted(f"s3://{bucket}") as mount:
        for name, content in contents.items():
            (mount.path / name).write_bytes(content)
    for name, content in contents.items():
        assert radosgw_s3.get_object(Bucket=bucket, Key=name)["Body"].read() == content
    with place.mounted(f"s3://{bucket}") as mount:
        for name, content in contents.items():
            assert (mount.path / name).read_bytes() == content


@pytest.fixture
def roomy_place(tmp_path, radosgw):
    """Where to mount, on a server that has room for the sparse file (as zeros, in memory)."""
    with nullcontext(radosgw) if EFFORT == 1 else RadosGateway(size_bytes=2 * SPARSE_BYTES) as gateway:
        gateway.client("s3").create_bucket(Bucket="sparse")
        made = Place(tmp_path, gateway)
        yield made
        made.clear()


@pytest.mark.timeout(300)
def test_a_file_of_holes_takes_neither_disk_nor_memory(roomy_place):
    place = roomy_place
    with place.mounted("s3://sparse") as mount:
        with (mount.path / "f").open("wb") as file:
            file.truncate(SPARSE_BYTES)
            file.write(b"begin")
            file.seek(SPARSE_BYTES - 3)
            file.write(b"end")
            file.flush()
            assert spooled_bytes(mount.pid, place.spool) < 32 * MIB
        assert resident_bytes(mount.pid) < 256 * MIB
    with place.mounted("s3://sparse") as mount:
        digest = hashlib.sha256()
        with (mount.path / "f").open("rb") as file:
            assert file.read(5) == b"begin"
            file.seek(SPARSE_BYTES // 2)
            assert file.read(MIB) == bytes(MIB)
            file.seek(-4, os.SEEK_END)
            assert file.read() == b"\0end"
            file.seek(0)
            while piece := file.read(MIB):
                digest.update(piece)
    expected = hashlib.sha256(b"begin")
    for _ in range(SPARSE_BYTES // MIB - 1):
        expected.update(bytes(MIB))
    expected.update(bytes(MIB - 5 - 3) + b"end")
    assert digest.digest() == expected.digest()


def spooled_bytes(pid: int, folder) -> int:
    """Return what the files take of the disk that a process has open below a folder, nameless ones, too."""
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if str(file.readlink()).startswith(f"{folder}/"):
                found.append(file.stat().st_blocks * 512)
    assert found, "nothing is spooled"
    return sum(found)


def resident_bytes(pid: int) -> int:
    """Return the most memory that a process has had."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
