"""Let ordinary programs work on a mount and on a local disk: what they print and leave is the same."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bed.effort import EFFORT
from tests.bed.mounts import SPEEDS, Place, run
from tests.bed.trees import tree

LIMIT_SECONDS = 100
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_AUTHOR_DATE": "1400000000 +0000",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_COMMITTER_DATE": "1400000000 +0000",
    "TOOLS": str(Path(__file__).with_name("tools")),
    "COMMITS": "20" if EFFORT == 1 else "200",
}
TOOLS = Path(__file__).with_name("tools")
# git keeps times and paths of each side: there, what the tool itself says is all that is compared.
OPAQUE = {"git"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A directory of the mount and one of the local disk, for one test."""

    mounted: Path
    local: Path

    def both(self, script: Path) -> None:
        """Run a script on both sides; it prints the same."""
        printed = [
            run(
                "bash", "-euo", "pipefail", script, cwd=side, env=ENVIRONMENT, limit_seconds=LIMIT_SECONDS
            ).stdout
            for side in (self.local, self.mounted)
        ]
        assert printed[0] == printed[1]

    def compare(self) -> None:
        """Both sides hold the same."""
        assert tree(self.mounted) == tree(self.local)


def make_sides(mount, tmp_path, name):
    made = Sides(mounted=mount.path / name, local=tmp_path / "local")
    made.mounted.mkdir()
    made.local.mkdir()
    return made


@pytest.fixture(scope="module", params=SPEEDS)
def mounted(tmp_path_factory, radosgw, radosgw_s3, request):
    bucket = f"tools-{request.param}"
    radosgw_s3.create_bucket(Bucket=bucket)
    place = Place(tmp_path_factory.mktemp("tools"), radosgw)
    options = SPEEDS[request.param]
    with place.mounted(f"s3://{bucket}", allow_other=True, default_permissions=True, **options) as mount:
        yield mount


@pytest.fixture
def sides(mounted, tmp_path, request):
    return make_sides(mounted, tmp_path, request.node.name)


@pytest.fixture(scope="module")
def mounted_with_xattr(tmp_path_factory, radosgw, radosgw_s3):
    radosgw_s3.create_bucket(Bucket="tools-xattr")
    place = Place(tmp_path_factory.mktemp("tools"), radosgw)
    with place.mounted("s3://tools-xattr", allow_other=True, default_permissions=True, xattr=True) as mount:
        yield mount


@pytest.fixture
def sides_with_xattr(mounted_with_xattr, tmp_path, request):
    return make_sides(mounted_with_xattr, tmp_path, request.node.name)


@pytest.mark.parametrize("tool", sorted(script.stem for script in TOOLS.glob("*.sh")))
def test_a_tool_works_as_on_a_disk(sides, tool):
    sides.both(TOOLS / f"{tool}.sh")
    if tool not in OPAQUE:
        sides.compare()


@pytest.mark.parametrize("tool", sorted(script.stem for script in (TOOLS / "xattr").glob("*.sh")))
def test_a_tool_keeps_extended_attributes(sides_with_xattr, tool):
    sides_with_xattr.both(TOOLS / "xattr" / f"{tool}.sh")
    sides_with_xattr.compare()


def test_access_control_lists_are_refused_clearly(sides_with_xattr):
    sides = sides_with_xattr
    (sides.local / "f").write_text("content")
    (sides.local / "f").chmod(0o640)
    run("setfacl", "-m", "user:12:r", sides.local / "f")
    run("tar", "--acls", "-cf", "t.tar", "f", cwd=sides.local)
    for status, *command in (
        (23, "rsync", "-aA", sides.local / "f", sides.mounted / "rsynced"),
        (1, "cp", "-a", sides.local / "f", sides.mounted / "copied"),
        (0, "tar", "--acls", "-xf", sides.local / "t.tar", "-C", sides.mounted),  # tar only warns
        (1, "setfacl", "-m", "user:12:r", sides.mounted / "f"),
        (1, "setfacl", "-d", "-m", "user:12:r", sides.mounted),
    ):
        done = run(*command, check=False)
        assert (done.returncode, "Operation not supported" in done.stderr) == (status, True), done.stderr
    # What is there is whole, and what it has is its mode.
    for name in ("f", "rsynced", "copied"):
        path = sides.mounted / name
        assert (path.read_text(), path.stat().st_mode & 0o7777) == ("content", 0o640)
    about = run("getfacl", "--omit-header", "f", cwd=sides.mounted).stdout
    assert about.split() == ["user::rw-", "group::r--", "other::---"]


