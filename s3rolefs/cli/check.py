"""`s3rolefs check`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import ask, target_arguments
from s3rolefs.errors import UserError

_MARKS = {
    "works": ("✓", "ok", "green"),
    "denied": ("✗", "denied", "yellow"),
    "weaker": ("!", "weaker", "yellow"),
    "untried": ("–", "-", "dim"),
    "fails": ("✗", "FAILS", "red"),
}


@click.command(
    short_help="Find out whether a mount would work, and why not.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@target_arguments
def check(target: str | None, options: tuple[str, ...], *, as_json: bool) -> None:
    """Find out whether a mount of s3://BUCKET[/PREFIX] would work, or how one at DIR does, and why not.

    Asks, in this order: the source of credentials, STS, the trust of the role, then listing, reading,
    writing and deleting below the prefix, the clock, and what the service promises about two writers.
    Of a map, each directory is checked. Prints the policies that are missing. Exits with 0 when a mount
    works, else with 1.
    """
    if target is None:
        raise UserError("Say what is to be checked: s3://BUCKET[/PREFIX], or a mounted directory.")
    report = _check(target, options) if "://" in target else ask("check", target, options)
    if as_json:
        display.show_json(report)
    else:
        for number, each in enumerate(report.get("reports", [report])):
            if number:
                click.echo()
            _show(each)
    if not report["usable"]:
        raise click.exceptions.Exit(1)


def _check(source: str, options: tuple[str, ...]) -> dict[str, Any]:
    from s3rolefs.mounting.asking import with_given
    from s3rolefs.mounting.checkup import check_blocking
    from s3rolefs.mounting.findings import as_json
    from s3rolefs.mounting.options import parse_mount

    config = parse_mount(source, "", options)
    return as_json(check_blocking(config, with_given(config.buckets, os.environ)))


def _show(report: dict[str, Any]) -> None:
    if sys.stdout.isatty():
        _show_table(report)
    else:
        if report["directory"]:
            click.echo(f"Directory {report['directory']}:")
        for finding in report["findings"]:
            word = _MARKS[finding["outcome"]][1]
            click.echo(f"{word:<7} {finding['step'] + ':':<11} {finding['sentence']}")
    for advice in report["advice"]:
        click.echo(f"\n{advice}")
    verdict = "works" if report["usable"] else "does not work"
    whose = f" as {report['directory']}" if report["directory"] else ""
    click.echo(f"\nA mount of {report['source']}{whose} {verdict}.")


def _show_table(report: dict[str, Any]) -> None:
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=ROUNDED, show_header=False, title=Text(report["source"]), title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in report["findings"]:
        mark, _, style = _MARKS[finding["outcome"]]
        table.add_row(Text(mark, style=style), finding["step"], Text(finding["sentence"]))
    Console().print(table)
