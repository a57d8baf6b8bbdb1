"""Rename: server-side copies, then deletes. Nothing is ever at neither place.

An interrupted rename of a directory leaves every file complete at the old place, and some at both.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.metadata import DIRECTORY, NOTHING, MetadataCache
from s3rolefs.errors import FileSystemError, Reason, StoreError
from s3rolefs.fs.concurrency import for_each
from s3rolefs.fs.inodes import Inode, InodeTable, version_of
from s3rolefs.fs.parts import SINGLE_COPY_LIMIT_BYTES, plan_parts
from s3rolefs.fs.ranges import Ranges
from s3rolefs.fs.upload import copy_object
from s3rolefs.model import Key, ObjectInfo, Stored
from s3rolefs.s3.store import BatchDeleteLimit, ObjectAttributes, ObjectStore

if TYPE_CHECKING:
    from s3rolefs.clock import Clock
    from s3rolefs.fs.commit import Committer
    from s3rolefs.fs.directories import Directories

log = logging.getLogger(__name__)

_COPIES_AT_ONCE = 32


class Mover:
    """Move files and trees within one mount."""

    def __init__(
        self,
        store: ObjectStore,
        metadata: MetadataCache,
        table: InodeTable,
        directories: Directories,
        committer: Committer,
        clock: Clock,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._table = table
        self._directories = directories
        self._committer = committer
        self._clock = clock

    async def move_file(self, inode: Inode, parent: Inode, name: str, *, overwrite: bool) -> None:
        """Give a file another name; the caller holds its lock and has saved an open target's bytes."""
        await self._committer.commit(inode)
        assert inode.parent is not None
        assert inode.version is not None
        old_parent, old_name, old = inode.parent, inode.name, inode.version
        target = Key(self._table.directory_prefix(parent) + name)
        try:
            stored = await self._committer.copy_to(inode, target, if_none_match=not overwrite)
        except FileSystemError as error:
            if error.reason is Reason.PRECONDITION and not overwrite:
                raise FileSystemError(Reason.EXISTS) from error
            if error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND):
                raise FileSystemError(Reason.STALE, "the object was changed by somebody else") from error
            raise
        await self._directories.stay_without(old_parent, old_name)
        await self._store.delete(old.key)
        self._metadata.changed(self._table.directory_prefix(old_parent), old_name, NOTHING)
        self._table.move(inode, parent, name)
        info = inode.info
        assert info is not None
        moved = replace(
            info,
            key=target,
            etag=stored.etag,
            last_modified_ns=stored.last_modified_ns or info.last_modified_ns,
            version_id=stored.version_id,
        )
        self._committer.stored(inode, moved, replace(old, key=target, etag=stored.etag))
        if inode.writer is not None and inode.version is not None:
            inode.writer.committed(inode.writer.revision, inode.version)

    async def move_directory(self, inode: Inode, parent: Inode, name: str, *, overwrite: bool) -> None:
        """Give a directory another name; the caller keeps everybody else out of the tree."""
        assert inode.parent is not None
        for child in self._table.below(inode):
            async with child.lock:
                await self._committer.commit(child)
        old_prefix = self._table.directory_prefix(inode)
        new_prefix = self._table.directory_prefix(parent) + name + "/"
        page = await self._store.list_page(new_prefix, delimiter="", limit=2)
        if any(info.key != new_prefix for info in page.objects):
            raise FileSystemError(Reason.NOT_EMPTY if overwrite else Reason.EXISTS)
        if page.objects and not overwrite:
            raise FileSystemError(Reason.EXISTS)
        objects = await self._objects_below(old_prefix)
        copied: dict[Key, Stored] = {}

        async def copy(info: ObjectInfo) -> None:
            target = Key(new_prefix + info.key[len(old_prefix) :])
            copied[target] = await self._copy(info, target)

        try:
            await for_each(objects, copy, limit=_COPIES_AT_ONCE)
            if not any(info.key == old_prefix for info in objects):
                # The new place exists as a directory also when the old one was implicit and empty.
                await self._directories.make_marker(inode, Key(new_prefix))
        except FileSystemError:
            log.error("moving %s stopped half-way: all files are still at the old place", old_prefix)
            await self._delete(list(copied))
            raise
        await self._directories.stay_without(inode.parent, inode.name)
        await self._delete([info.key for info in objects])
        self._settle(inode, parent, name, copied)

    def _settle(self, inode: Inode, parent: Inode, name: str, copied: dict[Key, Stored]) -> None:
        assert inode.parent is not None
        self._metadata.forget_below(self._table.directory_prefix(inode))
        self._metadata.forget_below(self._table.directory_prefix(parent) + name + "/")
        self._metadata.changed(self._table.directory_prefix(inode.parent), inode.name, NOTHING)
        self._metadata.changed(self._table.directory_prefix(parent), name, DIRECTORY)
        self._table.move(inode, parent, name)
        now_seconds = self._clock.boot_seconds()
        for moved in [inode, *self._table.below(inode)]:
            key = self._table.key(moved)
            etag = copied[key].etag if key in copied else ""
            if moved.info is not None:
                moved.info = replace(moved.info, key=key, etag=etag)
            if moved.version is not None:
                moved.version = replace(moved.version, key=key, etag=etag)
                if moved.writer is not None:
                    moved.writer.committed(moved.writer.revision, moved.version)
            moved.checked_at_seconds = now_seconds

    async def _objects_below(self, prefix: str) -> list[ObjectInfo]:
        objects: list[ObjectInfo] = []
        token: str | None = None
        while True:
            page = await self._store.list_page(prefix, delimiter="", token=token)
            objects.extend(page.objects)
            token = page.next_token
            if token is None:
                return objects

    async def _copy(self, info: ObjectInfo, target: Key) -> Stored:
        version = version_of(info)
        if info.size_bytes <= SINGLE_COPY_LIMIT_BYTES:
            return await self._store.copy(info.key, target, if_match=info.etag)
        full = await self._store.head(info.key)
        attributes = ObjectAttributes(metadata=full.metadata or {}, headers=full.headers or {})
        parts = plan_parts(version.size_bytes, version.size_bytes, Ranges())
        return await copy_object(self._store, version, target, attributes, parts, replace_attributes=True)

    async def _delete(self, keys: list[Key]) -> None:
        with trio.CancelScope(shield=True):
            for start in range(0, len(keys), BatchDeleteLimit):
                failures = await self._store.delete_many(keys[start : start + BatchDeleteLimit])
                if failures:
                    raise StoreError(
                        Reason.ACCESS_DENIED if failures[0].code == "AccessDenied" else Reason.REFUSED,
                        f"{len(failures)} objects were not deleted, the first because: {failures[0].message}",
                        operation="DeleteObjects",
                        key=failures[0].key,
                        code=failures[0].code,
                    )
