"""Send the log where it belongs: stderr in the foreground, syslog otherwise."""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path

_SYSLOG = Path("/dev/log")
_OWN = "s3rolefs"
# Keys may hold line breaks and what terminals obey.
_SHOWN = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))}


class OneLine(logging.Formatter):
    """Write a message on one line, whatever keys and services put into it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Return the message without control characters; a traceback comes after it."""
        return super().formatMessage(record).translate(_SHOWN)


def log_to_stderr(level: str) -> None:
    """Write to stderr, one line per record; the terminal or systemd adds what it wants to."""
    _install(logging.StreamHandler(), f"{_OWN}: %(levelname)s: %(message)s", level)


def log_to_syslog(level: str) -> None:
    """Write to syslog; a machine without one gets no log."""
    if not _SYSLOG.exists():
        _install(logging.NullHandler(), "%(message)s", level)
        return
    handler = logging.handlers.SysLogHandler(str(_SYSLOG), facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.append_nul = False
    _install(handler, f"{_OWN}[{os.getpid()}]: %(levelname)s: %(message)s", level)


def _install(handler: logging.Handler, form: str, level: str) -> None:
    handler.setFormatter(OneLine(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak up from warnings on; their debug output may hold headers and signatures.
    root.setLevel(logging.WARNING)
    logging.getLogger(_OWN).setLevel(level.upper())
