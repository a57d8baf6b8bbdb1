"""Ask what a person means: a running mount, or what options alone say before anything is mounted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3rolefs.errors import UserError
from s3rolefs.mounting import mounttable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from s3rolefs.mounting.mounttable import Mount


def target_arguments(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the arguments that `ask` takes, and --json."""
    for declare in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("-o", "options", metavar="OPTS", multiple=True, help="Options, as for the mount."),
        click.argument("target", metavar="[DIR|s3://BUCKET|map://NAME]", required=False),
    ):
        command = declare(command)
    return command


def ask(command: str, target: str | None, options: Sequence[str]) -> dict[str, Any]:
    """Return the answer of the mount at `target`, or of a session obtained as `options` say.

    Raises `UserError`.
    """
    if target is not None and "://" not in target:
        from s3rolefs.mounting import control

        mount, path = mount_named(target, options)
        return control.ask(mount, command, path)
    from s3rolefs.mounting.access import ask_blocking
    from s3rolefs.mounting.asking import with_given
    from s3rolefs.mounting.options import parse_access
    from s3rolefs.mounting.views import QUESTIONS

    buckets = parse_access(target, options)
    return ask_blocking(buckets, with_given(buckets, os.environ), QUESTIONS[command])


def mount_named(directory: str, options: Sequence[str]) -> tuple[Mount, str]:
    """Return the mount that a directory lies in, and where in it ("" is its root).

    Judged by names: a hung mount is not touched. Options beside a mounted directory are refused.
    """
    if options:
        raise UserError(f"{directory} is mounted with options of its own: leave -o out, or the directory.")
    path = os.path.normpath(Path(directory).absolute())
    mount = mounttable.mount_of(path)
    if mount is None:
        # Through a symbolic link. No mount of ours lies on this path, so looking at it is safe.
        path = os.path.realpath(path)
        mount = mounttable.mount_of(path)
    if mount is None:
        raise UserError(
            f"{directory} lies in no mounted bucket: give a mounted directory "
            "(`findmnt -t fuse.s3rolefs` lists them)."
        )
    return mount, path[len(mount.mountpoint) :].lstrip("/")
