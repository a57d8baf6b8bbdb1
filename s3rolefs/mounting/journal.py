"""Send the log where it belongs: stderr in the foreground, syslog otherwise."""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path

_SYSLOG = Path("/dev/log")
_OWN = "s3rolefs"


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
    handler.setFormatter(logging.Formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak up from warnings on; their debug output may hold headers and signatures.
    root.setLevel(logging.WARNING)
    logging.getLogger(_OWN).setLevel(level.upper())
