"""`s3rolefs whoami`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask, target_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command(
    short_help="Show who a session is, and until when.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@target_arguments
def whoami(target: str | None, options: tuple[str, ...], *, as_json: bool) -> int:
    """Show who the session of a mounted DIR is, or of what the options say, and until when."""
    answer = ask("whoami", target, options)
    if as_json:
        display.show_json(answer)
    else:
        title = f"Who am I at {target}" if target else "Who am I"
        display.show_each(answer, partial(_facts, target=target), title=title)
    return display.exit_status(answer)


def _facts(answer: Mapping[str, Any], *, target: str | None) -> dict[str, str | None]:
    nameless = (
        "nobody (anonymous)" if answer["kind"] == "anonymous" else "unknown (the service does not tell)"
    )
    return {
        "account": answer["account"],
        "arn": answer["arn"] or nameless,
        "role": answer["role"],
        "session": answer["session"],
        "expires": display.moment(answer["expires_at"]) or "never, as far as is known",
        "source": answer["source"],
        "needs": display.needs(answer, target),
    }
