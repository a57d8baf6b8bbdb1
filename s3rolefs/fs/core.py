"""Hold what the operations on names and on descriptors share: one mount's rooms, wired together."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from s3rolefs.cache.blocks import BlockCache
from s3rolefs.cache.metadata import MetadataCache
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import attributes, names
from s3rolefs.fs.attributes import Attributes, Caller, Changes, new_attributes
from s3rolefs.fs.commit import Committer
from s3rolefs.fs.descriptions import object_attributes
from s3rolefs.fs.directories import Directories
from s3rolefs.fs.exclusion import is_lock
from s3rolefs.fs.finding import Finder
from s3rolefs.fs.foresight import Foresight
from s3rolefs.fs.inode import Inode, version_of
from s3rolefs.fs.inodes import ROOT_NUMBER, InodeTable
from s3rolefs.fs.moving import Mover
from s3rolefs.fs.names import CONTENT, Form, Kind, Step
from s3rolefs.fs.particulars import Particulars
from s3rolefs.fs.queue import Queue
from s3rolefs.fs.removals import Removals
from s3rolefs.fs.surveys import Surveys
from s3rolefs.fs.tree import Tree
from s3rolefs.fs.treelock import TreeLock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.cache.background import Background
    from s3rolefs.cache.disktier import DiskTier
    from s3rolefs.cache.recollection import Recollection
    from s3rolefs.clock import Clock
    from s3rolefs.config import FileConfig
    from s3rolefs.fs.unsent import UnsentFolder
    from s3rolefs.fs.writer import Writer
    from s3rolefs.model import InodeNumber
    from s3rolefs.s3.store import ObjectStore

log = logging.getLogger(__name__)


class Core:
    """Wire the parts of one mount; `background` runs what nobody waits for."""

    def __init__(
        self,
        store: ObjectStore,
        background: Background,
        *,
        prefix: str,
        files: FileConfig,
        clock: Clock,
        folder: UnsentFolder,
        directories: Mapping[str, str],
        recollection: Recollection | None,
        disk: DiskTier | None,
    ) -> None:
        self.background = background
        self.store = store
        self.files = files
        self.clock = clock
        self.prefix = prefix
        self.folder = folder
        self.tree_lock = TreeLock()
        self.mounted_at_ns = time.time_ns()
        of_root = attributes.of_directory(None, files, default_time_ns=self.mounted_at_ns)
        root = Inode(
            ROOT_NUMBER,
            None,
            Step(Kind.DIRECTORY, ""),
            of_root,
            info=None,
            checked_at_seconds=clock.boot_seconds(),
            permanent=True,
        )
        self.table = InodeTable(prefix, root)
        for name, key_prefix in directories.items():
            self.table.add_permanent(name, key_prefix, of_root, checked_at_seconds=clock.boot_seconds())
        self.metadata = MetadataCache(
            clock, ttl_seconds=files.metadata_ttl_seconds, recollection=recollection
        )
        self.blocks = BlockCache(store, background, capacity_bytes=files.cache_memory_bytes, disk=disk)
        self.particulars = Particulars(store, self.metadata, self.blocks, files)
        self.foresight = Foresight(self.particulars, self.metadata, self.blocks, background, files)
        self.surveys = Surveys(store, self.metadata, ttl_seconds=files.metadata_ttl_seconds)
        self.finder = Finder(store, self.metadata, self.surveys, self.particulars, self.foresight)
        self.tree = Tree(
            self.finder,
            self.metadata,
            self.table,
            self.tree_lock,
            clock,
            files,
            mounted_at_ns=self.mounted_at_ns,
        )
        self.directories = Directories(store, self.metadata, self.surveys, self.table, background)
        self.removals = Removals(
            store,
            self.metadata,
            self.table,
            self.directories,
            self.tree_lock,
            background,
            folder,
            goes_first=lambda seconds: self.queue.has_older(seconds),
        )
        self.committer = Committer(
            store, self.blocks, self.metadata, self.table, background, clock, folder, self.removals
        )
        self.queue = Queue(self.committer, self.table, self.tree_lock, background, folder)
        self.mover = Mover(
            store, self.metadata, self.table, self.directories, self.committer, clock, folder, self.removals
        )

    def directory(self, number: InodeNumber) -> Inode:
        """Return a known directory; NOT_DIRECTORY, STALE."""
        inode = self.table.get(number)
        if not inode.is_directory:
            raise FileSystemError(Reason.NOT_DIRECTORY)
        return inode

    def check_writable(self) -> None:
        """Raise READ_ONLY on a read-only mount."""
        if self.files.read_only:
            raise FileSystemError(Reason.READ_ONLY)

    def check_takes_names(self, directory: Inode) -> None:
        """Raise NOT_PERMITTED for the root of a map: what is in it, the configuration says."""
        if self.table.is_map and directory is self.table.root:
            raise FileSystemError(Reason.NOT_PERMITTED, "the directories here are those of the map")

    def new_step(self, directory: Inode, name: bytes, kind: Kind) -> tuple[Step, bool]:
        """Return where what is made under a name belongs, and whether that is beside a directory.

        NAME_TOO_LONG; INVALID for the names of what is there without being made.
        """
        form, text = names.read(names.decoded(name))
        if form is Form.PART and kind is Kind.DIRECTORY:
            return Step(Kind.PART, text), False
        step, beside = Step(kind, text), form is Form.OBJECT
        prefix = self.table.key_prefix(directory)
        is_content = kind is Kind.OBJECT and not text
        if (
            form is Form.PART
            or (beside and kind is Kind.DIRECTORY)
            or (is_content and not (beside and prefix))
            or not self.tree.is_whole(directory, step, beside=beside)
        ):
            raise FileSystemError(Reason.INVALID, "this name is the escape of something else")
        names.check_key(prefix + step.key)
        return step, beside

    def check_free(self, directory: Inode, step: Step) -> None:
        """Raise EXISTS when the key of a plain name is that of an object which was made as one beside it."""
        known = directory.children.get(step)
        if known is not None and known.named_object:
            raise FileSystemError(Reason.EXISTS, "the object of this name was made under its other name")

    async def new_file(self, parent: InodeNumber, name: bytes, mode: int, caller: Caller) -> Inode:
        """Make the inode of a file that S3 does not have yet, with a writer that is due."""
        self.check_writable()
        directory = self.directory(parent)
        step, beside = self.new_step(directory, name, Kind.OBJECT)
        if self.tree.known(directory, name) is not None:
            raise FileSystemError(Reason.EXISTS)
        self.check_takes_names(directory)
        if not beside:
            self.check_free(directory, step)
        if step == CONTENT:  # it takes the place of the empty marker
            await self.commit(directory)
            marker = await self.particulars.marker(self.table.key(directory))
            directory.info = marker or directory.info
        known = directory.children.get(step)
        if known is not None:
            self.table.detach(known)
        inode = self.table.add(
            directory,
            step,
            new_attributes(mode, caller, directory.attributes),
            info=None,
            checked_at_seconds=self.clock.boot_seconds(),
        )
        self.metadata.made_again(*self.table.place_of(inode))
        inode.beside = inode.named_object = beside
        if step == CONTENT and directory.info is not None:
            inode.info, inode.version = directory.info, version_of(directory.info)
        self.committer.new_writer(inode, empty=True).touch()
        directory.children_changed()
        return inode

    async def new_directory(self, parent: Inode, step: Step, attributes: Attributes) -> Inode:
        """Make a directory; EXISTS. With `writeback` S3 hears of it a little later, if it is no lock."""
        now_seconds = self.clock.boot_seconds()
        if self.files.writeback and not self.is_exclusive(step):
            inode = self.directories.begin(parent, step, attributes, now_seconds)
            self.committer.new_writer(inode, empty=True).touch()
            if self.queue.take(inode):
                return inode
            self.metadata.forget_listing(self.table.key(inode))
            await self.committer.give_up(inode)
            self.table.remove(inode)
        return await self.directories.make(parent, step, attributes, now_seconds)

    def is_exclusive(self, step: Step) -> bool:
        """Tell whether who makes something has to hear at once that somebody else was first."""
        return self.files.exclusive_at_open or is_lock(step.text)

    async def refreshed(self, number: InodeNumber) -> Inode:
        """Return an inode with what is known of it as fresh as the options say."""
        inode = self.table.get(number)
        if not self.tree.is_fresh(inode):
            with contextlib.suppress(FileSystemError):
                # What was replaced or removed meanwhile stays readable through its descriptors;
                # its attributes are what they were.
                await self.tree.revalidate(inode)
        return inode

    async def change_attributes(self, inode: Inode, changed: Attributes) -> None:
        """Give a file whose lock is held other attributes; they ride on an upload that is due."""
        before, inode.attributes = inode.attributes, changed
        try:
            if inode.writer is not None and inode.writer.dirty:
                if inode.info is not None or changed.xattr is not None:  # what is always there has room
                    object_attributes(inode)  # raises NO_SPACE, which must not wait for close
                inode.writer.touch()
                self.queue.write_down_again(inode)
            else:
                await self.committer.store_attributes(inode)
        except FileSystemError:
            inode.attributes = before
            raise

    async def store_new(self, inode: Inode, content: bytes) -> None:
        """Store a file before anybody hears that it was made; EXISTS when somebody else was first."""
        writer = inode.writer
        assert writer is not None
        inode.lookups += 1  # that of the answer
        async with self.tree_lock.shared(inode), inode.lock:
            try:
                await writer.write(0, content, lambda: None)
                await self.committer.commit(inode, keep=False)
            except BaseException:
                inode.lookups -= 1
                self.table.remove(inode)
                raise
            finally:
                await self.committer.close_writer_if_unused(inode)

    async def commit(self, inode: Inode) -> None:
        """Make S3 have a file, or raise what close or fsync has to report."""
        async with self.tree_lock.shared(inode), inode.lock:
            await self.committer.commit(inode)

    async def close(self, inode: Inode) -> None:
        """Make sure that a file which is closed is, or will be, in S3, or raise why not."""
        if self.queue.is_written_down(inode):
            return
        async with self.tree_lock.shared(inode), inode.lock:
            if self.files.writeback:
                await self.queue.put(inode)
            else:
                await self.committer.commit(inode)

    async def truncate(self, inode: Inode, changes: Changes, *, commit: bool) -> None:
        """Cut or extend a file whose lock is held; `commit` stores it when nobody is about to close it.

        The times are now, if a kernel that keeps them does not say what they are.
        """
        check_named(inode)
        assert changes.size_bytes is not None
        size = changes.size_bytes
        if size == 0:
            inode.refused = None
        before, was_unsent = inode.attributes, inode.is_unsent
        writer: Writer | None = inode.writer
        if writer is None:
            writer = self.committer.new_writer(inode, empty=size == 0 or inode.version is None)
            if size == 0:
                writer.touch()
        await writer.truncate(size)
        now_ns = time.time_ns()
        inode.took(mtime_ns=changes.mtime_ns or now_ns, ctime_ns=changes.ctime_ns or now_ns)
        if commit and not inode.writable_handles:
            if self.files.writeback:
                await self.queue.put(inode)
                return
            try:
                await self.committer.commit(inode, keep=was_unsent)
            except FileSystemError:
                if not was_unsent:
                    inode.attributes = before
                    await self.committer.give_up(inode)
                    self.tree.doubt(inode)
                raise
            await self.committer.close_writer_if_unused(inode)


def check_named(inode: Inode) -> None:
    """Raise STALE when somebody else took a file's name: what is written to it could be stored nowhere."""
    if inode.detached and not inode.removed:
        raise FileSystemError(Reason.STALE, "the object was replaced or removed by somebody else")
