"""Operate on extended attributes: those that a user sets, and what S3 says of the object.

Names are whole ("user.NAME"). `user.s3.*` is read by name only and never listed, so that no copying
program takes it along.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from s3rolefs.errors import FileSystemError, Reason
from s3rolefs.fs import xattrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3rolefs.fs.core import Core
    from s3rolefs.fs.inode import Inode
    from s3rolefs.model import InodeNumber

_OURS = "user."
_FROM_S3 = "user.s3."


class ExtendedAttributes:
    """Serve the operations on extended attributes in the namespace `user`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def get(self, number: InodeNumber, name: bytes) -> bytes:
        """Return a value; NO_ATTRIBUTE."""
        inode = await self._complete(number)
        wanted = _text(name)
        value: bytes | None
        if wanted.startswith(_FROM_S3):
            said = self._said_by_s3(inode).get(wanted.removeprefix(_FROM_S3))
            value = None if said is None else said.encode("utf-8", "surrogateescape")
        else:
            value = xattrs.value_of(xattrs.decode(inode.attributes.xattr).get(wanted, _NO_VALUE))
        if value is None:
            raise FileSystemError(Reason.NO_ATTRIBUTE)
        return value

    async def names(self, number: InodeNumber) -> list[bytes]:
        """Return the names that were set."""
        inode = await self._complete(number)
        return [
            name.encode("utf-8", "surrogateescape")
            for name, value in xattrs.decode(inode.attributes.xattr).items()
            if name.startswith(_OURS)
            and not name.startswith(_FROM_S3)
            and "\0" not in name
            and xattrs.value_of(value) is not None
        ]

    async def set(self, number: InodeNumber, name: bytes, value: bytes) -> None:
        """Set a value; NO_SPACE where S3's metadata has no room, NOT_PERMITTED for what S3 says."""

        def put(known: dict[str, str]) -> None:
            known[_text(name)] = xattrs.encoded(value)

        await self._change(number, name, put)

    async def remove(self, number: InodeNumber, name: bytes) -> None:
        """Remove an attribute; NO_ATTRIBUTE."""

        def pop(known: dict[str, str]) -> None:
            if known.pop(_text(name), None) is None:
                raise FileSystemError(Reason.NO_ATTRIBUTE)

        await self._change(number, name, pop)

    async def _change(
        self, number: InodeNumber, name: bytes, change: Callable[[dict[str, str]], None]
    ) -> None:
        inode = await self._core.refreshed(number)
        self._core.check_writable()
        if _text(name).startswith(_FROM_S3):
            raise FileSystemError(Reason.NOT_PERMITTED, "user.s3.* is what S3 says of the object")
        async with self._core.tree_lock.shared(inode), inode.lock:
            await self._core.committer.complete_info(inode)
            known = xattrs.decode(inode.attributes.xattr)
            change(known)
            changed = replace(inode.attributes, xattr=xattrs.encode(known), ctime_ns=time.time_ns())
            await self._core.change_attributes(inode, changed)

    async def _complete(self, number: InodeNumber) -> Inode:
        """Return an inode of which everything is known that HEAD tells."""
        inode = await self._core.refreshed(number)
        if inode.info is not None and inode.info.metadata is None:
            async with self._core.tree_lock.shared(inode), inode.lock:
                await self._core.committer.complete_info(inode)
        return inode

    def _said_by_s3(self, inode: Inode) -> dict[str, str]:
        """Return what S3 says of the version that an inode is; nothing of bytes that it lacks."""
        info = inode.info
        if info is None or inode.is_unsent:
            return {}
        said = {name.replace("-", "_"): value for name, value in (info.headers or {}).items()}
        said |= {"key": info.key, "etag": info.etag, "storage_class": info.storage_class or "STANDARD"}
        return said if info.version_id is None else {**said, "version_id": info.version_id}


# No base64, so that nothing is found in it.
_NO_VALUE = "!"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
