"""`s3rolefs mount`, which is also the helper that mount(8) calls."""

from __future__ import annotations

import os

import click

from s3rolefs import __version__
from s3rolefs.cli.options import MountCommand


@click.command(
    cls=MountCommand,
    short_help="Mount a bucket, a prefix of it, or a map of several.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("source", metavar="s3://BUCKET[/PREFIX/]|map://NAME")
@click.argument("directory", metavar="DIR")
@click.option(
    "-o", "options", metavar="OPTS", multiple=True, help="Options, separated with commas (see below)."
)
@click.option("--foreground", is_flag=True, help="Serve in this process, with the log on stderr.")
@click.option("-f", "--fake", is_flag=True, help="Check everything that can be checked without mounting.")
@click.option("-s", "sloppy", is_flag=True, help="Let unknown options pass.")
@click.option("-r", "--read-only", is_flag=True, help="Mount read-only (the same as -o ro).")
@click.option("-w", "--read-write", is_flag=True, hidden=True)
@click.option("-v", "--verbose", is_flag=True, help="Say what was mounted.")
@click.option("-n", "--no-mtab", is_flag=True, hidden=True)
@click.option("-t", "--types", metavar="TYPE", hidden=True)
@click.option("-N", "--namespace", metavar="NS", hidden=True)
@click.version_option(__version__, "-V", "--version", prog_name="s3rolefs")
def mount(
    source: str,
    directory: str,
    options: tuple[str, ...],
    *,
    foreground: bool,
    fake: bool,
    sloppy: bool,
    read_only: bool,
    verbose: bool,
    **_ignored: object,
) -> int:
    """Mount a bucket, what lies below a prefix of it, or a map of several, on a directory.

    Returns when the mount has answered its first request.
    """
    from s3rolefs.mounting.helper import MountCall, mount_bucket

    mount_bucket(
        MountCall(
            source=source,
            directory=directory,
            options=options,
            foreground=foreground,
            fake=fake,
            sloppy=sloppy,
            read_only=read_only,
        ),
        os.environ,
    )
    if verbose:
        click.echo(f"{source} {'could be' if fake else 'is'} mounted on {directory}.")
    return 0
