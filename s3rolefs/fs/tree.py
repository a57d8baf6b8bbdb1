"""Resolve names to inodes, and keep what is known of those as fresh as the options say."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from s3rolefs.cache.listings import NOTHING
from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import names
from s3rolefs.fs.decoding import Decoder
from s3rolefs.fs.names import Form, Kind, Step

if TYPE_CHECKING:
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.clock import Clock
    from s3rolefs.config import FileConfig
    from s3rolefs.fs.attributes import Attributes
    from s3rolefs.fs.finding import Finder
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.treelock import TreeLock
    from s3rolefs.model import ObjectInfo


class Tree:
    """Resolve names to inodes and keep what is known about them as fresh as the options say."""

    def __init__(
        self,
        finder: Finder,
        metadata: MetadataCache,
        table: InodeTable,
        tree_lock: TreeLock,
        clock: Clock,
        files: FileConfig,
        *,
        mounted_at_ns: int,
    ) -> None:
        self._finder = finder
        self._metadata = metadata
        self._table = table
        self._tree_lock = tree_lock
        self._clock = clock
        self._files = files
        self._decoder = Decoder(files, default_time_ns=mounted_at_ns)

    def is_fresh(self, inode: Inode) -> bool:
        """Tell whether nothing needs to be asked about an inode: local changes always win."""
        settled = inode.permanent or inode.is_part or inode.detached or inode.is_unsent
        return settled or self.fresh_seconds(inode) > 0

    def fresh_seconds(self, inode: Inode) -> float:
        """Return for how long what is known of an inode may still be believed."""
        if inode.permanent or inode.is_part or inode.removed or inode.is_unsent:
            return self._files.metadata_ttl_seconds
        if inode.detached:
            return 0.0
        age_seconds = self._clock.boot_seconds() - inode.checked_at_seconds
        return max(0.0, self._files.metadata_ttl_seconds - age_seconds)

    async def lookup(self, parent: Inode, name: bytes) -> Inode:
        """Return the inode of a name; NOT_FOUND, NAME_TOO_LONG."""
        return await self._find(parent, *names.read(names.decoded(name)))

    def known(self, parent: Inode, name: bytes) -> Inode | None:
        """Return what a name stands for if that needs no request."""
        return self._known(parent, *names.read(names.decoded(name)))

    def _known(self, parent: Inode, form: Form, text: str) -> Inode | None:
        if form is Form.PART:
            return parent.children.get(Step(Kind.PART, text))
        inode = parent.children.get(Step(Kind.OBJECT, text))
        if form is Form.NAME:
            directory = parent.children.get(Step(Kind.DIRECTORY, text))
            if directory is not None:
                return directory if self.is_fresh(directory) else None
            if inode is not None and (inode.beside or inode.named_object):
                return None
        return inode if inode is not None and self.is_fresh(inode) else None

    async def _find(self, parent: Inode, form: Form, text: str) -> Inode:
        if form is Form.PART:
            return await self._part(parent, Step(Kind.PART, text))
        directory, file = Step(Kind.DIRECTORY, text), Step(Kind.OBJECT, text)
        own = form is Form.OBJECT
        if not self.is_whole(parent, file if own else directory, beside=own):
            raise FileSystemError(Reason.NOT_FOUND)
        if own and not text and not self._table.key_prefix(parent):
            raise FileSystemError(Reason.NOT_FOUND, "the root of a bucket has no marker")
        while True:
            known = self._known(parent, form, text)
            if known is not None:
                return known
            began_at_seconds = self._clock.boot_seconds()
            prefix, component = self._table.place(parent, file)
            changes = self._metadata.follow(prefix)
            # Of a removal that S3 has still to hear of the finder asks nothing.
            removing = self._metadata.is_removing(prefix, component)
            found = await self._finder.resolve(prefix, component, form)
            if (
                not (changes.get(component) is None or (removing and changes.get(component) is NOTHING))
                or changes.get(component + "/") is not None
                or self._table.place(parent, file)[0] != prefix
                # What is missing below a directory that moves is at the new place already.
                or (not (found.directory or found.listed) and await self._tree_lock.moved(parent))
            ):
                continue  # the answer is older than what this mount did meanwhile
            if found.began_at_seconds is not None:
                began_at_seconds = found.began_at_seconds
            inode = None
            if form is Form.NAME:
                inode = self._take(parent, directory, found.directory, found.marker, began_at_seconds)
            # An empty component is a directory; what is in a marker has a name of the other form.
            if own or (text and (found.no_object or inode is None)):
                other = self._take(
                    parent,
                    file,
                    found.listed is not None,
                    found.listed,
                    began_at_seconds,
                    beside=own,
                )
                # Made as one beside a directory, it leaves the plain name to that.
                if own or other is None or not other.named_object:
                    inode = inode or other
            elif file in parent.children:
                parent.children[file].beside, parent.children[file].named_object = True, False
            if inode is None:
                raise FileSystemError(Reason.NOT_FOUND)
            return inode

    def is_whole(self, parent: Inode, step: Step, *, beside: bool) -> bool:
        """Tell whether the whole component that a name ends is shown as the parts and the name."""
        parts = self._table.parts(parent)
        component = "".join(part.text for part in parts) + step.text
        return not parts or names.child(parts, step.kind, component, beside=beside) == step

    async def _part(self, parent: Inode, step: Step) -> Inode:
        prefix, _ = self._table.place(parent, step)
        parts = (*self._table.parts(parent), step)
        if step not in parent.children and not await self._finder.holds(prefix, parts):
            raise FileSystemError(Reason.NOT_FOUND)
        return self.make_part(parent, step)

    def make_part(self, parent: Inode, step: Step) -> Inode:
        """Return the directory of a part of a name: it is there while it is known, or something is in it."""
        return parent.children.get(step) or self._table.add(
            parent,
            step,
            self._decoder.attributes(None, directory=True),
            info=None,
            checked_at_seconds=self._clock.boot_seconds(),
        )

    def _take(
        self,
        parent: Inode,
        step: Step,
        there: bool,
        info: ObjectInfo | None,
        checked_at_seconds: float,
        *,
        beside: bool = False,
    ) -> Inode | None:
        """Enter what S3 says of one child: the inode, None when there is none."""
        if there:
            return self.adopt(parent, step, info, beside=beside, checked_at_seconds=checked_at_seconds)
        known = parent.children.get(step)
        if known is None or self._is_outdone(known, checked_at_seconds) or self._table.unsent_below(known):
            return known
        self._table.detach(known)
        return None

    @staticmethod
    def _is_outdone(known: Inode, checked_at_seconds: float) -> bool:
        """Tell whether a child was written, stored or seen here since S3 was asked for an answer about it."""
        return known.is_unsent or known.checked_at_seconds > checked_at_seconds

    async def revalidate(self, inode: Inode) -> None:
        """Make sure an inode is still what its name stands for; STALE when it is not.

        The kernel answers STALE from an open by looking the name up again, once.
        """
        if inode.parent is None:
            return
        if not self.is_fresh(inode):
            await self._look_again(inode, inode.parent)
        # What was removed while it was open has its bytes here: it can be opened again through /proc.
        if inode.detached and not (inode.removed and inode.writer is not None):
            raise FileSystemError(Reason.STALE, "the object was replaced or removed by somebody else")

    async def _look_again(self, inode: Inode, parent: Inode) -> None:
        """Ask what is at an inode's place now; its name may be a directory's by now."""
        plain, own = not inode.beside, not inode.is_directory
        for form in (Form.NAME,) * plain + (Form.OBJECT,) * own:
            if self.is_fresh(inode):
                return
            try:
                await self._find(parent, form, inode.step.text)
            except FileSystemError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise

    def doubt(self, inode: Inode) -> None:
        """Make the next look-up of an inode's name ask S3, whatever is remembered."""
        if inode.parent is not None:
            inode.checked_at_seconds = float("-inf")
            prefix, step = self._table.place_of(inode)
            self._metadata.doubt(prefix, step)
            self._finder.ask_alone(prefix)

    def adopt(
        self,
        parent: Inode,
        step: Step,
        info: ObjectInfo | None,
        *,
        beside: bool,
        checked_at_seconds: float,
    ) -> Inode:
        """Return the inode for what S3 says a child is: the known one, or another when it is another.

        `beside`: it is an object, and there may be a directory that has the plain name.
        """
        known = parent.children.get(step)
        if known is not None and self._is_outdone(known, checked_at_seconds):
            return known
        decoded = self._decoder.attributes(info, directory=step.kind is Kind.DIRECTORY)
        if known is not None:
            known.times_outdated |= self._keeps_other_times(known, info)
            if self._is_same(known, info, decoded) and (known.handles or not known.times_outdated):
                self._refresh(known, info, decoded, checked_at_seconds)
                known.beside = beside
                return known
            self._table.detach(known)
        inode = self._table.add(parent, step, decoded, info=info, checked_at_seconds=checked_at_seconds)
        inode.beside = beside
        return inode

    def _is_same(self, known: Inode, info: ObjectInfo | None, decoded: Attributes) -> bool:
        if known.attributes.mode >> 12 != decoded.mode >> 12:  # another type of file
            return False
        if known.is_directory:
            return True
        return info is not None and known.version is not None and known.version.etag == info.etag

    def _keeps_other_times(self, known: Inode, info: ObjectInfo | None) -> bool:
        """Tell whether somebody else changed the times of a file, which the kernel believes to know."""
        if not self._files.kernel_gathers_writes or not stat.S_ISREG(known.attributes.mode):
            return False
        before, now = ((one.metadata if one is not None else None) for one in (known.info, info))
        if before is None or now is None:
            return False
        return any(before.get(name) != now.get(name) for name in ("mtime", "ctime"))

    def _refresh(
        self, known: Inode, info: ObjectInfo | None, decoded: Attributes, checked_at_seconds: float
    ) -> None:
        known.checked_at_seconds = checked_at_seconds
        if info is None:
            known.info = None  # a directory whose marker somebody else removed
        if info is None or info.metadata is None:
            return
        if "mtime" not in info.metadata and not (known.is_directory and known.info is None):
            # Times that only this mount knows: of a streamed upload, of a directory whose children changed.
            decoded = replace(
                decoded,
                mtime_ns=known.attributes.mtime_ns,
                ctime_ns=known.attributes.ctime_ns,
                atime_ns=known.attributes.atime_ns,
            )
        known.info = info
        if not known.is_directory:
            known.attributes = decoded
        else:
            known.took(mode=decoded.mode, uid=decoded.uid, gid=decoded.gid, xattr=decoded.xattr)
