"""Answer look-ups of files that are only looked up to be removed, without a request.

The kernel looks a name up before it removes it, and wants attributes, which take a HEAD each. A program that
has just removed what it looked up, as `rm -r` does, does the same with the next name: that one gets a number
that stands for no inode, and attributes that are not to be kept. A removal goes by the name, so nobody uses
them. Whatever else is asked of such a number is answered ESTALE, by which the kernel (fs/namei.c) looks the
name up again, once, and then it gets what it needs.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cachetools import LRUCache

from s3rolefs.fs import names
from s3rolefs.fs.attributes import is_surely_regular
from s3rolefs.fs.inodes import PASSING_MARK, number_of
from s3rolefs.fs.names import Form, Kind, Step
from s3rolefs.model import InodeNumber

if TYPE_CHECKING:
    from s3rolefs.cache.metadata import MetadataCache
    from s3rolefs.fs.inode import Inode
    from s3rolefs.fs.inodes import InodeTable
    from s3rolefs.fs.particulars import Particulars
    from s3rolefs.model import ObjectInfo

# So many look-ups after a removal are believed to be for one, too.
_BELIEVED = 8
_DIRECTORIES_LIMIT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Stand for a regular file that is on its way out; `listed` is what is known of it."""

    number: InodeNumber
    listed: ObjectInfo


@dataclass(slots=True, eq=False)
class _Clearing:
    """Follow the removals in a directory; `shown` are the components that were answered so, each once."""

    believed: int = 0
    shown: set[str] = field(default_factory=set)


class Clearings:
    """Know in which directories files are being removed one after the other."""

    def __init__(self, table: InodeTable, metadata: MetadataCache, particulars: Particulars) -> None:
        self._table = table
        self._metadata = metadata
        self._particulars = particulars
        self._by_prefix: LRUCache[str, _Clearing] = LRUCache(_DIRECTORIES_LIMIT)

    def removed(self, prefix: str, component: str) -> None:
        """Note that a file was removed."""
        clearing = self._by_prefix.setdefault(prefix, _Clearing())
        clearing.believed = _BELIEVED
        clearing.shown.discard(component)

    def is_likely(self, prefix: str) -> bool:
        """Tell whether what is looked up in a directory will be removed."""
        clearing = self._by_prefix.get(prefix)
        return clearing is not None and clearing.believed > 0

    def passing(self, directory: Inode, name: bytes) -> Passing | None:
        """Return what to show for a name that is believed to be looked up for its removal.

        It is a regular file of which only a listing is known. Where the sticky bit is set, removing goes by
        its owner.
        """
        form, text = names.read(names.decoded(name))
        plain = Step(Kind.OBJECT, text)
        if form is not Form.NAME or directory.is_part or directory.attributes.mode & stat.S_ISVTX:
            return None
        prefix, component = self._table.place(directory, plain)
        clearing = self._by_prefix.get(prefix)
        if clearing is None or not clearing.believed or component in clearing.shown:
            return None
        listing = self._metadata.listing(prefix)
        listed = listing.objects.get(component) if listing is not None else None
        if (
            listing is None
            or listed is None
            or component in listing.prefixes
            or not is_surely_regular(listed)
            or self._particulars.known(listed) is not None
            or plain in directory.children
            or self._metadata.is_removing(prefix, component)
        ):
            return None
        clearing.believed -= 1
        clearing.shown.add(component)
        return Passing(number=InodeNumber(number_of(listed.key, Kind.OBJECT) | PASSING_MARK), listed=listed)
