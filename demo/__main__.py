"""Mount a sample bucket through a role, show what that is like, and leave nothing behind."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.panel import Panel

from demo.service import BUCKET, ROLE, PortInUseError, Service, small_aws
from s3rolefs.fuse import kernel
from s3rolefs.mounting import mounttable

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAMS = Path(sys.executable).parent
_HELPER = Path("/sbin/mount.s3rolefs")
_STEP_LIMIT_SECONDS = 60
_MOUNT_LIMIT_SECONDS = 90
# Between steps, for who reads along; and before the refresh, so that its expiry is seen to be later.
_READING_SECONDS = 1.0
_LATER_SECONDS = 1.5
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

console = Console(highlight=False)


def main() -> int:
    """Run the demonstration and return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--port", type=int, default=9899)
    port = parser.parse_args().port
    for number in _ENDING:
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="s3rolefs-demo."))
            stack.callback(shutil.rmtree, folder)
            service = stack.enter_context(small_aws(port, folder / "credentials"))
            try:
                _show(folder, service, stack)
                if _at_a_terminal():
                    _hand_over(folder)
            finally:
                _ignore_endings()
    except PortInUseError:
        return _fail(f"Port {port} is in use: choose another one with `make demo PORT={port + 1}`.")
    except subprocess.CalledProcessError as error:
        return _fail(f"The command failed with status {error.returncode}; the demonstration ends here.")
    except subprocess.TimeoutExpired as error:
        return _fail(f"The command did not end within {error.timeout:g} s; the demonstration ends here.")
    except KeyboardInterrupt:
        console.print()
    console.print("[dim]Unmounted, the service stopped, nothing left behind.[/dim]")
    return 0


def _show(folder: Path, service: Service, stack: ExitStack) -> None:
    run = _runner(folder)
    console.print(
        Panel(
            f"A small S3 with STS and IAM is running at [bold]{service.url}[/bold]. "
            f"It has a bucket [bold]{BUCKET}[/bold], a user without any rights to it, and a role "
            f"[bold]{ROLE}[/bold] that has them and that the user may assume.",
            title="s3rolefs",
            border_style="cyan",
        )
    )
    (folder / "archive").mkdir()
    (folder / "photo.txt").write_text("(imagine a photograph)\n")
    _say("The bucket is mounted through the role: its session is obtained, and renewed from now on.")
    stack.callback(_unmount, folder / "archive")
    run(_mount_command(service, stack), limit_seconds=_MOUNT_LIMIT_SECONDS)
    _say("Who am I, and until when?")
    run("s3rolefs whoami archive")
    _say("Objects are files.")
    run("ls -l archive archive/letters")
    run("cat archive/letters/1969-tranquility.txt")
    _say("Files are objects: copied in, moved, appended to.")
    run("mkdir archive/photos")
    run("cp photo.txt archive/")
    run("mv archive/photo.txt archive/photos/1969-moon.txt")
    _say("In between the role's session is replaced, as it is by itself long before it expires.")
    time.sleep(_LATER_SECONDS)
    run("s3rolefs refresh archive")
    run("echo '- back to the garden' >> archive/notes.txt")
    run("cat archive/notes.txt")
    run("find archive -type f")
    _say("The same role, a new session, a later expiry.")
    run("s3rolefs whoami archive")


def _mount_command(service: Service, stack: ExitStack) -> str:
    options = [
        f"credentials_file=credentials,role_arn={service.role_arn}",
        f"endpoint_url={service.url},sts_endpoint={service.url},region={service.region}",
        "spool_dir=unsent,cache_dir=cache",
    ]
    operands = " \\\n    -o ".join([f"s3://{BUCKET} archive", *options])
    if os.geteuid() != 0:
        return f"s3rolefs mount {operands}"
    if not _HELPER.exists():
        _HELPER.symlink_to(_PROGRAMS / "s3rolefs")
        stack.callback(_HELPER.unlink, missing_ok=True)
        _say(f"(mount finds its helpers in /sbin: {_HELPER} is there until this ends.)")
    return f"mount -t s3rolefs {operands}"


def _runner(folder: Path) -> Callable[..., None]:
    environment = {**os.environ, "PATH": f"{_PROGRAMS}:{os.environ.get('PATH', '')}"}

    def run(command: str, limit_seconds: float = _STEP_LIMIT_SECONDS) -> None:
        console.print(f"[bold green]$[/bold green] [bold]{command}[/bold]", soft_wrap=True)
        sys.stdout.flush()
        if _at_a_terminal():
            time.sleep(_READING_SECONDS)
        subprocess.run(command, shell=True, check=True, cwd=folder, env=environment, timeout=limit_seconds)

    return run


def _hand_over(folder: Path) -> None:
    console.print(
        Panel(
            f"The mount is yours, at [bold]{folder}/archive[/bold].\n"
            "Open another terminal and try it; [bold]Ctrl-C[/bold] here ends it and removes everything.",
            border_style="green",
        )
    )
    while True:
        signal.pause()


def _unmount(directory: Path) -> None:
    mount = mounttable.mount_at(str(directory))
    if mount is None:
        return
    subprocess.run(
        [_PROGRAMS / "s3rolefs", "umount", directory],
        check=False,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_MOUNT_LIMIT_SECONDS,
    )
    if mounttable.mount_at(str(directory)) is not None:
        # Somebody works in it: the directory goes away now, the process with the last open file.
        kernel.unmount_blocking(str(directory), lazy=True)


def _say(sentence: str) -> None:
    console.print(f"\n[cyan]{sentence}[/cyan]")


def _fail(sentence: str) -> int:
    Console(stderr=True, highlight=False).print(f"[red]{sentence}[/red]", soft_wrap=True)
    return 1


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _interrupt(_number: int, _frame: object) -> NoReturn:
    _ignore_endings()
    raise KeyboardInterrupt


def _ignore_endings() -> None:
    """Let nothing cut the cleaning up short."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
