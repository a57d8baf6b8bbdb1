"""`s3rolefs status`."""

from __future__ import annotations

from typing import Any

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask, target_arguments


@click.command(
    short_help="Show a mount's session, its requests and unsent data.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@target_arguments
def status(target: str | None, options: tuple[str, ...], *, as_json: bool) -> None:
    """Show how a mounted DIR stands (role, requests, what is not sent yet), or a role before it is used."""
    answer = ask("status", target, options)
    if as_json:
        display.show_json(answer)
        return
    requests = ", ".join(f"{count} {kind}" for kind, count in sorted(answer["requests"].items()))
    display.show(
        {
            "source": answer["source"],
            "directory": answer["mountpoint"],
            "process": str(answer["pid"]) if answer["pid"] else None,
            **(_role(answer["roles"][0], answer["mountpoint"]) if len(answer["roles"]) == 1 else {}),
            "requests": (requests or "none") if answer["pid"] else None,
            "unsent": _unsent(answer) if answer["pid"] else None,
        },
        title=f"Mount at {answer['mountpoint']}" if answer["mountpoint"] else "Not mounted",
    )
    if len(answer["roles"]) > 1:
        for role in answer["roles"]:
            click.echo()
            display.show(_role(role, answer["mountpoint"]), title=f"Role of {display.directories(role)}")
    for unsent in answer["unsent"]:
        click.echo(f"unsent: {unsent['path']} ({unsent['reason']}), kept in {unsent['kept_at']}")


def _role(role: dict[str, Any], mountpoint: str | None) -> dict[str, str | None]:
    return {
        "directories": display.directories(role),
        "name": role["name"],
        "role": role["arn"],
        "credentials": role["source"],
        "state": role["state"],
        "session": f"number {role['generation']} ({role['fetches']} fetched, {role['failures']} failed)",
        "expires": (display.moment(role["expires_at"]) or "never") if role["generation"] else None,
        "next renewal": display.moment(role["next_refresh_at"]),
        "last error": role["last_error"] or None,
        "needs": display.needs(role, mountpoint),
    }


def _unsent(answer: dict[str, Any]) -> str:
    return f"{len(answer['unsent'])} files" if answer["unsent"] else "nothing"
