"""`s3rolefs status`."""

from __future__ import annotations

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import mount_named


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(directory: str, *, as_json: bool) -> None:
    """Show how the mount at DIR stands: its role, its requests, what is not sent yet."""
    from s3rolefs.mounting import control

    answer = control.ask(mount_named(directory), "status")
    if as_json:
        display.show_json(answer)
        return
    role = answer["role"]
    requests = ", ".join(f"{count} {kind}" for kind, count in sorted(answer["requests"].items()))
    display.show(
        {
            "source": answer["source"],
            "directory": answer["mountpoint"],
            "process": str(answer["pid"]),
            "role": role["arn"],
            "credentials": role["source"],
            "state": role["state"],
            "session": f"number {role['generation']} ({role['fetches']} fetches, {role['failures']} failed)",
            "expires": display.moment(role["expires_at"]) or "never",
            "next renewal": display.moment(role["next_refresh_at"]),
            "last error": role["last_error"] or None,
            "requests": requests or "none",
            "unsent": f"{len(answer['unsent'])} files" if answer["unsent"] else "nothing",
        },
        title=f"Mount at {answer['mountpoint']}",
    )
    for unsent in answer["unsent"]:
        click.echo(f"unsent: {unsent['path']} ({unsent['reason']}), kept in {unsent['kept_at']}")
