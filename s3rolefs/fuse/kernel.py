"""Speak to the kernel about a FUSE mount: unmount it, see whether it is dead, widen its read-ahead.

Needs no pyfuse3, so that commands can use it without loading it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from pathlib import Path

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_FUSERMOUNT_LIMIT_SECONDS = 20.0
_LOOK_LIMIT_SECONDS = 5.0
# 1 MiB is the most that one FUSE request can carry; the kernel's default window is 128 KiB.
_READ_AHEAD_KIB = 1024


class MountBusyError(Exception):
    """Say that files are open on a mount, so that it cannot be unmounted now."""


class NotMountedError(Exception):
    """Say that nothing was unmounted, and in the message why."""


def unmount_blocking(directory: str, *, lazy: bool = False) -> None:
    """Unmount what is topmost on a directory; `lazy` takes the name away while files are open.

    Raises `MountBusyError`, `NotMountedError`.
    """
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(directory), _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)):
            code = ctypes.get_errno()
            raise MountBusyError(directory) if code == errno.EBUSY else NotMountedError(os.strerror(code))
        return
    result = subprocess.run(
        ["fusermount3", "-u", *(["-z"] if lazy else []), "--", directory],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=_FUSERMOUNT_LIMIT_SECONDS,
        check=False,
    )
    if result.returncode:
        message = result.stderr.strip()
        raise MountBusyError(directory) if "busy" in message else NotMountedError(message)


def is_disconnected_blocking(directory: str) -> bool:
    """Return whether the process behind a mount is gone ("Transport endpoint is not connected").

    A process that is there but hangs is not gone; it is given a few seconds to answer.
    """
    gone: list[bool] = []

    def look() -> None:
        try:
            # statfs is never answered from the kernel's caches, as stat is.
            os.statvfs(directory)
        except OSError as error:
            gone.append(error.errno == errno.ENOTCONN)

    # A thread that hangs in the kernel ends with the process.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_LOOK_LIMIT_SECONDS)
    return any(gone)


def widen(device: str) -> bool:
    """Raise the read-ahead of a mount if this user may; return whether it was.

    `device` is "major:minor" of the mount.
    """
    try:
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(str(_READ_AHEAD_KIB))
    except OSError:
        return False  # the mount works without
    return True
