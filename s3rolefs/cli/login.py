"""`s3rolefs login`."""

from __future__ import annotations

import getpass
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3rolefs.cli import display
from s3rolefs.cli.target import mount_named, target_arguments
from s3rolefs.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3rolefs.roles.sso import Invitation

    Ask = Callable[..., dict[str, Any]]

_SSO = "sso"
_SERVING = ("fresh", "refreshing", "valid but stale", "unsigned")
# More than any assertion or token; what is longer is something else.
_LARGEST_CHARACTERS = 256 * 1024
# What the kernel takes of one typed line (termios(3), canonical mode), its end included.
_LONGEST_LINE = 4096


@click.command(
    short_help="Hand a mount what its role needs from a person.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@target_arguments
@click.option(
    "--file", "path", metavar="PATH", help="Take what is needed from a file; - is the standard input."
)
@click.option("--force", is_flag=True, help="Give something fresh although nothing is needed yet.")
def login(
    target: str | None, options: tuple[str, ...], path: str | None, *, as_json: bool, force: bool
) -> None:
    """Hand a mounted DIR what its role needs from you, and renew the session with it.

    A code of a multi-factor device, a SAML assertion or a web identity token is asked for on the
    terminal, or taken from a pipe or --file; an SSO login is confirmed in a browser. Without DIR, an
    SSO profile that -o names is logged in for yourself.
    """
    is_mounted = target is not None and "://" not in target
    ask = _asking_mount(target or "", options) if is_mounted else _asking_options(target, options)
    text = _Text(path)
    roles: list[dict[str, Any]] = []
    standings = ask(force=force)["roles"]
    _check_whose(standings, path)
    for number, standing in enumerate(standings):
        try:
            roles.append(_helped(standing, partial(ask, role=number), text, is_mounted=is_mounted))
            if standing["need"] is None:
                _explain(standing["role"], force=force)
        except UserError as error:
            if len(standings) == 1:
                raise
            roles[number:] = [{**standing["role"], "error": error.sentence}]
    answer = roles[0] if len(roles) == 1 else {"roles": roles}
    if as_json:
        display.show_json(answer)
    elif not (len(roles) == 1 and standings[0]["need"] is None):
        display.show_each(answer, display.session, title="Logged in")
    if any("error" in role for role in roles):
        raise click.exceptions.Exit(1)


def _check_whose(standings: list[dict[str, Any]], path: str | None) -> None:
    """Refuse one text for several roles: what is one service's secret must not reach another's."""
    if path is None and sys.stdin.isatty():
        return
    wanting = [
        display.directories(standing["role"]) or ""
        for standing in standings
        if standing["need"] is not None and (path is not None or standing["need"]["kind"] != _SSO)
    ]
    if len(wanting) > 1:
        raise UserError(
            f"Several roles may be meant, those of {'; '.join(wanting)}: name the directory that this is for."
        )


def _helped(standing: dict[str, Any], give: Ask, text: _Text, *, is_mounted: bool) -> dict[str, Any]:
    """Give one role what it needs, one thing after the other, and return how it stands then."""
    while (need := standing["need"]) is not None:
        if not is_mounted and need["kind"] != _SSO:
            raise UserError(
                f"There is no mount to hand it to ({need['prompt']}): mount on a terminal, which asks for "
                "a code, or name a mounted directory; without one, login is for SSO only."
            )
        given = text.for_need(need)
        (standing,) = give(kind=need["kind"], prompt=need["prompt"], given=given)["roles"]
    role: dict[str, Any] = standing["role"]
    return role


def _asking_mount(directory: str, options: tuple[str, ...]) -> Ask:
    from s3rolefs.mounting import control

    mount, path = mount_named(directory, options)
    return partial(control.ask, mount, "login", path)


def _asking_options(target: str | None, options: tuple[str, ...]) -> Ask:
    from s3rolefs.mounting.access import ask_blocking
    from s3rolefs.mounting.login import login as answer
    from s3rolefs.mounting.options import parse_access

    buckets = parse_access(target, options)
    return lambda **request: ask_blocking(buckets, os.environ, partial(answer, request=request), wait=False)


def _explain(role: dict[str, Any], *, force: bool) -> None:
    """Say why nothing is asked for. Raises `UserError` where that is no good news."""
    if role["state"] not in _SERVING:
        why = role["last_error"] or "there is no session yet."
        raise UserError(f"The session from {role['source']} lacks nothing that login can hand over: {why}")
    if force:
        raise UserError(f"Nothing can be handed to {role['source']}: it gets its sessions by itself.")
    end = display.moment(role["expires_at"])
    ends = f"the session ends {end}" if end else "the session does not end, as far as is known"
    click.echo(f"Nothing is needed: {ends}. --force hands something over all the same.", err=True)


class _Text:
    """Get what is needed from the person: from the terminal, else once from a pipe or file."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._is_used_up = False

    def for_need(self, need: dict[str, Any]) -> str:
        """Return the text. Raises `UserError` where there is none."""
        prompt = need["prompt"]
        if need["kind"] == _SSO and (self._path is None or self._is_used_up):
            from s3rolefs.roles.sso import authorize_blocking

            return authorize_blocking(need["details"], _invite)
        if self._path is None and sys.stdin.isatty():
            return _typed(prompt)
        if self._is_used_up:
            raise UserError(f"Something else is needed, too ({prompt}): run login once more.")
        self._is_used_up = True
        text = (
            sys.stdin.read(_LARGEST_CHARACTERS + 1) if self._path in (None, "-") else _read(self._path or "")
        )
        if len(text) > _LARGEST_CHARACTERS:
            raise UserError(f"{prompt}: what was given is longer than {_LARGEST_CHARACTERS} characters.")
        if not text.strip():
            raise UserError(
                f"{prompt}: nothing was given; run login on a terminal, or give it by a pipe or with "
                "--file PATH."
            )
        return text


def _typed(prompt: str) -> str:
    try:
        text = getpass.getpass(f"{prompt}: ")
    except EOFError:
        text = ""
    if not text.strip():
        raise UserError(f"{prompt}: nothing was typed.")
    if len(text) >= _LONGEST_LINE - 1:
        raise UserError(
            f"{prompt}: a terminal takes lines of up to {_LONGEST_LINE - 1} characters, and cuts longer "
            "ones: give it by a pipe or with --file PATH."
        )
    return text


def _read(path: str) -> str:
    try:
        # A pipe (`<(command)`) is as good as a file; a directory is neither.
        with Path(path).open(errors="replace") as file:
            return file.read(_LARGEST_CHARACTERS + 1)
    except OSError as error:
        raise UserError(f"--file {path} cannot be read ({error.strerror}).") from None


def _invite(invitation: Invitation) -> None:
    """Tell the person where to confirm the login; on stderr, so that --json stays JSON."""
    lines = (
        f"Open {invitation.url_with_code} in a browser and confirm the code {invitation.code}",
        f"(or open {invitation.url} and type it), within {display.span(invitation.seconds)}.",
    )
    if not sys.stderr.isatty():
        click.echo(" ".join(lines), err=True)
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    text = Text("\n".join(lines))
    text.highlight_words([invitation.code], "bold cyan")
    text.highlight_words([invitation.url_with_code], f"link {invitation.url_with_code}")
    Console(stderr=True).print(Panel(text, title="SSO login", title_align="left", expand=False))
