"""Read the kernel's table of mounts without touching any of them.

Source: proc(5), /proc/PID/mountinfo. A hung file system hangs everybody who looks at its
directory, so whatever is to be known about mounts is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILESYSTEM_TYPE = "fuse.s3rolefs"

_TABLE = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Describe one mount. `device` is "major:minor"; `owner` the uid in a FUSE mount's options."""

    device: str
    mountpoint: str
    filesystem: str
    source: str
    owner: int | None


def mounts() -> list[Mount]:
    """Return all mounts of this namespace, in the order they were made."""
    # Bytes that are no UTF-8 may stand in a directory's name.
    text = _TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    return [_parse(line) for line in text.splitlines()]


def mount_at(directory: str) -> Mount | None:
    """Return what is mounted on exactly this directory, the topmost; autofs triggers do not count."""
    found = [m for m in mounts() if m.mountpoint == directory and m.filesystem != "autofs"]
    return found[-1] if found else None


def mounts_of_ours() -> list[Mount]:
    """Return the s3rolefs mounts."""
    return [mount for mount in mounts() if mount.filesystem == FILESYSTEM_TYPE]


def mount_of(path: str) -> Mount | None:
    """Return the s3rolefs mount that an absolute path lies in, judged by its name alone."""
    found = [m for m in mounts_of_ours() if path == m.mountpoint or path.startswith(m.mountpoint + "/")]
    return max(found, key=lambda m: len(m.mountpoint), default=None)


def _parse(line: str) -> Mount:
    fields = line.split(" ")
    separator = fields.index("-", 6)
    filesystem, source, options = fields[separator + 1 : separator + 4]
    owner = re.search(r"(?:^|,)user_id=(\d+)", options)
    return Mount(
        device=fields[2],
        mountpoint=_unescape(fields[4]),
        filesystem=filesystem,
        source=_unescape(source),
        owner=int(owner[1]) if owner else None,
    )


def _unescape(text: str) -> str:
    # The kernel writes blanks, tabs, line ends and backslashes as \ooo, one byte each.
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
