"""`s3rolefs refresh`."""

from __future__ import annotations

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask, target_arguments


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@target_arguments
def refresh(target: str | None, options: tuple[str, ...], *, as_json: bool) -> None:
    """Renew the session of a mounted DIR now, or try whether what the options say can be renewed."""
    role = ask("refresh", target, options)
    if as_json:
        display.show_json(role)
        return
    display.show(
        {
            "role": role["arn"],
            "session": f"number {role['generation']}",
            "expires": display.moment(role["expires_at"]) or "never",
        },
        title="Renewed",
    )
