"""Choose the proxy for a server from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

The variables come as a mapping from the caller, in either case of letters (lower case wins, as
with curl). Credentials in a proxy's URL are sent as Proxy-Authorization and never shown.
"""

from __future__ import annotations

import base64
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from s3rolefs.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Name an HTTP proxy; `authorization` is the header's value ("": none), kept out of reprs."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


def choose_proxy(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for `scheme://host:port`, None for a direct connection.

    Raise UserError for a proxy URL that cannot be used.
    """
    url = _variable(environ, f"{scheme}_proxy") or _variable(environ, "all_proxy")
    if not url or _excluded(host, port, _variable(environ, "no_proxy")):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        number = parts.port or 80
    except ValueError:
        number = 0
    if parts.scheme != "http" or not parts.hostname or not number:
        raise UserError(
            f"the proxy in {scheme.upper()}_PROXY or ALL_PROXY cannot be used: "
            "give it as http://[user:password@]host:port (it is spoken to in plain HTTP; "
            "https traffic stays encrypted inside)"
        )
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host=parts.hostname, port=number, authorization=authorization)


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _excluded(host: str, port: int, no_proxy: str) -> bool:
    if not no_proxy:
        return False
    # Takes only the mapping it is given: no look at the process's own environment.
    bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    rules = {"no": no_proxy}
    return any(bypass(name, rules) for name in (host, f"{host}:{port}"))
