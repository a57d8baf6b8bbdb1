"""Know every inode by number and by name, and give each a number that stays the same while it is known.

Numbers are hashes of the key, so that a listing can name an entry nobody has looked up yet.
"""

from __future__ import annotations

import time
from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs.inode import Inode
from s3rolefs.fs.names import Kind, Step
from s3rolefs.model import InodeNumber, Key

if TYPE_CHECKING:
    from s3rolefs.fs.attributes import Attributes
    from s3rolefs.model import ObjectInfo

ROOT_NUMBER = InodeNumber(1)


class InodeTable:
    """Know every inode by number, and by name below its parent; `writing` holds those with a writer."""

    def __init__(self, prefix: str, root: Inode) -> None:
        self._prefix = prefix
        self.root = root
        self._by_number: dict[InodeNumber, Inode] = {root.number: root}
        self._key_prefixes: dict[str, str] = {}
        self._promised: Counter[InodeNumber] = Counter()
        self.writing: set[Inode] = set()

    def get(self, number: InodeNumber) -> Inode:
        """Return a known inode; STALE when the number means nothing (any more)."""
        inode = self._by_number.get(number)
        if inode is None:
            raise FileSystemError(Reason.STALE, f"inode {number} is not known")
        return inode

    def find(self, number: InodeNumber) -> Inode | None:
        """Return an inode if it is known."""
        return self._by_number.get(number)

    def directory_prefix(self, directory: Inode) -> str:
        """Return what the keys below a directory begin with ("", or ending in a slash or a part)."""
        keys: list[str] = []  # no recursion: a key may have 1,024 components
        while directory.parent is not None:
            keys.append(directory.step.key)
            directory = directory.parent
        return self._prefix + "".join(reversed(keys))

    def parts(self, directory: Inode) -> tuple[Step, ...]:
        """Return the parts of a name that have led to a directory."""
        if directory.parent is None or not directory.is_part:
            return ()
        return (*self.parts(directory.parent), directory.step)

    def place(self, parent: Inode, step: Step) -> tuple[str, str]:
        """Return the prefix of the directory in S3 that a child is in, and what it adds to that."""
        prefix = self.directory_prefix(parent)
        if not parent.is_part:
            return prefix, step.key
        before = "".join(part.text for part in self.parts(parent))
        return prefix[: len(prefix) - len(before)], before + step.key

    def place_of(self, inode: Inode) -> tuple[str, str]:
        """Return the place of an inode that has a name."""
        assert inode.parent is not None
        return self.place(inode.parent, inode.step)

    @property
    def is_map(self) -> bool:
        """Tell whether the root consists of directories that are permanent."""
        return bool(self._key_prefixes)

    def top(self, inode: Inode) -> Inode:
        """Return the permanent directory that an inode is in, or is: beyond it another bucket may begin."""
        while not inode.permanent:
            assert inode.parent is not None
            inode = inode.parent
        return inode

    def key_prefix(self, directory: Inode) -> str:
        """Return what the keys below a directory begin with in their bucket: a map's names are not in it."""
        prefix = self.directory_prefix(directory)
        top = self.top(directory)
        if top is self.root:
            return prefix
        return self._key_prefixes[top.step.text] + prefix[len(self.directory_prefix(top)) :]

    def key(self, inode: Inode) -> Key:
        """Return the key of a file, or of a directory's marker."""
        return Key(self.directory_prefix(inode))

    def path(self, inode: Inode) -> str:
        """Return the path below the mount point, for messages."""
        return self.path_of(self.key(inode))

    def path_of(self, key: str) -> str:
        """Return the path below the mount point that a key has."""
        return "/" + key[len(self._prefix) :]

    def number_for(self, parent: Inode, step: Step) -> InodeNumber:
        """Return the number that a child has, or will have when it is looked up."""
        known = parent.children.get(step)
        if known is not None:
            return known.number
        number = number_of(self.directory_prefix(parent) + step.key, step.kind)
        while number <= ROOT_NUMBER or number in self._by_number:
            number = (number + 1) & (2**63 - 1)
        return InodeNumber(number)

    def add(
        self,
        parent: Inode,
        step: Step,
        attributes: Attributes,
        *,
        info: ObjectInfo | None,
        checked_at_seconds: float,
    ) -> Inode:
        """Make the inode of a child that has none."""
        assert step not in parent.children
        inode = Inode(
            self.number_for(parent, step),
            parent,
            step,
            attributes,
            info=info,
            checked_at_seconds=checked_at_seconds,
        )
        inode.lookups = self._promised.pop(inode.number, 0)
        self._by_number[inode.number] = inode
        parent.children[step] = inode
        return inode

    def add_permanent(
        self, name: str, key_prefix: str, attributes: Attributes, *, checked_at_seconds: float
    ) -> None:
        """Make a directory of a map, in the root; `key_prefix` is where it begins in its bucket."""
        self._key_prefixes[name] = key_prefix
        step = Step(Kind.DIRECTORY, name)
        inode = self.add(self.root, step, attributes, info=None, checked_at_seconds=checked_at_seconds)
        inode.permanent = True

    def detach(self, inode: Inode) -> None:
        """Take an inode off its name, which belongs to somebody else's version now."""
        if inode.parent is not None and inode.parent.children.get(inode.step) is inode:
            del inode.parent.children[inode.step]
        inode.detached = True
        self.drop_if_unused(inode)

    def remove(self, inode: Inode) -> None:
        """Take an inode off its name because this mount removed it; open descriptors go on with it."""
        inode.removed = True
        self.detach(inode)

    def move(self, inode: Inode, parent: Inode, step: Step) -> None:
        """Give an inode another place, and a new ctime; what was there is detached first."""
        there = parent.children.get(step)
        if there is not None and there is not inode:
            self.remove(there)
        assert inode.parent is not None
        old_parent = inode.parent
        del old_parent.children[inode.step]
        inode.parent = parent
        inode.step = step
        parent.children[step] = inode
        inode.took(ctime_ns=time.time_ns())
        self.drop_if_unused(old_parent)

    def promise(self, number: InodeNumber) -> None:
        """Count a reference to a number that a listing names without attributes: it will be forgotten.

        The kernel (fs/fuse/readdir.c, `fuse_direntplus_link`) refuses such an entry and sends a FORGET.
        """
        inode = self._by_number.get(number)
        if inode is not None:
            inode.lookups += 1
        else:
            self._promised[number] += 1

    def forget(self, number: InodeNumber, count: int) -> None:
        """Take back `count` of the kernel's references."""
        inode = self._by_number.get(number)
        if inode is not None:
            inode.lookups = max(0, inode.lookups - count)
            self.drop_if_unused(inode)
        elif self._promised[number] > count:
            self._promised[number] -= count
        else:
            del self._promised[number]

    def drop_if_unused(self, inode: Inode) -> None:
        """Forget an inode that neither the kernel nor a descriptor nor unsent data needs."""
        while not (
            inode.permanent or inode.lookups or inode.handles or inode.writer is not None or inode.children
        ):
            if self._by_number.get(inode.number) is not inode:
                return  # dropped before; its number may be another one's by now
            del self._by_number[inode.number]
            assert inode.parent is not None
            if inode.parent.children.get(inode.step) is inode:
                del inode.parent.children[inode.step]
            inode = inode.parent

    def open_for_writing(self) -> list[Inode]:
        """Return the files that a descriptor may write to."""
        return [inode for inode in self._by_number.values() if inode.writable_handles]

    def unsent_within(self, directory: Inode) -> list[Inode]:
        """Return what S3 lacks of a directory: files and directories below it, and its own marker."""
        return [inode for inode in self.writing if inode.is_unsent and inode.is_within(directory)]

    def unsent_below(self, directory: Inode) -> list[Inode]:
        """Return what S3 lacks below a directory: it exists as long as that does."""
        return [inode for inode in self.unsent_within(directory) if inode is not directory]

    def unsent_children(self, directory: Inode) -> set[Step]:
        """Return the children of a directory that are, or lead to, content that S3 lacks."""
        steps = set()
        for inode in self.unsent_below(directory):
            while inode.parent is not None and inode.parent is not directory:
                inode = inode.parent
            steps.add(inode.step)
        return steps

    def below(self, directory: Inode) -> list[Inode]:
        """Return every known inode below a directory."""
        found = list(directory.children.values())
        for inode in found:  # grows meanwhile
            found.extend(inode.children.values())
        return found


def number_of(key: str, kind: Kind) -> int:
    """Return the number that what is at a key has, unless another inode has it."""
    person = kind.name.encode()
    return int.from_bytes(blake2b(key.encode(), digest_size=8, person=person).digest(), "big") >> 1
