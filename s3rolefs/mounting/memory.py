"""Find out how much memory there is for caches."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from s3rolefs.model import MIB

_SHARE = 8
_LEAST_BYTES = 128 * MIB
_MOST_BYTES = 4096 * MIB


def default_cache_bytes(root: Path = Path("/")) -> int:
    """Return an eighth of the memory that this process may use, within 128 MiB and 4 GiB."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(_LEAST_BYTES, min(_MOST_BYTES, min([machine_bytes, *_group_limits(root)]) // _SHARE))


def _group_limits(root: Path) -> list[int]:
    """Return the limits of the control groups this process is in (cgroups(7), both versions)."""
    limits: list[int] = []
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers not in {"", "memory"}:
                continue
            mounted = root / "sys/fs/cgroup" / controllers
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            path = Path(group.lstrip("/"))
            # A container sees its own group as the root, under whatever name the host gave it.
            for folder in {mounted / path, *(mounted / parent for parent in path.parents), mounted}:
                with suppress(OSError, ValueError):  # "max"
                    limits.append(int((folder / name).read_text()))
    return limits
