"""Serve a bucket in memory through FUSE, and do on request what another client of it would.

Started by `served` in a process of its own: `python -m tests.fuse.server DIRECTORY SPOOL TTL [WORD...]`;
words are `xattr` and `write_through`.
Requests and answers are lines of JSON on standard input and output.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from s3rolefs.clock import SystemClock
from s3rolefs.config import FileConfig
from s3rolefs.errors import Reason
from s3rolefs.fs.filesystem import FileSystem
from s3rolefs.fuse import session
from s3rolefs.fuse.operations import Operations
from s3rolefs.model import Key
from s3rolefs.s3.faults import Fault, FaultyStore
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes

if TYPE_CHECKING:
    import pyfuse3


MEETING_SECONDS = 5.0


class CountingOperations(Operations):
    """Count the writes that the kernel sends, and let look-ups wait for each other."""

    writes = 0
    expected = 0
    present = 0

    def __init__(self, filesystem: FileSystem) -> None:
        super().__init__(filesystem)
        self.complete = trio.Event()

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if self.present < self.expected:
            self.present += 1
            if self.present == self.expected:
                self.complete.set()
            with trio.move_on_after(MEETING_SECONDS):
                await self.complete.wait()
        return await super().lookup(parent_inode, name, ctx)

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        self.writes += 1
        return await super().write(fh, off, buf)


@dataclass(frozen=True, slots=True)
class OtherClient:
    """Act on the bucket behind the mount's back, and tell what reached the mount."""

    store: MemoryStore
    faults: FaultyStore
    operations: CountingOperations

    async def plan(self, verb: str, reason: str, times: int | None) -> None:
        """Let the mount's next calls of a verb fail."""
        self.faults.plan(Fault(verb=verb, reason=Reason[reason], times=times))

    async def put(self, key: str, content: str, metadata: dict[str, str]) -> None:
        attributes = ObjectAttributes(metadata=metadata)
        await self.store.put(key, base64.b64decode(content), attributes)

    async def fill(self, prefix: str, count: int) -> None:
        """Put empty objects whose names are numbers of six digits."""
        first = Key(f"{prefix}000000")
        await self.store.put(first, b"", ObjectAttributes())
        # The others are the same; to put each of 100,000 would take a while.
        held = self.store._objects
        held.update((Key(f"{prefix}{number:06}"), held[first]) for number in range(1, count))

    async def get(self, key: str) -> str:
        content = bytearray((await self.store.head(key)).size_bytes)
        if content:
            await self.store.get(key, [memoryview(content)])
        return base64.b64encode(content).decode()

    async def metadata(self, key: str) -> dict[str, str]:
        return dict((await self.store.head(key)).metadata or {})

    async def delete(self, key: str) -> None:
        await self.store.delete(key)

    async def keys(self) -> list[str]:
        return [info.key for info in (await self.store.list_page("", delimiter="")).objects]

    async def counts(self) -> dict[str, int]:
        """Return how often each verb was called since the last time this was asked."""
        counts = dict(self.store.counts)
        self.store.counts.clear()
        return counts

    async def expect(self, count: int) -> None:
        """Let the next look-ups wait, for a while, until so many are there at once."""
        self.operations.expected, self.operations.present = count, 0

    async def have_met(self) -> bool:
        return self.operations.complete.is_set()

    async def writes(self) -> int:
        """Return how many writes the kernel has sent since the last time this was asked."""
        writes, self.operations.writes = self.operations.writes, 0
        return writes


async def answer(client: OtherClient) -> None:
    received = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        async for piece in stream:
            received += piece
            while b"\n" in received:
                line, _, received = received.partition(b"\n")
                verb, arguments = json.loads(line)
                say(await getattr(client, verb)(*arguments))


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


async def serve(directory: str, spool: str, ttl_seconds: str, *words: str) -> None:
    store = MemoryStore()
    faults = FaultyStore(store)
    files = FileConfig(
        uid=0,
        gid=0,
        spool_dir=spool,
        metadata_ttl_seconds=float(ttl_seconds),
        negative_ttl_seconds=float(ttl_seconds),
        xattr="xattr" in words,
        write_through="write_through" in words,
    )
    filesystem = FileSystem(faults, prefix="", source="s3://memory", files=files, clock=SystemClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(filesystem.run)
        operations = CountingOperations(filesystem)
        session.open_session(operations, directory, source="s3://memory", flags=("allow_other",))
        try:
            nursery.start_soon(answer, OtherClient(store, faults, operations))
            say("ready")
            await session.serve()
        finally:
            session.close_session()
        await filesystem.drain(10)
        nursery.cancel_scope.cancel()
    filesystem.close()


if __name__ == "__main__":
    trio.run(serve, *sys.argv[1:])
