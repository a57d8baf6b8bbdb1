"""Do what mount(8) asks its helper for: check, then start serving.

Source of the conventions: mount(8), "External helpers"; MOUNTING.md has what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from s3rolefs.mounting import launch, mountpoint
from s3rolefs.mounting.asking import with_given
from s3rolefs.mounting.environment import clean_environment
from s3rolefs.mounting.options import parse_mount

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class MountCall:
    """Hold one call as it was typed; `fake` is mount's -f, `sloppy` its -s."""

    source: str
    directory: str
    options: tuple[str, ...]
    foreground: bool = False
    fake: bool = False
    sloppy: bool = False
    read_only: bool = False


def mount_bucket(call: MountCall, environ: Mapping[str, str]) -> None:
    """Mount and return once it serves; in the foreground this process becomes the server.

    Raises `UserError` with the sentence and mount(8)'s exit status.
    """
    config = parse_mount(
        call.source, call.directory, call.options, sloppy=call.sloppy, read_only=call.read_only
    )
    clean_environment(environ, config.pass_env)
    config = replace(config, mountpoint=mountpoint.prepare(call.directory, config.fuse_options))
    if call.fake:
        return
    environ = with_given(config.buckets, environ)
    if call.foreground:
        launch.serve_in_foreground(config, environ)
    launch.launch(config, environ)
