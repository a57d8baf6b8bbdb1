"""Parse the command line, under each of the names this program is called by."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import PurePath

import click

from s3rolefs import __version__
from s3rolefs.errors import UserError

_COMMANDS = ("mount", "umount", "whoami", "check", "status", "refresh", "login", "creds")
_USAGE_STATUS = 1
_BUG_STATUS = 2
# mount(8)'s status of a program that a person interrupted.
_INTERRUPTED_STATUS = 8


class _LazyGroup(click.Group):
    """Load a command's module when it is asked for: --help and the mount helper stay quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order a person needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, its module loaded."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"s3rolefs.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="s3rolefs")
def s3rolefs() -> None:
    """Mount S3 with the access of a role that is renewed for as long as the mount lives.

    `s3rolefs s3://BUCKET DIR ...` is short for `s3rolefs mount s3://BUCKET DIR ...`.
    """


def main() -> None:
    """Run the command and exit: 0 done, 1 usage, 2 system, 32 mount failure."""
    # What goes wrong is said once, by the command; logs are for the serving process.
    logging.getLogger().addHandler(logging.NullHandler())
    name = PurePath(sys.argv[0]).name
    arguments = sys.argv[1:]
    if name.startswith("mount."):
        arguments = ["mount", *arguments]
    elif name.startswith("umount."):
        arguments = ["umount", *arguments]
    elif arguments and arguments[0] not in _COMMANDS and not arguments[0].startswith("-"):
        # mount.fuse3 calls `s3rolefs SPEC DIR -o ...`.
        arguments = _with_command(arguments)
    sys.exit(_run(arguments, name))


def _with_command(arguments: list[str]) -> list[str]:
    return ["mount", *arguments] if "://" in arguments[0] else arguments


def _run(arguments: list[str], name: str) -> int:
    try:
        result = s3rolefs.main(arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return _USAGE_STATUS
    except click.UsageError as error:
        return _complain(name, _with_help(error), _USAGE_STATUS)
    except click.ClickException as error:
        return _complain(name, f"{error.format_message().rstrip('.')}.", _USAGE_STATUS)
    except UserError as error:
        return _complain(name, error.sentence, error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        return _complain(name, "interrupted.", _INTERRUPTED_STATUS)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if os.environ.get("S3ROLEFS_DEBUG"):
            raise
        sentence = (
            f"This is a bug in s3rolefs: {type(error).__name__}: {error} (S3ROLEFS_DEBUG=1 shows where)."
        )
        return _complain(name, sentence, _BUG_STATUS)
    return result if isinstance(result, int) else 0


def _with_help(error: click.UsageError) -> str:
    """Return click's sentence with the command that says what would be right."""
    words = ["s3rolefs", *(error.ctx.command_path.split()[1:] if error.ctx else ()), "--help"]
    return f"{error.format_message().rstrip('.')} (`{' '.join(words)}` tells more)."


def _complain(name: str, sentence: str, status: int) -> int:
    click.echo(f"{name}: {sentence}", err=True)
    return status
