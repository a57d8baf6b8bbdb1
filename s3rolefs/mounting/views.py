"""Answer what commands ask a running mount: who it is, how it stands, a session anew."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from s3rolefs.errors import UserError
from s3rolefs.mounting.checkup import Checkup

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


async def credentials(access: Access) -> Answer:
    """Return the session itself, in the form that `credential_process` of AWS's tools expects.

    Source of the form: AWS SDKs and Tools Reference Guide, "Process credential provider".
    """
    if access.broker is None:
        raise UserError("There are no credentials to give: requests are not signed (no_sign_request).")
    session = await access.broker.get()
    answer = {
        "Version": 1,
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
    }
    if session.session_token is not None:
        answer["SessionToken"] = session.session_token
    if session.expires_at is not None:
        answer["Expiration"] = datetime.fromtimestamp(session.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return answer


# What can be asked of options alone, too, before anything is mounted.
QUESTIONS: Mapping[str, Callable[[Access], Awaitable[Answer]]] = {
    "whoami": whoami,
    "refresh": refresh,
    "status": status,
    "credentials": credentials,
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
            "credentials": partial(credentials, self.access),
            "status": self.status,
            "check": self.check,
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

    async def check(self) -> Answer:
        """Return whether the mount could be made again now, step by step."""
        return (await Checkup(self.config, self.access, self.client).run()).as_json()
