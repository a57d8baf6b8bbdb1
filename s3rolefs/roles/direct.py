"""Ask a service next to this machine by HTTP: directly, once, within limits.

No proxy is ever used, whatever the environment says (botocore sends what it asks of
169.254.169.254, session keys included, through HTTP_PROXY), and no redirect is followed.
"""

from __future__ import annotations

import errno
import http.client
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.clock import Clock

_CONNECT_SECONDS = 2.0
_READ_SECONDS = 3.0
_LARGEST_BYTES = 256 * 1024
# The machine's clock counts as right while it differs from a server's Date by no more than this.
_SKEW_SECONDS = 5.0
_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


class NobodyError(Exception):
    """Say that no connection came about; `is_network_down`: this machine has no network yet."""

    def __init__(self, sentence: str, *, is_network_down: bool) -> None:
        super().__init__(sentence)
        self.is_network_down = is_network_down


class SilenceError(Exception):
    """Say that a connection was made, and no usable answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Hold one answer; `headers` are named in lower case. The text is not shown: it may be keys."""

    status: int
    text: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


def ask_blocking(url: str, *, headers: Mapping[str, str], method: str = "GET") -> Reply:
    """Return what `url` answers. Connecting takes 2 s at most, and so long a silence 3 s.

    Raises `NobodyError` and `SilenceError`.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_CONNECT_SECONDS)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise NobodyError(
                error.strerror or str(error), is_network_down=error.errno in _NO_NETWORK
            ) from None
        connection.sock.settimeout(_READ_SECONDS)
        try:
            path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            body = answer.read(_LARGEST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise SilenceError(str(error) or type(error).__name__) from None
        return Reply(
            status=answer.status,
            text=body.decode(errors="replace"),
            headers={name.lower(): value for name, value in answer.getheaders()},
        )
    finally:
        connection.close()


def issuers_now(date: str | None, clock: Clock) -> float:
    """Return the moment a Date header tells if the machine's clock is clearly off, else 0.0.

    As `Snapshot.obtained_at` it keeps the lives of sessions right on a machine with a wrong clock.
    """
    if date is None:
        return 0.0
    try:
        there = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0
    return there if abs(there - clock.wall_seconds()) > _SKEW_SECONDS else 0.0
