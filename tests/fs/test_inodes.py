"""The table of inodes, by itself."""

import pytest

from s3rolefs.config import FileConfig
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import attributes
from s3rolefs.fs.inode import Inode
from s3rolefs.fs.inodes import ROOT_NUMBER, InodeTable
from s3rolefs.fs.names import Kind, Step

FILES = FileConfig(uid=0, gid=0, spool_dir="/nowhere")
NOTHING = attributes.of_directory(None, FILES, default_time_ns=0)


@pytest.fixture
def table():
    root = Inode(
        ROOT_NUMBER, None, Step(Kind.DIRECTORY, ""), NOTHING, info=None, checked_at_seconds=0, permanent=True
    )
    return InodeTable("", root)


def added(table):
    return table.add(table.root, Step(Kind.OBJECT, "f"), NOTHING, info=None, checked_at_seconds=0)


def test_dropping_an_inode_twice_does_not_drop_another_of_its_number(table):
    """An operation still holds the first when the kernel has forgotten it, and looks its name up again."""
    first = added(table)
    table.forget(first.number, 1)
    second = added(table)
    second.lookups = 1
    assert second.number == first.number
    table.drop_if_unused(first)
    assert table.get(second.number) is second
    table.forget(second.number, 1)
    with pytest.raises(FileSystemError) as caught:
        table.get(second.number)
    assert caught.value.reason is Reason.STALE