def test_what_needs_hard_links_is_refused_clearly(sides):
    (sides.local / "one").write_text("x")
    (sides.local / "two").hardlink_to(sides.local / "one")
    copied = run("rsync", "-aH", f"{sides.local}/", sides.mounted, check=False)
    assert copied.returncode == 23
    assert "Operation not permitted" in copied.stderr
    run("tar", "cf", sides.local / "t.tar", "-C", sides.local, "one", "two")
    unpacked = run("tar", "xf", sides.local / "t.tar", "-C", sides.mounted, check=False)
    assert (unpacked.returncode, "Operation not permitted" in unpacked.stderr) == (2, True)
    # Without the links it is two files.
    run("rsync", "-a", "--exclude=t.tar", f"{sides.local}/", sides.mounted)
    assert {file.name: file.read_text() for file in sides.mounted.iterdir()} == {"one": "x", "two": "x"}


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"pragma journal_mode={sys.argv[2]}")
connection.execute("pragma synchronous=full")
connection.execute("create table t (n integer primary key, filling blob)")
for n in range(10**6):
    connection.execute("begin")
    connection.execute("insert into t values (?, zeroblob(3000))", (n,))
    connection.execute("update t set filling = randomblob(4000) where n = ? / 2", (n,))
    connection.execute("commit")
    print(n, flush=True)
"""


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
def test_a_killed_writer_leaves_sqlite_whole(sides, journal):
    path = sides.mounted / "db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, journal], stdout=subprocess.PIPE, text=True
    ) as writer:
        for _ in range(15):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split())])
    with sqlite3.connect(path, isolation_level=None) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert connection.execute("pragma journal_mode").fetchone() == (
            "wal" if journal == "wal" else "delete",
        )
        count, most = connection.execute("select count(*), max(n) from t").fetchone()
        assert count == most + 1
        # What was committed is there; of the transaction that was being committed nobody knows.
        assert most in (last, last + 1)
        connection.execute("insert into t values (-1, '')")
        connection.execute("vacuum")
    connection.close()


def test_sqlite_locks_keep_writers_apart(sides):
    path = sides.mounted / "db"
    run("sqlite3", path, "create table t (n)")
    writers = [
        subprocess.Popen(["sqlite3", "-cmd", ".timeout 60000", path, "insert into t values (1);" * 5])
        for _ in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert run("sqlite3", path, "select count(*) from t; pragma integrity_check").stdout == "20\nok\n"


def test_pip_installs_a_wheel_into_a_mount(sides, tmp_path):
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in about.items():
            archive.writestr(f"thing-1.0.dist-info/{name}", text)
        archive.writestr("thing/__init__.py", "")
        for number in range(20):
            archive.writestr(f"thing/m{number}.py", f"n = {number}\n")
    quietly = ["--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check", "--no-compile"]
    for side in (sides.local, sides.mounted):
        for more in ([], ["--upgrade"]):
            run(
                sys.executable, "-m", "pip", "install", *quietly, *more, "--target", side, wheel, cwd=tmp_path
            )
        script = "import sys; sys.dont_write_bytecode = True; import thing.m7; print(thing.m7.n)"
        assert run(sys.executable, "-c", script, env={"PYTHONPATH": str(side)}).stdout == "7\n"
    sides.compare()


PARQUET = """
import pandas, pyarrow.parquet as parquet, pyarrow.dataset as dataset
rows = range(100_000)
frame = pandas.DataFrame({"n": rows, "s": [f"text {n}" for n in rows], "x": [n / 7 for n in rows]})
frame.to_parquet("whole.parquet", row_group_size=10_000)
assert pandas.read_parquet("whole.parquet").equals(frame)
assert pandas.read_parquet("whole.parquet", columns=["x"], filters=[("n", ">=", 99_990)]).shape == (10, 1)
assert parquet.read_table("whole.parquet", memory_map=True).num_rows == 100_000
frame["part"] = frame.n % 3
frame.to_parquet("parts", partition_cols=["part"])
assert dataset.dataset("parts", partitioning="hive").count_rows() == 100_000
assert sorted(pandas.read_parquet("parts").n) == list(rows)
frame.to_parquet("whole.parquet")
assert pandas.read_parquet("whole.parquet").equals(frame)
"""


def test_pandas_writes_and_reads_parquet(sides):
    for side in (sides.local, sides.mounted):
        run(sys.executable, "-c", PARQUET, cwd=side)
    assert (sides.mounted / "whole.parquet").read_bytes() == (sides.local / "whole.parquet").read_bytes()
