"""Find the running mount that a person means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.errors import UserError
from s3rolefs.mounting import mounttable

if TYPE_CHECKING:
    from s3rolefs.mounting.mounttable import Mount


def mount_named(directory: str) -> Mount:
    """Return the mount that a directory lies in, judged by names: a hung mount is not touched."""
    path = os.path.normpath(Path(directory).absolute())
    mount = mounttable.mount_of(path)
    if mount is None:
        # Through a symbolic link. No mount of ours lies on this path, so looking at it is safe.
        mount = mounttable.mount_of(os.path.realpath(path))
    if mount is None:
        raise UserError(
            f"{directory} lies in no mounted bucket: give a mounted directory "
            "(`findmnt -t fuse.s3rolefs` lists them)."
        )
    return mount
