"""Show facts to a person: a table on a terminal, plain lines elsewhere, JSON on request."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MINUTE = 60
_HOUR = 3600
_DAY = 86400


def show(facts: Mapping[str, str | None], *, title: str) -> None:
    """Print what is known, one fact a line; unknown ones (None) are left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    if not sys.stdout.isatty():
        width = max(map(len, known), default=0) + 1
        for name, value in known.items():
            click.echo(f"{name + ':':<{width}} {value}")
        return
    # rich takes long to load, so only who sees it pays for it.
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ROUNDED, show_header=False, title=Text(title), title_justify="left")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in known.items():
        table.add_row(name, Text(value))
    Console().print(table)


def directories(role: Mapping[str, Any]) -> str | None:
    """Return the directories of a map that a role is for, None where there is no map."""
    return ", ".join(filter(None, role["directories"])) or None


def needs(role: Mapping[str, Any], directory: str | None) -> str | None:
    """Return what somebody has to give the role, and how; None when nothing is missing."""
    prompt = role.get("needs")
    return f"{prompt}: run `s3rolefs login {directory or 'DIR'}`" if prompt else None


def session(role: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the facts about the session that a role has got just now."""
    return {
        "role": role["arn"],
        "session": f"number {role['generation']}",
        "expires": moment(role["expires_at"]) or "never",
    }


def show_each(
    answer: Mapping[str, Any], facts: Callable[[Mapping[str, Any]], Mapping[str, str | None]], *, title: str
) -> None:
    """Print what was answered for the one role, or for each of {"roles": [...]}."""
    if "roles" not in answer:
        show(facts(answer), title=title)
        return
    for number, role in enumerate(answer["roles"]):
        if number and not sys.stdout.isatty():
            click.echo()
        said = {"error": role["error"]} if "error" in role else facts(role)
        show({"directories": directories(role), **said}, title=title)


def exit_status(answer: Mapping[str, Any]) -> int:
    """Return 1 where one of several roles had no answer, else 0."""
    return int(any("error" in role for role in answer.get("roles", ())))


def show_json(record: Mapping[str, Any]) -> None:
    """Print a record for programs; moments are seconds since the epoch."""
    click.echo(json.dumps(record, indent=2))


def moment(seconds: float | None, *, now: float | None = None) -> str | None:
    """Return a moment with its distance from now: `2026-11-24 03:15:00 UTC (in 14 min 20 s)`."""
    if seconds is None:
        return None
    left = seconds - (time.time() if now is None else now)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{stamp} (in {span(left)})" if left >= 0 else f"{stamp} ({span(-left)} ago)"


def span(seconds: float) -> str:
    """Return a length of time in its two largest units: `45 s`, `14 min 20 s`, `2 h 5 min`."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
