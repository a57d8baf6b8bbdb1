"""Make pools of connections, and attempts for them."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager

import pytest
import trio
import trustme

from s3rolefs.s3.attempt import Attempt, Origin, TransportFailure
from s3rolefs.s3.connections import ConnectionPool
from s3rolefs.s3.store import FileSpan
from tests.bed.patience import wait_until

AUTHORITY = trustme.CA()


@asynccontextmanager
async def pool_of(limit=4, *, environ=None, tls=None):
    pool = ConnectionPool(limit=limit, tls=tls or ssl.create_default_context, environ=environ or {})
    try:
        yield pool
    finally:
        with trio.CancelScope(shield=True):
            await pool.aclose()


def attempt_at(server, method="GET", target="/", *, headers=None, io_timeout=5.0, host="127.0.0.1", **more):
    scheme = server.url.partition(":")[0]
    body = more.get("body", b"")
    length = body.length if isinstance(body, FileSpan) else len(body)
    sent = {"host": host, "content-length": str(length), **(headers or {})}
    return Attempt(
        origin=Origin(scheme=scheme, host=host, port=server.port),
        method=method,
        target=target,
        make_headers=lambda: sent,
        io_timeout_seconds=io_timeout,
        answer_timeout_seconds=io_timeout,
        **more,
    )


async def failure_of(pool, attempt) -> TransportFailure:
    with trio.fail_after(5), pytest.raises(TransportFailure) as caught:
        await pool.run(attempt)
    return caught.value


async def arrival(server):
    """Wait for the first request."""
    await trio.to_thread.run_sync(wait_until, lambda: server.requests, 5.0)


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context
