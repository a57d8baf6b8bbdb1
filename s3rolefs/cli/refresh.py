"""`s3rolefs refresh`."""

from __future__ import annotations

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import mount_named


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def refresh(directory: str, *, as_json: bool) -> None:
    """Renew the session of the mount at DIR now, whatever its schedule says."""
    from s3rolefs.mounting import control

    role = control.ask(mount_named(directory), "refresh")
    if as_json:
        display.show_json(role)
        return
    display.show(
        {
            "role": role["arn"],
            "session": f"number {role['generation']} of this mount",
            "expires": display.moment(role["expires_at"]) or "never",
        },
        title=f"Renewed: {directory}",
    )
