"""Carry an object's tags over to what replaces it: S3 forgets them with each upload."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from s3rolefs.errors import FileSystemError, Reason

if TYPE_CHECKING:
    from s3rolefs.model import Key, ObjectInfo
    from s3rolefs.s3.store import ObjectAttributes, ObjectStore

log = logging.getLogger(__name__)

TAGGING = "x-amz-tagging"


class Tags:
    """Ask for tags where HEAD told that there are some: it costs a request."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._said_denied = False

    async def beside(self, attributes: ObjectAttributes, info: ObjectInfo | None) -> ObjectAttributes:
        """Return what to store in an object's place, with the tags that it has now.

        A role that may not read them goes without.
        """
        if info is None or not info.tag_count:
            return attributes
        try:
            tags = await self._store.tags(info.key)
        except FileSystemError as error:
            if error.reason is not Reason.ACCESS_DENIED:
                raise
            if not self._said_denied:
                self._said_denied = True
                log.warning("the role lacks s3:GetObjectTagging: %r and others lose their tags", info.key)
            return attributes
        return replace(attributes, headers={**attributes.headers, TAGGING: tags})


async def keep_tags(store: ObjectStore, key: Key, attributes: ObjectAttributes) -> None:
    """Make sure of the tags of what was just copied or completed; it stays stored if that fails."""
    if TAGGING in attributes.headers:
        try:
            await store.keep_tags(key, attributes.headers[TAGGING])
        except FileSystemError as error:
            log.error("%r has lost its tags: %s", key, error)
