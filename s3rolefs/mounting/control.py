"""Let commands ask a running mount: a private socket, one line of JSON each way.

The socket is named after the device number of the mount, which stands in the kernel's table, so
that finding it never touches a mount that may hang. Both ends check who is on the other one.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from s3rolefs.errors import FileSystemError, SystemFailure, UserError

if TYPE_CHECKING:
    from s3rolefs.mounting.mounttable import Mount

Answer = dict[str, Any]
Request = Mapping[str, Any]
Handler = Callable[[Request], Awaitable[Answer]]

_log = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("3i")
_LINE_LIMIT_BYTES = 1 << 20
_REQUEST_LIMIT_SECONDS = 10.0
_ANSWER_LIMIT_SECONDS = 60.0
_MOST_ATTEMPTS = 10


def socket_directories(owner: int) -> list[Path]:
    """Return where a mount of this user may have its socket, the preferred place first."""
    if owner == 0:
        return [Path("/run/s3rolefs"), Path("/tmp/s3rolefs-0")]
    places = [Path(f"/run/user/{owner}/s3rolefs"), Path(f"/tmp/s3rolefs-{owner}")]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and owner == os.geteuid():
        places.insert(0, Path(runtime) / "s3rolefs")
    return places


async def serve_control(
    device: str,
    handlers: Mapping[str, Handler],
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer commands about the mount `device` ("major:minor") until cancelled."""
    with _listener(device) as listener:
        # It outlives a moment without free descriptors (EMFILE).
        await trio.serve_listeners(
            partial(_converse, handlers=handlers), [trio.SocketListener(listener)], task_status=task_status
        )


def ask(mount: Mount, command: str, path: str = "", **more: object) -> Answer:
    """Ask the process behind a mount, about a path below it, and return its answer.

    Raises `UserError` with its sentence when it refuses, or when no process can be reached.
    """
    with connect(mount) as connection:
        return ask_on(connection, command, path, **more)


def connect(mount: Mount) -> socket.socket:
    """Return a connection to the process behind a mount, its peer checked."""
    owner = os.geteuid() if mount.owner is None else mount.owner
    if os.geteuid() not in {0, owner}:
        raise UserError(
            f"{mount.mountpoint} was mounted by another user: only that user and root may ask it."
        )
    for directory in socket_directories(owner):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_ANSWER_LIMIT_SECONDS)
        try:
            connection.connect(str(directory / _socket_name(mount.device)))
        except OSError:
            connection.close()
            continue
        if peer_of(connection)[1] in {0, owner}:
            return connection
        connection.close()
    raise SystemFailure(
        f"The process that serves {mount.mountpoint} does not answer: "
        f"if the directory hangs, run `umount -l {mount.mountpoint}` and mount again."
    )


def ask_on(connection: socket.socket, command: str, path: str = "", **more: object) -> Answer:
    """Ask on a connection that `connect` made; several questions may follow each other.

    `more` is what else the command takes: secrets travel here, and nowhere else.
    """
    try:
        connection.sendall(json.dumps({"command": command, "path": path, **more}).encode() + b"\n")
        received = b""
        while not received.endswith(b"\n"):
            piece = connection.recv(65536)
            if not piece:
                raise SystemFailure("The serving process ended before it answered.")
            received += piece
    except OSError as error:
        raise SystemFailure(f"The serving process did not answer: {error}.") from None
    answer: Answer = json.loads(received)
    if "error" in answer:
        raise UserError(answer["error"])
    return answer


def peer_of(connection: socket.socket | trio.socket.SocketType) -> tuple[int, int]:
    """Return process and user on the other end (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return pid, uid


def _socket_name(device: str) -> str:
    return device.replace(":", "-") + ".sock"


async def _converse(stream: trio.SocketStream, handlers: Mapping[str, Handler]) -> None:
    if peer_of(stream.socket)[1] not in {0, os.geteuid()}:
        return
    buffered = b""
    try:
        while True:
            while b"\n" not in buffered:
                with trio.fail_after(_REQUEST_LIMIT_SECONDS if buffered else float("inf")):
                    piece = await stream.receive_some(65536)
                buffered += piece
                if not piece or len(buffered) > _LINE_LIMIT_BYTES:
                    return
            line, _, buffered = buffered.partition(b"\n")
            answer = await _answer(line, handlers)
            with trio.fail_after(_REQUEST_LIMIT_SECONDS):
                await stream.send_all(json.dumps(answer).encode() + b"\n")
    except (trio.BrokenResourceError, trio.TooSlowError):
        return


async def _answer(line: bytes, handlers: Mapping[str, Handler]) -> Answer:
    try:
        request = json.loads(line)
        handler = handlers[request["command"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"error": "The running mount does not know this command: is it an older version?"}
    try:
        return await handler(request)
    except FileSystemError as error:
        return {"error": error.message or str(error)}
    except UserError as error:
        return {"error": error.sentence}
    except Exception:
        _log.exception("command %s failed", request["command"])
        return {"error": "The running mount failed to answer; its log says why."}


@contextmanager
def _listener(device: str) -> Iterator[trio.socket.SocketType]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = _listen(listener, _socket_name(device))
        ours = path.lstat().st_ino
        try:
            yield trio.socket.from_stdlib_socket(listener)
        finally:
            with suppress(OSError):
                # Once unmounted, the number may be another mount's already, and the name with it.
                if path.lstat().st_ino == ours:
                    path.unlink()
                # Other mounts may have theirs in it.
                path.parent.rmdir()


def _listen(listener: socket.socket, name: str) -> Path:
    """Listen, and only then take the name: other mounts remove sockets that nobody listens on."""
    for _ in range(_MOST_ATTEMPTS):
        directory = _private_directory()
        _sweep(directory)
        hidden = directory / f"{name}.{os.getpid()}"
        hidden.unlink(missing_ok=True)
        try:
            listener.bind(str(hidden))
        except FileNotFoundError:
            # A mount that ended has just taken the empty directory away.
            continue
        hidden.chmod(0o600)
        listener.listen(8)
        # The number was free for this mount to get, so a socket of that name is a dead one's.
        return hidden.rename(directory / name)
    raise SystemFailure("There is no private place for the control socket: its directory vanishes again.")


def _private_directory() -> Path:
    problems = []
    for directory in socket_directories(os.geteuid()):
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            found = directory.lstat()
        except OSError as error:
            problems.append(f"{directory}: {error.strerror}")
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            directory.chmod(0o700)
            return directory
        problems.append(f"{directory}: belongs to another user")
    raise SystemFailure(f"There is no private place for the control socket ({'; '.join(problems)}).")


def _sweep(directory: Path) -> None:
    """Remove sockets that nobody listens on any more."""
    for path in directory.glob("*.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue
