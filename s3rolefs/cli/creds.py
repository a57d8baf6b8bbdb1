"""`s3rolefs creds`."""

from __future__ import annotations

import os

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask
from s3rolefs.errors import UserError

# What this command starts sees it, so that a profile whose credential_process is this command
# again is told so instead of starting itself for ever.
_MARK = "S3ROLEFS_CREDS"


@click.command(
    short_help="Give the session of a mount to another program.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--process", "for_process", is_flag=True, help="Print what credential_process expects.")
@click.option("-o", "options", metavar="OPTS", multiple=True, help="Options, as for the mount.")
@click.argument("target", metavar="[DIR|s3://BUCKET|map://NAME]", required=False)
def creds(target: str | None, options: tuple[str, ...], *, for_process: bool) -> None:
    """Give the session of a mounted DIR, or of what the options say, to another program.

    For ~/.aws/config: credential_process = s3rolefs creds --process /srv/data
    """
    if not for_process:
        raise UserError(
            "creds prints secrets for another program to read: say `s3rolefs creds --process`, "
            "or `s3rolefs whoami` to see whose they are."
        )
    if _MARK in os.environ:
        raise UserError(
            "The profile that `s3rolefs creds` takes its credentials from asks `s3rolefs creds` again: "
            "name another source with -o, or a mounted directory."
        )
    os.environ[_MARK] = "1"
    display.show_json(ask("credentials", target, options))
