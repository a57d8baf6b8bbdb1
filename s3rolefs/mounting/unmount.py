"""Unmount and wait until the serving process has sent everything: umount's helper.

umount(2) returns before the process behind a FUSE mount is done, so who unplugs the network after
it would lose what is still being sent.
"""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.errors import MountFailure, SystemFailure, UserError
from s3rolefs.fuse import kernel
from s3rolefs.mounting import control, mounttable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from s3rolefs.mounting.control import Answer

# How often somebody who waits is told what is still unsent.
_TELL_SECONDS = 1.0
# The process keeps to its stop_timeout; this is only against waiting for ever.
_WAIT_LIMIT_SECONDS = 3600.0


def unmount(directory: str, *, lazy: bool, tell: Callable[[str], None]) -> None:
    """Unmount a directory and return once its process has ended; `tell` gets what is pending.

    Raises `MountFailure`, with status 32, when it is busy or not ours; `SystemFailure`, with status
    2, when it is unmounted, but not everything is in the bucket.
    """
    path = os.path.normpath(Path(directory).absolute())
    mount = mounttable.mount_at(path)
    if mount is None:
        # Through a symbolic link; looking at the directory is safe where nothing is mounted on it.
        path = os.path.realpath(path)
        mount = mounttable.mount_at(path)
    if mount is None or mount.filesystem != mounttable.FILESYSTEM_TYPE:
        raise MountFailure(f"{directory} has no bucket mounted on it.")
    if os.geteuid() not in {0, mount.owner}:
        raise MountFailure(
            f"{directory} was mounted by another user: only that user and root may unmount it."
        )
    try:
        connection: socket.socket | None = control.connect(mount)
    except UserError:
        # Dead: unmounting is judged by the kernel.
        connection = None
    # Asked while it is sure to answer: the process may end as soon as it is unmounted.
    standing = _standing(connection) if connection is not None and not lazy else None
    try:
        kernel.unmount_blocking(path, lazy=lazy)
    except kernel.MountBusyError:
        raise MountFailure(
            f"{directory} is busy: close what is open there (`fuser -vm {directory}` shows who), "
            "or take it away with `umount -l`."
        ) from None
    except kernel.NotMountedError as error:
        raise MountFailure(f"{directory} could not be unmounted: {error}.") from None
    if connection is not None and not lazy:
        with connection:
            _wait(connection, standing, tell)


def _wait(connection: socket.socket, standing: Answer | None, tell: Callable[[str], None]) -> None:
    pid, _ = control.peer_of(connection)
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + _WAIT_LIMIT_SECONDS
    told = ""
    try:
        while time.monotonic() < deadline:
            ended, _, _ = select.select([process], [], [], _TELL_SECONDS)
            if ended:
                break
            standing = _standing(connection) or standing
            if standing is not None and (pending := _pending(standing)) not in ("", told):
                told = pending
                tell(pending)
    finally:
        os.close(process)
    kept = _kept_in(Path(standing["kept_in"])) if standing is not None else []
    if kept:
        raise SystemFailure(
            f"{_files_are(len(kept))} not in the bucket, but kept for the next mount: {', '.join(kept)}"
        )


def _standing(connection: socket.socket) -> Answer | None:
    """Return the mount's status, None when its process is about to end."""
    try:
        return control.ask_on(connection, "status")
    except UserError:
        return None


def _pending(standing: Answer) -> str:
    """Say what is waited for, "" when it is nothing."""
    unsent, waiting = standing["unsent"], standing["waiting"]
    files, removals = waiting["files"] + len(unsent), waiting["removals"]
    what = [f"{_files_are(files)} sent"] * bool(files) + [f"{_files_are(removals)} removed"] * bool(removals)
    why = f": {unsent[0]['path']} ({unsent[0]['reason']})" if unsent else ""
    return f"waiting until {' and '.join(what)}{why} ..." if what else ""


def _kept_in(folder: Path) -> list[str]:
    """Return the files of what was not sent; the removals that S3 has not heard of are in the journal."""
    return sorted(str(path) for path in folder.glob("*") if path.suffix in {".data", ".journal"})


def _files_are(count: int) -> str:
    return "1 file is" if count == 1 else f"{count} files are"
