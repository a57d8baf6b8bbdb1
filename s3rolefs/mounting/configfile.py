"""Find and read the configuration files, which may name commands to run: so whose they are counts."""

from __future__ import annotations

import os
import pwd
import re
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3rolefs.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

REPLACEMENT = "S3ROLEFS_CONFIG"
"""The variable that names one file to read in place of all others."""

_SYSTEM_FILE = Path("/etc/s3rolefs/config.toml")
_LARGEST_BYTES = 1024 * 1024


def places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files to look for; what stands in a later one counts more. Raises `UserError`."""
    if replacement := environ.get(REPLACEMENT):
        path = Path(replacement).absolute()
        if not path.exists():
            raise UserError(f"{REPLACEMENT}={path} does not exist: correct the path, or unset it.")
        return (path,)
    home = environ.get("XDG_CONFIG_HOME") or f"{_home(environ)}/.config"
    return (_SYSTEM_FILE, Path(home).absolute() / "s3rolefs" / "config.toml")


def read(path: Path) -> dict[str, Any]:
    """Return what stands in a file, nothing where there is none.

    Raises `UserError` for one that is no TOML, or that somebody else could have changed.
    """
    try:
        # O_NONBLOCK: opening a pipe nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); it must be readable for the user who mounts."
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        _check(path, os.fstat(descriptor))
        content = file.read(_LARGEST_BYTES)
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}, is no text in UTF-8: write the file anew.") from None
    except RecursionError:
        raise UserError(f"{path} nests brackets too deep to be read.") from None
    except ValueError as error:
        said, line = str(error), content.rstrip().count(b"\n") + 1
        if found := re.search(r" \(at line (\d+), column \d+\)$", said):
            said, line = said[: found.start()], int(found[1])
        said = said.removesuffix(" (at end of document)")
        raise UserError(f"{path}, line {line}, is no TOML ({said}): correct it there.") from None


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is not a regular file.")
    if status.st_uid not in {0, os.geteuid()}:
        raise UserError(
            f"{path} belongs to another user, who could have commands run here; run `chown root {path}`."
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(
            f"{path} can be changed by others, who could have commands run here; run `chmod go-w {path}`."
        )
    if status.st_size > _LARGEST_BYTES:
        raise UserError(f"{path} is larger than 1 MiB, so it is not what it should be.")


def _home(environ: Mapping[str, str]) -> str:
    # mount(8) takes HOME away.
    try:
        return environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
