"""`s3rolefs refresh`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask, target_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        display.show_each(answer, _facts, title="Renewed")
    return display.exit_status(answer)


def _facts(role: Mapping[str, Any]) -> dict[str, str | None]:
    return {
        "role": role["arn"],
        "session": f"number {role['generation']}",
        "expires": display.moment(role["expires_at"]) or "never",
    }
