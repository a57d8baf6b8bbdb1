"""Tell what stands below a directory, in words that two file systems must have in common."""

from __future__ import annotations

import os
import stat
from pathlib import Path

# Times that somebody set lie before this one; all others are "now", wherever they were measured.
LONG_AGO_NS = 1_500_000_000 * 10**9


def described(status: os.stat_result) -> tuple[object, ...]:
    """Return type, mode, owners, size, links and modification time; of directories without size and links."""
    directory = stat.S_ISDIR(status.st_mode)
    return (
        stat.filemode(status.st_mode),
        status.st_uid,
        status.st_gid,
        None if directory else status.st_size,
        None if directory else status.st_nlink,
        status.st_mtime_ns if status.st_mtime_ns < LONG_AGO_NS else "now",
    )


def tree(root: str | Path, *, times_of_directories: bool = True) -> dict[str, object]:
    """Return by path what everything is, and its content or target."""
    found: dict[str, object] = {}
    for above, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(above, name)
            status = path.lstat()
            about = described(status)
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = path.readlink()
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            elif not times_of_directories:
                about = about[:-1]
            found[str(path.relative_to(root))] = (about, content)
    return found
