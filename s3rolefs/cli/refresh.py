"""`s3rolefs refresh`."""

from __future__ import annotations

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask, target_arguments


@click.command(
    short_help="Renew the session of a mount now.", context_settings={"help_option_names": ["-h", "--help"]}
)
@target_arguments
def refresh(target: str | None, options: tuple[str, ...], *, as_json: bool) -> int:
    """Renew the session of a mounted DIR now, or try whether what the options say can be renewed."""
    answer = ask("refresh", target, options)
    if as_json:
        display.show_json(answer)
    else:
        display.show_each(answer, display.session, title="Renewed")
    return display.exit_status(answer)
