import pytest

from s3rolefs.model import MIB
from s3rolefs.mounting.memory import default_cache_bytes

GIB = 1024 * MIB


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A machine of 1 TiB, and a control group with a limit."""
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1024 * GIB // 4096}.__getitem__)

    def made(line, limits):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(f"12:cpu:/else\n{line}\n")
        for path, limit in limits.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(f"{limit}\n")
        return tmp_path

    return made


@pytest.mark.parametrize(
    ("line", "limits", "expected"),
    [
        ("0::/a/b", {}, 4 * GIB),
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "max"}, 4 * GIB),
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": 8 * GIB}, GIB),
        ("0::/a/b", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": 4 * GIB}, GIB // 2),
        ("0::/", {"sys/fs/cgroup/memory.max": 2 * GIB}, GIB // 4),
        ("0::/a", {"sys/fs/cgroup/memory.max": 64 * MIB}, 128 * MIB),
        ("4:memory:/a", {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": 8 * GIB}, GIB),
        ("4:memory:/of/the/host", {"sys/fs/cgroup/memory/memory.limit_in_bytes": 8 * GIB}, GIB),
    ],
)
def test_the_cache_is_an_eighth_of_what_the_mount_may_use(group, line, limits, expected):
    assert default_cache_bytes(group(line, limits)) == expected


def test_where_no_group_is_told_of_the_machine_counts(tmp_path):
    assert 128 * MIB <= default_cache_bytes(tmp_path) <= 4 * GIB
