"""`s3rolefs status`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask, target_arguments
from s3rolefs.errors import UserError
from s3rolefs.mounting import mounttable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.mounting.mounttable import Mount


@click.command(
    short_help="Show a mount's session, its requests and unsent data.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@target_arguments
def status(target: str | None, options: tuple[str, ...], *, as_json: bool) -> int:
    """Show how a mounted DIR stands (role, requests, what is not sent yet), or a role before it is used.

    Without DIR and options, every mount is shown.
    """
    if target is None and not options:
        return _show_all(as_json=as_json)
    answer = ask("status", target, options)
    if as_json:
        display.show_json(answer)
    else:
        _show(answer)
    return 0


def _show_all(*, as_json: bool) -> int:
    """Show every mount that this user may ask; return 1 where one does not answer."""
    answers = [_answer_of(mount) for mount in mounttable.mounts_of_ours() if os.geteuid() in {0, mount.owner}]
    if as_json:
        display.show_json({"mounts": answers})
    elif not answers:
        click.echo("Nothing is mounted.")
    else:
        for number, answer in enumerate(answers):
            if number:
                click.echo()
            if "error" in answer:
                display.show(answer, title=_title(answer))
            else:
                _show(answer)
    return int(any("error" in answer for answer in answers))


def _answer_of(mount: Mount) -> dict[str, Any]:
    # Late, as everywhere in cli: --help loads each command, and must not load trio.
    from s3rolefs.mounting import control

    try:
        return control.ask(mount, "status")
    except UserError as error:
        return {"source": mount.source, "mountpoint": mount.mountpoint, "error": error.sentence}


def _title(answer: Mapping[str, Any]) -> str:
    return f"Mount at {answer['mountpoint']}" if answer["mountpoint"] else "Not mounted"


def _show(answer: Mapping[str, Any]) -> None:
    requests = ", ".join(f"{count} {kind}" for kind, count in sorted(answer["requests"].items()))
    display.show(
        {
            "source": answer["source"],
            "directory": answer["mountpoint"],
            "process": str(answer["pid"]) if answer["pid"] else None,
            **(_role(answer["roles"][0], answer["mountpoint"]) if len(answer["roles"]) == 1 else {}),
            "requests": (requests or "none") if answer["pid"] else None,
            "waiting": _waiting(answer["waiting"]),
            "unsent": _unsent(answer) if answer["pid"] else None,
        },
        title=_title(answer),
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


def _waiting(waiting: Mapping[str, Any]) -> str | None:
    """Say what S3 hears of soon (`writeback`)."""
    if not waiting["files"] and not waiting["removals"]:
        return None
    return (
        f"{waiting['files']} files ({waiting['bytes']:,} bytes) and {waiting['removals']} removals, "
        f"the oldest for {waiting['oldest_seconds']:.0f} s"
    )


def _unsent(answer: Mapping[str, Any]) -> str:
    return f"{len(answer['unsent'])} files" if answer["unsent"] else "nothing"
