"""Answer what commands ask a running mount: who it is, how it stands, a session anew."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.config import MountConfig
    from s3rolefs.fs.filesystem import FileSystem
    from s3rolefs.mounting.access import Access
    from s3rolefs.mounting.control import Answer, Handler
    from s3rolefs.s3.client import S3Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Look at the parts of one mount."""

    config: MountConfig
    access: Access
    client: S3Client
    filesystem: FileSystem

    def handlers(self) -> Mapping[str, Handler]:
        """Return what is done for each command of the control socket."""
        return {"whoami": self.whoami, "refresh": self.refresh, "status": self.status}

    async def whoami(self) -> Answer:
        """Return the principal of the session in use, as STS names it where it can."""
        return (await self.access.whoami()).as_json()

    async def refresh(self) -> Answer:
        """Renew the session now and return how the role stands."""
        await self.access.refresh()
        return self.access.describe()

    async def status(self) -> Answer:
        """Return how the role, the requests and the unsent data stand."""
        return {
            "source": self.config.source,
            "mountpoint": self.config.mountpoint,
            "pid": os.getpid(),
            "role": self.access.describe(),
            "requests": dict(self.client.counts),
            "unsent": [asdict(unsent) for unsent in self.filesystem.unsent()],
        }
