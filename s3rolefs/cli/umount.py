"""`s3rolefs umount`, which is also the helper that umount(8) calls."""

from __future__ import annotations

import click


@click.command(
    short_help="Unmount, and wait until everything is in the bucket.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("directory", metavar="DIR")
@click.option("-l", "--lazy", is_flag=True, help="Take the directory away even while files are open in it.")
@click.option("-f", "--force", is_flag=True, hidden=True)
@click.option("-n", "--no-mtab", is_flag=True, hidden=True)
@click.option("-r", "--read-only", is_flag=True, hidden=True)
@click.option("-v", "--verbose", is_flag=True, hidden=True)
@click.option("-N", "--namespace", metavar="NS", hidden=True)
@click.option("-t", "--types", metavar="TYPE", hidden=True)
def umount(directory: str, *, lazy: bool, force: bool, **_ignored: object) -> None:
    """Unmount DIR and wait until everything is in the bucket."""
    from s3rolefs.mounting.unmount import unmount

    unmount(directory, lazy=lazy or force, tell=lambda line: click.echo(line, err=True))
