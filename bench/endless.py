"""Answer as an S3 that holds directories of any number of keys and files of any size, all of it zeros.

What no server on this machine could hold in memory is measured against it. It knows LIST, HEAD and GET,
checks no signature, and counts what it is asked.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from email.utils import formatdate
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ZEROS = memoryview(bytes(8 << 20))
_RANGE = re.compile(r"^range: *bytes=(\d+)-(\d+)\r$", re.IGNORECASE | re.MULTILINE)
_CHANGED_SECONDS = 1_700_000_000
_ETAG = '"00000000000000000000000000000000"'
_OBJECT = (
    "<Contents><Key>{}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
    f"<ETag>{_ETAG}</ETag><Size>{{}}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
_MISSING = "<Error><Code>NoSuchKey</Code><Message>There is none.</Message></Error>"
_UNKNOWN = "<Error><Code>NotImplemented</Code><Message>Nobody asked for it yet.</Message></Error>"


class EndlessStore:
    """Serve one bucket, whatever its name, on loopback from `with` to its end; `sizes` by key."""

    # Any will do.
    access_key = "endless"
    secret_key = "endless"
    ca_bundle: Path | None = None

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._keys = sorted(sizes)
        self._kinds: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        # accept() does not notice a close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def taken(self) -> dict[str, int]:
        """Return what was asked since the last call, by kind."""
        kinds, self._kinds = self._kinds, Counter()
        return dict(kinds.most_common())

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[str], str]:
        """Return keys and common prefixes in order, and what to go on after ("": nothing is left)."""
        found: list[str] = []
        at = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            if len(found) == limit:
                return found, found[-1]
            name = self._keys[at]
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                found.append(name)
                at += 1
                continue
            common = name[: cut + 1]
            # Its keys all lie before it with the last character's successor.
            at = bisect_left(self._keys, common[:-1] + chr(ord(common[-1]) + 1))
            if common > after:
                found.append(common)
        return found, ""

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as incoming, contextlib.suppress(OSError):
            while line := incoming.readline():
                headers = b"".join(iter(incoming.readline, b"\r\n")).decode("latin-1")
                method, target, _version = line.decode("latin-1").split(" ")
                self._answer(connection, method, target, headers)

    def _answer(self, connection: socket.socket, method: str, target: str, headers: str) -> None:
        parts = urlsplit(target)
        key = unquote(parts.path).lstrip("/").partition("/")[2]
        if method == "GET" and not key:
            self._kinds["LIST"] += 1
            _send(connection, "200 OK", body=self._listing(parse_qs(parts.query)).encode())
        elif method not in ("GET", "HEAD"):
            _send(connection, "501 Not Implemented", body=_UNKNOWN.encode())
        elif (size := self._sizes.get(key)) is None:
            self._kinds[method] += 1
            _send(connection, "404 Not Found", body=b"" if method == "HEAD" else _MISSING.encode())
        else:
            self._kinds[method] += 1
            wanted = _RANGE.search(headers)
            first, last = (int(wanted[1]), min(int(wanted[2]), size - 1)) if wanted else (0, size - 1)
            more = [
                f"Last-Modified: {formatdate(_CHANGED_SECONDS, usegmt=True)}",
                f"ETag: {_ETAG}",
                "Content-Type: application/octet-stream",
                "Accept-Ranges: bytes",
                *([f"Content-Range: bytes {first}-{last}/{size}"] if wanted else []),
            ]
            _send(connection, "206 Partial Content" if wanted else "200 OK", *more, length=last + 1 - first)
            left = last + 1 - first if method == "GET" else 0
            while left > 0:
                sent = min(left, len(_ZEROS))
                connection.sendall(_ZEROS[:sent])
                left -= sent

    def _listing(self, asked: Mapping[str, list[str]]) -> str:
        prefix, delimiter = asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0]
        after = asked.get("continuation-token", asked.get("start-after", [""]))[0]
        found, token = self.page(prefix, delimiter, after, int(asked.get("max-keys", ["1000"])[0]))
        items = [
            f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>"
            if delimiter and name.find(delimiter, len(prefix)) >= 0
            else _OBJECT.format(quote(name), self._sizes[name])
            for name in found
        ]
        more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return (
            f"<ListBucketResult><Prefix>{quote(prefix)}</Prefix><EncodingType>url</EncodingType>"
            f"<KeyCount>{len(found)}</KeyCount><IsTruncated>{'true' if token else 'false'}</IsTruncated>"
            f"{more}{''.join(items)}</ListBucketResult>"
        )


def _send(
    connection: socket.socket, status: str, *headers: str, body: bytes = b"", length: int | None = None
) -> None:
    lines = [
        f"HTTP/1.1 {status}",
        f"Date: {formatdate(usegmt=True)}",
        "Server: endless",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
