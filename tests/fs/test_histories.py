"""Compare the file system with a model over random histories: own changes, another client's, new mounts."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from s3rolefs.cache.blockfiles import BlockFiles
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import names
from s3rolefs.model import Key
from s3rolefs.s3.faults import Fault, FaultyStore
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes
from tests.bed.effort import EFFORT
from tests.fs.loops import Loop
from tests.fs.mounted import READ_BYTES, TrioClock, mounted

TTL_SECONDS = 10.0

# "a" lies beside "a-" and "a/": S3's order is not that of the names.
# The others are not the components of their keys.
components = st.sampled_from(["a", "a-", "‛name=..", "caf\udce9"])
anywhere = st.lists(components, min_size=1, max_size=3).map("/".join)
data = st.data()
contents = st.binary(max_size=40)
offsets = st.integers(0, 60)
mostly = st.integers(0, 9).map(lambda number: number < 9)
picks = st.integers(0, 1000)


def key_of(path: str) -> Key:
    return Key("/".join(names.read(name)[1] for name in path.split("/")))


class File:
    """A file of the model; it outlives its name while it is open."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    def write(self, offset: int, content: bytes) -> None:
        before = self.content.ljust(offset, b"\0")
        self.content = before[:offset] + content + before[offset + len(content) :]


class Histories(RuleBasedStateMachine):
    """The model: `files` by path, `markers` (directories that stay when they are empty), open `handles`."""

    writeback = False

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = Loop()
        self.store = MemoryStore(TrioClock())
        self.faults = FaultyStore(self.store)
        self.files: dict[str, File] = {}
        self.markers: set[str] = set()
        self.handles: dict[int, File] = {}
        self.loop.run(self._mount)

    def blocks(self) -> BlockFiles | None:
        """Return the disk cache that all mounts of one history share."""
        return None

    async def _mount(self) -> None:
        self.stack = AsyncExitStack()
        self.mounted = await self.stack.enter_async_context(
            mounted(
                self.faults,
                Path(self.folder.name),
                blocks=self.blocks(),
                metadata_ttl_seconds=TTL_SECONDS,
                writeback=self.writeback,
            )
        )

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            for handle in list(self.handles):
                self.do(self.mounted.close, handle)
            self.settle()
            stored = self.do(self._stored)
            assert stored == {path: file.content for path, file in self.files.items()}
            assert not self.store.upload_ids()
        finally:
            self.loop.run(self.stack.aclose)
            self.loop.close()
            self.folder.cleanup()

    def do(self, work, *arguments, **named):
        return self.loop.run(partial(work, *arguments, **named))

    def fails(self, reason: Reason, work, *arguments, **named) -> None:
        with pytest.raises(FileSystemError) as failure:
            self.do(work, *arguments, **named)
        assert failure.value.reason is reason

    def settle(self) -> None:
        """Let S3 hear of everything before somebody else, or the model, looks at it."""
        if self.writeback:
            assert self.do(self.mounted.filesystem.drain, 1000) == []

    def forgotten_elsewhere(self) -> None:
        """Note what stays although somebody else has removed the last that was in it."""

    # What the model says

    def directories(self) -> set[str]:
        found = set(self.markers)
        for path in [*self.files, *self.markers]:
            while path := path.rpartition("/")[0]:
                found.add(path)
        return found

    def children(self, directory: str) -> set[str]:
        prefix = directory + "/" if directory else ""
        known = {*self.files, *self.directories()}
        return {path[len(prefix) :].split("/")[0] for path in known if path.startswith(prefix)}

    def lacks_parent(self, path: str) -> Reason | None:
        """Return why a path cannot be walked to its last component."""
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            above = "/".join(parts[:depth])
            if above in self.files:
                return Reason.NOT_DIRECTORY
            if above not in self.directories():
                return Reason.NOT_FOUND
        return None

    def some(self, draw, *groups) -> str:
        """Return a path of one of the groups, now and then any path."""
        known = sorted({path for group in groups for path in group})
        return draw.draw(st.sampled_from(known) if known and draw.draw(mostly) else anywhere)

    def somewhere(self, draw) -> str:
        """Return a path, new or not, mostly below a directory that exists."""
        above = draw.draw(st.sampled_from(["", *sorted(self.directories())]))
        return f"{above}/{draw.draw(components)}".lstrip("/")

    def took_away(self, path: str) -> None:
        """An own removal leaves the directory above in place."""
        if above := path.rpartition("/")[0]:
            self.markers.add(above) if not self.children(above) else None

    def is_open(self, path: str) -> bool:
        return any(file is self.files.get(path) for file in self.handles.values())

    # Own changes

    @rule(draw=data, content=contents)
    def write_whole(self, draw, content):
        path = self.somewhere(draw)
        reason = self.lacks_parent(path)
        if reason is not None:
            self.fails(reason, self.mounted.write, path, content)
        elif path in self.directories():
            return  # the kernel refuses that by itself
        else:
            self.do(self.mounted.write, path, content)
            self.files.setdefault(path, File()).content = content

    @rule(draw=data, truncating=st.booleans())
    def open(self, draw, truncating):
        path = self.some(draw, self.files) if draw.draw(st.booleans()) else self.somewhere(draw)
        if self.lacks_parent(path) is not None or path in self.directories() or len(self.handles) > 4:
            return
        flags = os.O_RDWR | (os.O_TRUNC if truncating else 0)
        handle = self.do(self.mounted.open_or_create, path, flags)
        file = self.files.setdefault(path, File())
        if truncating:
            file.content = b""
        self.handles[handle] = file

    def some_handle(self, pick: int) -> tuple[int, File]:
        return list(self.handles.items())[pick % len(self.handles)]

    @precondition(lambda self: self.handles)
    @rule(pick=picks, offset=offsets, content=contents)
    def write(self, pick, offset, content):
        handle, file = self.some_handle(pick)
        if content:
            self.do(self.mounted.descriptors.write, handle, offset, content)
            file.write(offset, content)

    @precondition(lambda self: self.handles)
    @rule(pick=picks)
    def fsync(self, pick):
        handle, file = self.some_handle(pick)
        self.do(self.mounted.descriptors.fsync, handle)
        for path, known in self.files.items():
            if known is file:
                assert self.do(self._content, key_of(path)) == file.content

    @precondition(lambda self: self.handles)
    @rule(pick=picks)
    def close(self, pick):
        handle, _ = self.some_handle(pick)
        self.do(self.mounted.close, handle)
        del self.handles[handle]

    @precondition(lambda self: self.files)
    @rule(pick=picks, size=offsets)
    def truncate(self, pick, size):
        path = list(self.files)[pick % len(self.files)]
        self.do(self.mounted.truncate, path, size)
        file = self.files[path]
        file.content = file.content[:size].ljust(size, b"\0")

    @precondition(lambda self: self.files)
    @rule(draw=data)
    def unlink(self, draw):
        path = self.some(draw, self.files)
        reason = self.lacks_parent(path)
        if reason is None and path not in self.files:
            reason = Reason.IS_DIRECTORY if path in self.directories() else Reason.NOT_FOUND
        if reason is not None:
            self.fails(reason, self.mounted.unlink, path)
            return
        self.do(self.mounted.unlink, path)
        del self.files[path]
        self.took_away(path)

    @rule(draw=data)
    def mkdir(self, draw):
        path = self.somewhere(draw)
        reason = self.lacks_parent(path)
        if reason is None and path in {*self.files, *self.directories()}:
            return  # the kernel refuses that by itself
        if reason is not None:
            self.fails(reason, self.mounted.mkdir, path)
            return
        self.do(self.mounted.mkdir, path)
        self.markers.add(path)

    @precondition(lambda self: self.directories())
    @rule(draw=data)
    def rmdir(self, draw):
        path = self.some(draw, self.directories())
        reason = self.lacks_parent(path)
        if reason is None and path not in self.directories():
            reason = Reason.NOT_DIRECTORY if path in self.files else Reason.NOT_FOUND
        if reason is None and self.children(path):
            reason = Reason.NOT_EMPTY
        if reason is not None:
            self.fails(reason, self.mounted.rmdir, path)
            return
        self.do(self.mounted.rmdir, path)
        self.markers.discard(path)
        self.took_away(path)

    @precondition(lambda self: self.files or self.directories())
    @rule(draw=data, overwrite=st.booleans())
    def rename(self, draw, overwrite):
        old, new = self.some(draw, self.files, self.directories()), self.somewhere(draw)
        if old == new or self.lacks_parent(old) or self.lacks_parent(new):
            return
        reason = self.refusal(old, new, overwrite=overwrite)
        if reason is not None:
            self.fails(reason, self.mounted.rename, old, new, overwrite=overwrite)
        else:
            self.do(self.mounted.rename, old, new, overwrite=overwrite)
            self.renamed(old, new)

    @precondition(lambda self: self.handles)
    @rule(draw=data, pick=picks, offset=offsets, content=contents)
    def rename_while_busy(self, draw, pick, offset, content):
        """Rename while open files are written, stored and read, and names are looked up."""
        old, new = self.some(draw, self.files, self.directories()), self.somewhere(draw)
        if old == new or self.lacks_parent(old) or self.lacks_parent(new) or self.refusal(old, new):
            return
        handle, file = self.some_handle(pick)
        reader, other = self.some_handle(pick + 1)
        before = other.content
        file.write(offset, content or b"x")
        contents_read = []

        async def read() -> None:
            contents_read.append(bytes(await self.mounted.descriptors.read(reader, 0, READ_BYTES)))

        async def write() -> None:
            await self.mounted.descriptors.write(handle, offset, content or b"x")
            await self.mounted.descriptors.flush(handle)

        async def all_at_once() -> None:
            async with trio.open_nursery() as nursery:
                for work in (read, write, partial(self.mounted.rename, old, new), self.mounted.list):
                    nursery.start_soon(work)

        self.do(all_at_once)
        self.renamed(old, new)
        assert contents_read[0] in (before, other.content)

    def refusal(self, old: str, new: str, *, overwrite: bool = True) -> Reason | None:
        """Return why a rename between existing directories fails."""
        directories = self.directories()
        reason = None
        if old not in {*self.files, *directories}:
            reason = Reason.NOT_FOUND
        elif new in {*self.files, *directories} and not overwrite:
            reason = Reason.EXISTS
        elif old in self.files and new in directories:
            reason = Reason.IS_DIRECTORY
        elif old in directories and new in self.files:
            reason = Reason.NOT_DIRECTORY
        elif old in directories and new.startswith(old + "/"):
            reason = Reason.INVALID
        elif old in directories and new in directories and self.children(new):
            reason = Reason.NOT_EMPTY
        return reason

    def renamed(self, old: str, new: str) -> None:
        if old in self.files:
            self.files[new] = self.files.pop(old)
        else:
            self._move_directory(old, new)
        self.took_away(old)

    def _move_directory(self, old: str, new: str) -> None:
        def moved(path: str) -> str:
            return new + path[len(old) :] if (path + "/").startswith(old + "/") else path

        self.files = {moved(path): file for path, file in self.files.items()}
        self.markers = {moved(path) for path in self.markers} | {new}

    @precondition(lambda self: self.directories())
    @rule(draw=data)
    def list(self, draw):
        path = self.some(draw, self.directories())
        if path in self.directories():
            assert sorted(self.do(self.mounted.list, path)) == sorted(self.children(path))

    @precondition(lambda self: self.files)
    @rule(draw=data)
    def read(self, draw):
        path = self.some(draw, self.files, self.directories())
        reason = self.lacks_parent(path)
        if reason is None and path not in {*self.files, *self.directories()}:
            reason = Reason.NOT_FOUND
        if reason is not None:
            self.fails(reason, self.mounted.find, path)
        elif path in self.files:
            assert self.do(self.mounted.read, path) == self.files[path].content
        else:
            assert self.do(self.mounted.is_directory, path)

    # Somebody else, and time

    @rule(draw=data, content=contents)
    def put_elsewhere(self, draw, content):
        path = self.some(draw, self.files) if draw.draw(st.booleans()) else draw.draw(anywhere)
        if self.lacks_parent(path) is Reason.NOT_DIRECTORY or path in self.directories():
            return
        if self.is_open(path):
            return
        self.settle()
        self.do(self.store.put, key_of(path), content, ObjectAttributes())
        self.files[path] = File(content)
        self.do(trio.sleep, TTL_SECONDS + 1)

    @precondition(lambda self: self.files)
    @rule(pick=picks)
    def delete_elsewhere(self, pick):
        path = list(self.files)[pick % len(self.files)]
        if not self.is_open(path):
            self.settle()
            self.do(self.store.delete, key_of(path))
            del self.files[path]
            self.forgotten_elsewhere()
            self.do(trio.sleep, TTL_SECONDS + 1)

    @rule(seconds=st.sampled_from([0.5, TTL_SECONDS + 1]))
    def wait(self, seconds):
        self.do(trio.sleep, seconds)

    @rule()
    def mount_again(self):
        for _handle in list(self.handles):
            self.close(0)
        self.loop.run(self.stack.aclose)
        self.loop.run(self._mount)

    @invariant()
    def everything_known_is_right(self):
        if not hasattr(self, "loop"):
            return
        assert sorted(self.do(self.mounted.list)) == sorted(self.children(""))
        for handle, file in self.handles.items():
            assert self.do(self.mounted.read_open, handle) == file.content
        # What is read next comes from S3 again, or from disk.
        self.mounted.names._core.blocks._cached.clear()
        self.mounted.check()

    async def _stored(self) -> dict[str, bytes]:
        found = {}
        page = await self.store.list_page("", delimiter="")
        for info in page.objects:
            if not info.key.endswith("/"):
                found["/".join(names.path(info.key))] = await self._content(info.key)
        return found

    async def _content(self, key: Key) -> bytes:
        content = bytearray((await self.store.head(key)).size_bytes)
        if content:
            await self.store.get(key, [memoryview(content)])
        return bytes(content)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=500 * EFFORT, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHistories.pytestmark = pytest.mark.timeout(300 * EFFORT)


