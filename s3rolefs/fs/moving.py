"""Rename: server-side copies, then deletes. Nothing is ever at neither place.

A rename of a directory that fails while copying takes the copies back; one that the end of its mount breaks
off leaves every file complete at one place at least, and a record with which the next mount finishes it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from s3rolefs.cache.listings import DIRECTORY, NOTHING
from s3rolefs.errors import FileSystemError, Reason, StoreError
from s3rolefs.fs.concurrency import at_once, for_each
from s3rolefs.fs.directories import holds_something
from s3rolefs.fs.inode import Inode, version_of
from s3rolefs.fs.upload import copies_everything, copy_object
from s3rolefs.model import Key, ListPage, ObjectInfo, Stored
from s3rolefs.s3.store import ObjectAttributes, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from s3rolefs.cache.blocks import ObjectVersion
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.clock import Clock
    from s3rolefs.fs.commit import Committer
    from s3rolefs.fs.directories import Directories
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.moverecord import MoveRecord
    from s3rolefs.fs.names import Step
    from s3rolefs.fs.removals import Removals
    from s3rolefs.fs.unsent import UnsentFolder

log = logging.getLogger(__name__)

_COPIES_AT_ONCE = 32
# A service removes the keys of one request one by one; a request costs nothing.
_BATCH_KEYS = 50
_BATCHES_AT_ONCE = 8


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
        folder: UnsentFolder,
        removals: Removals,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._table = table
        self._directories = directories
        self._committer = committer
        self._clock = clock
        self._folder = folder
        self._removals = removals

    async def move_file(self, inode: Inode, parent: Inode, step: Step, *, overwrite: bool) -> None:
        """Give a file another name; the caller holds its lock and has saved an open target's bytes."""
        await self._committer.commit(inode)
        if inode.parent is None or inode.version is None or inode.info is None or inode.detached:
            raise FileSystemError(Reason.STALE, "the object was changed by somebody else")
        old_parent, old_step, old = inode.parent, inode.step, inode.version
        target = Key(self._table.directory_prefix(parent) + step.key)
        await self._removals.settle(target)
        stored: Stored | None = None
        emptied: Inode | None = None

        async def copy() -> None:
            nonlocal stored
            stored = await self._committer.copy_to(inode, target, if_none_match=not overwrite)

        async def look() -> None:
            nonlocal emptied
            if not parent.is_within(old_parent):  # it will hold the copy
                emptied = await self._directories.emptied(old_parent, *self._table.place_of(inode))

        try:
            await at_once(copy, look)
            assert stored is not None
            moved = replace(old, key=target, etag=stored.etag)
            # Who reads the file goes on at the new place.
            _point(inode, moved)
            if emptied is not None:
                await self._directories.mark(emptied)
            await self._store.delete(old.key)
        except FileSystemError as error:
            _point(inode, old)
            self._doubt(old_parent, old_step)
            self._doubt(parent, step)
            if error.reason is Reason.PRECONDITION and not overwrite:
                raise FileSystemError(Reason.EXISTS) from error
            if error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND):
                raise FileSystemError(Reason.STALE, "the object was changed by somebody else") from error
            raise
        self._metadata.changed(*self._table.place_of(inode), NOTHING)
        self._table.move(inode, parent, step)
        info = replace(
            inode.info,
            key=target,
            etag=stored.etag,
            last_modified_ns=stored.last_modified_ns or inode.info.last_modified_ns,
            version_id=stored.version_id,
        )
        self._committer.stored(inode, info, moved)

    def move_unsent(self, inode: Inode, parent: Inode, step: Step) -> None:
        """Give a file that S3 has not heard of another name."""
        self._metadata.changed(*self._table.place_of(inode), NOTHING)
        self._table.move(inode, parent, step)
        self._metadata.made_again(*self._table.place_of(inode))

    async def move_directory(self, inode: Inode, parent: Inode, step: Step, *, overwrite: bool) -> None:
        """Give a directory another name; the caller keeps everybody else out of what is below it."""
        if inode.parent is None or inode.detached:
            raise FileSystemError(Reason.STALE, "the directory is gone")
        old_prefix = self._table.directory_prefix(inode)
        new_prefix = self._table.directory_prefix(parent) + step.key
        await self._settle_below(inode)
        await self._removals.settle_below(new_prefix)
        page: ListPage | None = None
        objects: list[ObjectInfo] = []

        async def look() -> None:
            nonlocal page
            page = await self._store.list_page(new_prefix, delimiter="", limit=2)

        async def list_all() -> None:
            objects.extend(await self._objects_below(old_prefix))

        await at_once(look, list_all)
        assert page is not None
        if holds_something(page, new_prefix):
            raise FileSystemError(Reason.NOT_EMPTY if overwrite else Reason.EXISTS)
        if page.objects and not overwrite:
            raise FileSystemError(Reason.EXISTS)
        record = self._folder.begin_move(old_prefix, new_prefix, len(objects))
        begun: list[Key] = []
        copied: dict[Key, Stored] = {}

        async def copy(info: ObjectInfo) -> None:
            target = Key(new_prefix + info.key[len(old_prefix) :])
            begun.append(target)
            copied[target] = await self._copy(info, target)
            record.copied(info.key[len(old_prefix) :], info.etag, copied[target].etag)

        try:
            await for_each(objects, copy, limit=_COPIES_AT_ONCE)
            if not any(info.key == old_prefix for info in objects):
                # The new place exists as a directory also when the old one was implicit and empty.
                begun.append(Key(new_prefix))
                await self._directories.make_marker(inode, Key(new_prefix))
        except FileSystemError as error:
            log.error("moving %s stopped half-way: all files are still at the old place", old_prefix)
            self._forget_below(inode, parent, step)
            self._doubt(parent, step)
            there_before = {info.key for info in page.objects}
            await self._take_back([key for key in begun if key not in there_before])
            record.end()
            if error.reason is Reason.PRECONDITION:
                raise FileSystemError(Reason.STALE, "an object was changed meanwhile") from error
            raise
        moved = self._current_below(inode, {info.key: info.etag for info in objects})
        self._point(moved, old_prefix, new_prefix, copied)
        record.begin_removing()
        try:
            if not parent.is_within(inode.parent):  # it holds the copies
                await self._directories.stay_without(inode)
            await self._delete([info.key for info in objects])
        except FileSystemError:
            log.error("%s was copied to %s, but not all of it was removed", old_prefix, new_prefix)
            self._point(moved, old_prefix, old_prefix, {info.key: info for info in objects})
            for known in self._table.below(inode):
                known.checked_at_seconds = float("-inf")
            self._forget_below(inode, parent, step)
            self._doubt(parent, step)
            record.end()
            raise
        record.end()
        self._forget_below(inode, parent, step)
        self._metadata.changed(*self._table.place_of(inode), NOTHING)
        self._metadata.changed(*self._table.place(parent, step), DIRECTORY)
        self._table.move(inode, parent, step)

    async def finish(self, record: MoveRecord, inode: Inode) -> None:
        """Finish the move of a directory that the end of its mount broke off; the caller keeps everybody out.

        Nothing is replaced that is not a copy made by this move, and nothing removed without its
        equal at the new place: what somebody else changed meanwhile stays where it is. Where the removal was
        begun, everything had been copied: what is still to be copied was made since, and stays, too.
        """
        old_path, new_path = (self._table.path_of(prefix[:-1]) for prefix in (record.old, record.new))
        await self._settle_below(inode)
        await self._removals.settle_below(record.new)
        objects = await self._objects_below(record.old)
        there = {info.key: info for info in await self._objects_below(record.new)}
        missing: list[ObjectInfo] = []
        contested: list[ObjectInfo] = []
        for info in objects:
            name = info.key[len(record.old) :]
            found = there.get(Key(record.new + name))
            source_etag, copy_etag = record.copies.get(name, (info.etag, info.etag))
            is_copy = found is not None and found.etag == copy_etag
            if is_copy and info.etag == source_etag:
                continue
            if (found is None or is_copy) and not record.removing:
                missing.append(info)  # not copied yet, or changed at the old place since
            else:
                contested.append(info)

        async def copy(info: ObjectInfo) -> None:
            name = info.key[len(record.old) :]
            stored = await self._copy(info, Key(record.new + name))
            record.copied(name, info.etag, stored.etag)

        await for_each(missing, copy, limit=_COPIES_AT_ONCE)
        record.begin_removing()
        if not contested:
            await self._directories.stay_without(inode)
        left = {info.key for info in contested}
        await self._delete([info.key for info in objects if info.key not in left])
        record.end()
        for known in self._table.below(inode):
            known.checked_at_seconds = float("-inf")
        self._metadata.forget_below(record.old)
        self._metadata.forget_below(record.new)
        above, _, last = record.new[:-1].rpartition("/")
        self._metadata.changed(f"{above}/" if above else "", f"{last}/", DIRECTORY)
        if contested:
            log.error(
                "%d files stay in %s, because somebody has changed them, or their copies in %s, since: %s",
                len(contested),
                old_path,
                new_path,
                ", ".join(self._table.path_of(info.key) for info in contested[:10]),
            )
        else:
            self._directories.gone(inode)
        log.warning(
            "the move of %s to %s is finished: %d files were copied now", old_path, new_path, len(missing)
        )

    def _current_below(self, directory: Inode, etags: Mapping[Key, str]) -> list[Inode]:
        """Return what is known below a directory as it was moved; the others have to be looked up again."""
        known = {one: one.version or one.info for one in (directory, *self._table.below(directory))}
        moved = {one: there and etags.get(self._table.key(one), there.etag) for one, there in known.items()}
        for inode, there in known.items():
            if there is not None and there.etag != moved[inode]:
                inode.checked_at_seconds = float("-inf")
        return [inode for inode, there in known.items() if there is None or there.etag == moved[inode]]

    async def _settle_below(self, directory: Inode) -> None:
        """Let S3 have, and have heard of, everything below a directory."""

        async def commit(inode: Inode) -> None:
            async with inode.lock:
                await self._committer.commit(inode)

        await for_each(self._table.unsent_within(directory), commit, limit=_COPIES_AT_ONCE)
        await self._removals.settle_below(self._table.directory_prefix(directory))

    def _point(
        self,
        inodes: Sequence[Inode],
        old_prefix: str,
        new_prefix: str,
        there: Mapping[Key, Stored | ObjectInfo],
    ) -> None:
        """Let inodes refer to what is there, the same at another place."""
        now_seconds = self._clock.boot_seconds()
        for inode in inodes:
            key = Key(new_prefix + self._table.key(inode)[len(old_prefix) :])
            stored = there.get(key)
            if stored is None or inode.is_part:
                continue  # not in S3 (yet), or an implicit directory
            inode.checked_at_seconds = now_seconds
            if inode.info is not None:
                inode.info = replace(inode.info, key=key, etag=stored.etag, version_id=stored.version_id)
            if inode.version is not None:
                _point(inode, replace(inode.version, key=key, etag=stored.etag))

    def _forget_below(self, inode: Inode, parent: Inode, step: Step) -> None:
        assert inode.parent is not None
        self._metadata.forget_below(self._table.directory_prefix(inode))
        self._metadata.forget_below(self._table.directory_prefix(parent) + step.key)

    def _doubt(self, parent: Inode, step: Step) -> None:
        self._metadata.doubt(*self._table.place(parent, step))
        child = parent.children.get(step)
        if child is not None:
            child.checked_at_seconds = float("-inf")

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
        if copies_everything(info):
            return await copy_object(self._store, version_of(info), target, None)
        full = await self._store.head(info.key)
        headers = dict(full.headers or {}) | {"x-amz-storage-class": info.storage_class or "STANDARD"}
        kept = ObjectAttributes(metadata=full.metadata or {}, headers=headers)
        attributes = await self._committer.tags.beside(kept, full)
        return await copy_object(self._store, version_of(info), target, attributes)

    async def _take_back(self, keys: list[Key]) -> None:
        try:
            await self._delete(keys)
        except FileSystemError as error:
            log.error("copies that were made already are left: %s", error)

    async def _delete(self, keys: list[Key]) -> None:
        async def delete(batch: list[Key]) -> None:
            failures = await self._store.delete_many(batch)
            if failures:
                raise StoreError(
                    Reason.ACCESS_DENIED if failures[0].code == "AccessDenied" else Reason.REFUSED,
                    f"{len(failures)} objects were not deleted, the first because: {failures[0].message}",
                    operation="DeleteObjects",
                    key=failures[0].key,
                    code=failures[0].code,
                )

        batches = [keys[start : start + _BATCH_KEYS] for start in range(0, len(keys), _BATCH_KEYS)]
        with trio.CancelScope(shield=True):
            await for_each(batches, delete, limit=_BATCHES_AT_ONCE)


def _point(inode: Inode, version: ObjectVersion) -> None:
    """Let an inode, and the writer above it, refer to the same content elsewhere."""
    inode.version = version
    if inode.writer is not None:
        inode.writer.rebase(version)
