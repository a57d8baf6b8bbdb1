"""Show facts to a person: a table on a terminal, plain lines elsewhere, JSON on request."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

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
