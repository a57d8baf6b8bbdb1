"""Open connections: addresses in turn within one time limit, through a proxy, with TLS.

Runs in worker threads. Each socket is made known to the attempt before anything waits on it, so that
cancelling ends the wait.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
import traceback
from typing import TYPE_CHECKING

from s3rolefs.s3.attempt import Attempt, FailureKind, Origin, TransportFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3rolefs.s3.proxies import Proxy

CONNECT_SECONDS = 10.0
# What one of several addresses gets before the next is tried.
ADDRESS_SECONDS = 2.0


def dial_blocking(
    attempt: Attempt, *, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext]
) -> socket.socket:
    """Return a socket connected to the attempt's origin, ready for requests.

    Raise TransportFailure with one sentence, or AttemptCancelled.
    """
    host, port = (proxy.host, proxy.port) if proxy else (attempt.origin.host, attempt.origin.port)
    where = f"the proxy {host}:{port}" if proxy else f"{host}:{port}"
    limit_seconds = min(CONNECT_SECONDS, attempt.io_timeout_seconds)
    try:
        return _connected(attempt, proxy, tls, limit_seconds)
    except socket.gaierror as error:
        message = f"the name {host} cannot be resolved ({error.strerror})"
        raise TransportFailure(FailureKind.DNS, message) from error
    except UnicodeError as error:
        raise TransportFailure(FailureKind.DNS, f"{host} cannot be the name of a server") from error
    except TimeoutError as error:
        message = f"no connection to {where} within {limit_seconds:g} s"
        raise TransportFailure(FailureKind.TIMEOUT, message) from error
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        message = f"no connection to {where}: {why}"
        raise TransportFailure(FailureKind.REFUSED, message) from error


def _connected(
    attempt: Attempt, proxy: Proxy | None, tls: Callable[[], ssl.SSLContext], limit_seconds: float
) -> socket.socket:
    origin = attempt.origin
    if proxy is None:
        sock = _open_socket(attempt, origin.host, origin.port, limit_seconds)
    elif origin.scheme == "http":
        sock = _open_socket(attempt, proxy.host, proxy.port, limit_seconds)
    else:
        sock = _open_tunnel(origin, proxy, limit_seconds)
    try:
        attempt.attach(sock)
        if origin.scheme == "https":
            encrypted = tls().wrap_socket(sock, server_hostname=origin.host, do_handshake_on_connect=False)
            sock = encrypted
            attempt.attach(encrypted)
            encrypted.settimeout(limit_seconds)
            _shake_hands(encrypted, attempt)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_socket(attempt: Attempt, host: str, port: int, limit_seconds: float) -> socket.socket:
    deadline = time.monotonic() + limit_seconds
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure = OSError("no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses, start=1):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            attempt.attach(sock)
            sock.settimeout(left if number == len(addresses) else min(left, ADDRESS_SECONDS))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _open_tunnel(origin: Origin, proxy: Proxy, limit_seconds: float) -> socket.socket:
    where = f"{proxy.host}:{proxy.port}"
    headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=limit_seconds)
    connection.set_tunnel(origin.host, origin.port, headers)
    try:
        connection.connect()
    except http.client.HTTPException as error:
        message = f"the proxy {where} does not speak HTTP"
        raise TransportFailure(FailureKind.PROXY, message) from error
    except OSError as error:
        # A refused CONNECT comes as an OSError without errno, and leaves the proxy's answer, and
        # with it the socket, to whoever lets go of the traceback's frames.
        if error.errno is not None or isinstance(error, TimeoutError):
            raise
        traceback.clear_frames(error.__traceback__)
        raise TransportFailure(FailureKind.PROXY, f"the proxy {where} says: {error}") from error
    return connection.sock


def _shake_hands(sock: ssl.SSLSocket, attempt: Attempt) -> None:
    host = attempt.origin.host
    try:
        sock.do_handshake()
    except ssl.SSLCertVerificationError as error:
        message = f"the certificate of {host} is not trusted: {error.verify_message}"
        raise TransportFailure(FailureKind.TLS, message) from error
    except TimeoutError as error:
        message = f"{host} did not finish the TLS handshake in time"
        raise TransportFailure(FailureKind.TIMEOUT, message) from error
    except ssl.SSLError as error:
        message = f"no TLS with {attempt.origin.authority}: {error.reason or error}"
        raise TransportFailure(FailureKind.TLS, message) from error
    except OSError as error:
        message = f"{host} closed the connection during the TLS handshake"
        raise TransportFailure(FailureKind.BROKEN, message) from error
