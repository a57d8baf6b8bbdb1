"""Be the serving process: `python -I -m s3rolefs.mounting.process HANDOVER_FD CHANNEL SOURCE DIR`.

CHANNEL is the descriptor of the readiness pipe, or `foreground`. On the pipe goes one line of
JSON: `{"status": 0}` once ready, else the exit status and the sentence for the person.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import resource
import sys

from s3rolefs.errors import UserError
from s3rolefs.mounting import journal
from s3rolefs.mounting.handover import Handover

_log = logging.getLogger("s3rolefs.mount")

_PR_SET_DUMPABLE = 4
_FOREGROUND = "foreground"
BUG_STATUS = 2
# So many more objects than went, not Python's 700, before those that are new are looked through for cycles.
_NEW_OBJECTS = 7_000


class Channel:
    """Tell the one who waits how the start went; tell it once."""

    def __init__(self, name: str) -> None:
        self._descriptor: int | None = None if name == _FOREGROUND else int(name)
        self._said = False

    def ready(self) -> None:
        """Say that the first request was answered, and let go of what the starter gave us."""
        if self._tell(0, ""):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)

    def failed(self, status: int, sentence: str) -> None:
        """Say why there will be no mount; later than `ready` it goes to the log."""
        if not self._tell(status, sentence):
            _log.error("%s", sentence)

    def _tell(self, status: int, sentence: str) -> bool:
        if self._descriptor is None or self._said:
            return False
        self._said = True
        with os.fdopen(self._descriptor, "w", encoding="utf-8") as pipe:
            json.dump({"status": status, "message": sentence}, pipe)
            pipe.write("\n")
        return True


def main(arguments: list[str]) -> int:
    """Serve the mount that is handed over and return the exit status."""
    _leave_no_dumps()
    handover_fd, channel_name = arguments[:2]
    handover = Handover.read(int(handover_fd))
    channel = Channel(channel_name)
    if channel_name == _FOREGROUND:
        journal.log_to_stderr(handover.config.log_level)
    else:
        os.set_inheritable(int(channel_name), False)
        journal.log_to_syslog(handover.config.log_level)
    try:
        return _serve(handover, channel)
    except UserError as error:
        channel.failed(error.exit_status, error.sentence)
        return error.exit_status
    except Exception as error:
        _log.debug("what happened", exc_info=True)
        channel.failed(
            BUG_STATUS,
            f"Mounting failed in a way that is a bug in s3rolefs ({type(error).__name__}: {error}); "
            "--foreground with -o log_level=debug shows where.",
        )
        return BUG_STATUS


def _serve(handover: Handover, channel: Channel) -> int:
    # Loading the rooms takes most of the start; where it fails, that is to be told as well.
    import trio

    from s3rolefs.mounting.serve import Server

    def ready() -> None:
        # What is loaded stays: looking through all of it again took 30 ms, during which nobody is answered.
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS)
        channel.ready()

    try:
        return trio.run(Server(handover, ready).run)
    except BaseExceptionGroup as group:
        # Nurseries wrap what is raised in them: the first refusal is the one to tell.
        found: BaseException = group.subgroup(UserError) or group
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found from group


def _leave_no_dumps() -> None:
    """Keep the session's keys out of core dumps and from ptrace by the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
