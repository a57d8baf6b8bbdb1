"""Answer what commands ask a running mount: who it is, how it stands, a session anew."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from s3rolefs.config import MountConfig
    from s3rolefs.fs.filesystem import FileSystem
    from s3rolefs.mounting.access import Access
    from s3rolefs.mounting.control import Answer, Handler
    from s3rolefs.s3.client import S3Client


async def whoami(access: Access) -> Answer:
    """Return the principal of the session in use, as STS names it where it can."""
    return (await access.whoami()).as_json()


async def refresh(access: Access) -> Answer:
    """Renew the session now and return how the role stands."""
    await access.refresh()
    return access.describe()


async def status(access: Access) -> Answer:
    """Return how the role stands that nothing is mounted with yet."""
    return {
        "source": None,
        "mountpoint": None,
        "pid": None,
        "role": access.describe(),
        "requests": {},
        "unsent": [],
    }


# What can be asked of options alone, too, before anything is mounted.
QUESTIONS: Mapping[str, Callable[[Access], Awaitable[Answer]]] = {
    "whoami": whoami,
    "refresh": refresh,
    "status": status,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Look at the parts of one mount."""

    config: MountConfig
    access: Access
    client: S3Client
    filesystem: FileSystem

    def handlers(self) -> Mapping[str, Handler]:
        """Return what is done for each command of the control socket."""
        return {
            "whoami": partial(whoami, self.access),
            "refresh": partial(refresh, self.access),
            "status": self.status,
        }

    async def status(self) -> Answer:
        """Return how the role, the requests and the unsent data stand."""
        return await status(self.access) | {
            "source": self.config.source,
            "mountpoint": self.config.mountpoint,
            "pid": os.getpid(),
            "requests": dict(self.client.counts),
            "unsent": [asdict(unsent) for unsent in self.filesystem.unsent()],
        }
