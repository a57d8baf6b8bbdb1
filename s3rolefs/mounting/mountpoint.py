"""Check the directory and the machine before mounting."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from s3rolefs.errors import MountFailure, SystemFailure, UserError
from s3rolefs.fuse import kernel
from s3rolefs.mounting import mounttable

_DEVICE = Path("/dev/fuse")
_FUSE_CONF = Path("/etc/fuse.conf")


def prepare(directory: str, fuse_options: tuple[str, ...]) -> str:
    """Return the real path of a directory that can be mounted on, or say why it cannot.

    What a crashed process left behind there ("Transport endpoint is not connected") is removed.

    Raises `MountFailure`, `SystemFailure`, `UserError`.
    """
    path = str(Path(directory).absolute())
    # Before anything looks at the directory: a dead mount fails every look.
    _check_free(os.path.normpath(path))
    real = os.path.realpath(path)
    _check_free(real)
    _check_directory(directory, real)
    check_machine(fuse_options)
    return real


def check_machine(fuse_options: tuple[str, ...]) -> None:
    """Raise a sentence where this machine or this user cannot make FUSE mounts."""
    if not _DEVICE.is_char_device():
        raise SystemFailure(
            f"{_DEVICE} is missing: load the kernel module with `modprobe fuse` "
            "(a container needs --device /dev/fuse --cap-add SYS_ADMIN)."
        )
    if os.geteuid() == 0:
        return
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        raise SystemFailure(
            f"You may not open {_DEVICE}: root has to run `chmod 666 {_DEVICE}`, as udev does where it runs."
        )
    if shutil.which("fusermount3") is None:
        raise SystemFailure(
            "fusermount3 is missing, without which only root can mount: install the package fuse3."
        )
    shared = {"allow_other", "allow_root"} & set(fuse_options)
    if shared and not _users_may_share():
        raise UserError(
            f"Users may not give {shared.pop()} on this machine: "
            f"root has to put the line user_allow_other into {_FUSE_CONF}, or leave the option out."
        )


def _check_free(path: str) -> None:
    mount = mounttable.mount_at(path)
    if mount is None:
        return
    if mount.filesystem.startswith("fuse") and kernel.is_disconnected_blocking(path):
        try:
            kernel.unmount_blocking(path, lazy=True)
        except kernel.NotMountedError as error:
            raise MountFailure(
                f"{path} holds a dead mount of {mount.source} that you may not remove ({error}): "
                f"run `umount -l {path}` as root."
            ) from None
        _check_free(path)
        return
    raise MountFailure(
        f"{path} already has {mount.source} mounted on it: unmount that first with `umount {path}`, "
        "or choose another directory."
    )


def _check_directory(given: str, real: str) -> None:
    try:
        mode = Path(real).stat().st_mode
    except FileNotFoundError:
        raise MountFailure(
            f"The directory {given} does not exist: create it with `mkdir -p {given}`."
        ) from None
    except NotADirectoryError:
        raise MountFailure(f"{given} cannot be mounted on: a part of that path is a file.") from None
    except PermissionError:
        raise MountFailure(
            f"{given} cannot be reached: you may not enter one of the directories above it."
        ) from None
    except OSError as error:
        raise MountFailure(f"{given} cannot be mounted on: {error.strerror}.") from None
    if not stat.S_ISDIR(mode):
        raise MountFailure(f"{given} is not a directory: a bucket is mounted on a directory.")
    if os.geteuid() != 0 and not os.access(real, os.W_OK):
        raise MountFailure(
            f"{given} is not yours: users can mount only on a directory that they may write to."
        )


def _users_may_share() -> bool:
    try:
        lines = _FUSE_CONF.read_text().splitlines()
    except OSError:
        return False
    return any(line.split("#")[0].strip() == "user_allow_other" for line in lines)
