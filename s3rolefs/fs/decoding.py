"""Decode what objects say of themselves; tell the log once about an object that says nonsense."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from s3rolefs.fs import attributes

if TYPE_CHECKING:
    from s3rolefs.config import FileConfig
    from s3rolefs.fs.attributes import Attributes
    from s3rolefs.model import ObjectInfo

log = logging.getLogger(__name__)

_REMEMBERED = 10_000


class Decoder:
    """Turn what is said of objects into attributes; `default_time_ns`: of directories without a marker."""

    def __init__(self, files: FileConfig, *, default_time_ns: int) -> None:
        self._files = files
        self._default_time_ns = default_time_ns
        self._said: set[tuple[str, ...]] = set()

    def attributes(self, info: ObjectInfo | None, *, directory: bool) -> Attributes:
        """Return the attributes of a directory (None: it has no marker) or of what is none."""
        if info is not None and info.metadata:
            # What a marker holds is a file with the marker's metadata.
            self._tell(info, directory=directory or info.key.endswith("/"))
        if directory:
            return attributes.of_directory(info, self._files, default_time_ns=self._default_time_ns)
        assert info is not None
        return attributes.of_object(info, self._files)

    def _tell(self, info: ObjectInfo, *, directory: bool) -> None:
        ignored = tuple(attributes.nonsense(info, directory=directory))
        said = (info.key, *ignored)
        if ignored and said not in self._said and len(self._said) < _REMEMBERED:
            self._said.add(said)
            log.warning(
                "metadata of %r makes no sense and counts as absent: %s", info.key, ", ".join(ignored)
            )
