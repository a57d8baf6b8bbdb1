"""`s3rolefs whoami`."""

from __future__ import annotations

import os

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import mount_named
from s3rolefs.errors import UserError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="[DIR|s3://BUCKET]", required=False)
@click.option("-o", "options", metavar="OPTS", multiple=True, help="Options, as for the mount.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def whoami(target: str | None, options: tuple[str, ...], *, as_json: bool) -> None:
    """Show who the session of a mounted DIR is, or of what the options say, and until when."""
    if target is not None and "://" not in target:
        if options:
            raise UserError(f"{target} is mounted with options of its own: leave -o out, or the directory.")
        from s3rolefs.mounting import control

        answer = control.ask(mount_named(target), "whoami")
    else:
        from s3rolefs.mounting.access import whoami_blocking
        from s3rolefs.mounting.asking import with_mfa_code
        from s3rolefs.mounting.options import parse_access

        role, store = parse_access(target, options)
        answer = whoami_blocking(role, store, with_mfa_code(role, os.environ)).as_json()
    if as_json:
        display.show_json(answer)
        return
    nameless = (
        "nobody (anonymous)" if answer["kind"] == "anonymous" else "unknown (the service does not tell)"
    )
    display.show(
        {
            "account": answer["account"],
            "arn": answer["arn"] or nameless,
            "role": answer["role"],
            "session": answer["session"],
            "expires": display.moment(answer["expires_at"]) or "never, as far as is known",
            "source": answer["source"],
        },
        title=f"Who am I at {target}" if target else "Who am I",
    )