class EndingBlockFiles(BlockFiles):
    """A disk that is gone at the end, also for a thread that nobody waits for any more."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"": ""}, limit_bytes=5 * 4096)
        self.folder_lock = threading.Lock()
        self.over = False

    def prepare(self) -> None:
        if self.over:
            raise FileNotFoundError
        super().prepare()

    def write(self, path: Path, block: memoryview) -> None:
        with self.folder_lock:
            if self.over:
                raise FileNotFoundError
            super().write(path, block)

    def end(self) -> None:
        with self.folder_lock:
            self.over = True


class HistoriesOnDisk(Histories):
    """The same with a disk cache; its room is so small that blocks come and go."""

    def blocks(self) -> BlockFiles:
        made = EndingBlockFiles(Path(self.folder.name) / "blocks")
        self.disks = [*getattr(self, "disks", []), made]
        return made

    def teardown(self) -> None:
        for disk in getattr(self, "disks", []):
            disk.end()
        super().teardown()


TestHistoriesOnDisk = HistoriesOnDisk.TestCase
TestHistoriesOnDisk.settings = settings(TestHistories.settings, max_examples=60 * EFFORT)
TestHistoriesOnDisk.pytestmark = pytest.mark.timeout(300 * EFFORT)


class HistoriesWithWriteback(Histories):
    """The same when S3 hears of it later; a mount that ends has been killed, and the next one goes on."""

    writeback = True

    def forgotten_elsewhere(self) -> None:
        """A directory got a marker where all that S3 had of it went while something else waited."""
        page = self.do(self.store.list_page, "", delimiter="")
        for info in page.objects:
            if info.key.endswith("/"):
                self.markers.add("/".join(names.path(info.key[:-1])))

    @rule(lost=st.booleans())
    def end_while_s3_hears_of_it(self, lost):
        """Kill the mount when S3 has done what it was asked for, before the mount knows."""
        for _handle in list(self.handles):
            self.close(0)
        unheard = Fault(times=None, answer_lost=lost, answer_delay_seconds=0 if lost else math.inf)
        self.faults.plan(
            *(replace(unheard, verb=verb) for verb in ("put", "delete_many")),
            Fault(verb="head", times=None, reason=Reason.UNREACHABLE),
        )
        self.do(trio.sleep, 1.5)
        self.loop.run(self.stack.aclose)
        self.faults.plan()
        self.loop.run(self._mount)


TestHistoriesWithWriteback = HistoriesWithWriteback.TestCase
TestHistoriesWithWriteback.settings = settings(TestHistories.settings, max_examples=100 * EFFORT)
TestHistoriesWithWriteback.pytestmark = pytest.mark.timeout(300 * EFFORT)
