"""The kernel's table is read as proc(5) describes it."""

import pytest

from s3rolefs.mounting import mounttable

TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
40 27 0:50 / /mnt/a rw,nosuid shared:7 master:1 - fuse.s3rolefs s3://bucket/a\040b/ rw,user_id=1000,group_id=5
41 40 0:51 / /mnt/a/in\040ner rw - fuse.s3rolefs s3://other rw,user_id=0,group_id=0
42 27 0:52 / /mnt/auto rw - autofs systemd-1 rw
43 27 0:53 / /mnt/top rw - ext4 /dev/x rw
44 43 0:54 / /mnt/top rw - fuse.s3rolefs s3://top rw,user_id=0
"""


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    monkeypatch.setattr(mounttable, "_TABLE", path)


def test_a_mount_is_found_by_its_directory():
    mount = mounttable.mount_at("/mnt/a")
    assert mount == mounttable.Mount(
        device="0:50",
        mountpoint="/mnt/a",
        filesystem="fuse.s3rolefs",
        source="s3://bucket/a b/",
        owner=1000,
    )


def test_the_topmost_counts():
    assert mounttable.mount_at("/mnt/top").source == "s3://top"


def test_an_automount_trigger_does_not_count():
    assert mounttable.mount_at("/mnt/auto") is None


def test_a_path_inside_a_mount():
    assert mounttable.mount_of("/mnt/a/x/y").device == "0:50"
    assert mounttable.mount_of("/mnt/a/in ner").device == "0:51"
    assert mounttable.mount_of("/mnt/abc") is None
