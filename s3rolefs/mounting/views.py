"""Answer what commands ask a running mount: who it is, how it stands, a session anew."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import trio

from s3rolefs.errors import CredentialsError, UserError
from s3rolefs.fs.queue import NOTHING_WAITS
from s3rolefs.mounting.checkup import check_each
from s3rolefs.mounting.findings import as_json
from s3rolefs.mounting.login import login

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from s3rolefs.config import MountConfig
    from s3rolefs.fs.filesystem import FileSystem
    from s3rolefs.mounting.access import Access
    from s3rolefs.mounting.buckets import Bucket
    from s3rolefs.mounting.control import Answer, Handler, Request


async def whoami(accesses: Sequence[Access]) -> Answer:
    """Return the principal of the session in use, as STS names it where it can."""

    async def ask(access: Access) -> Answer:
        broker = access.broker
        needs = broker.need if broker else None
        return (await access.whoami()).as_json() | {"needs": needs.prompt if needs else None}

    return await _of_each(accesses, ask)


async def refresh(accesses: Sequence[Access]) -> Answer:
    """Renew the session now and return how the role stands."""

    async def renew(access: Access) -> Answer:
        await access.refresh()
        return access.describe()

    return await _of_each(accesses, renew)


async def status(accesses: Sequence[Access]) -> Answer:
    """Return how the roles stand that nothing is mounted with yet."""
    return {
        "source": None,
        "mountpoint": None,
        "pid": None,
        "roles": [access.describe() for access in accesses],
        "requests": {},
        "unsent": [],
        "waiting": asdict(NOTHING_WAITS),
        "kept_in": None,
    }


async def credentials(accesses: Sequence[Access]) -> Answer:
    """Return the session itself, in the form that `credential_process` of AWS's tools expects.

    Source of the form: AWS SDKs and Tools Reference Guide, "Process credential provider".
    """
    if len(accesses) > 1:
        directories = sorted(name for access in accesses for name in access.directories)
        raise UserError(
            f"There are several roles here: name one of the directories {', '.join(directories)}."
        )
    access = accesses[0]
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


async def _of_each(accesses: Sequence[Access], ask: Callable[[Access], Awaitable[Answer]]) -> Answer:
    """Return the answer of the one role, or {"roles": [...]} with one answer, or "error", for each."""
    if len(accesses) == 1:
        return await ask(accesses[0])
    answers: dict[int, Answer] = {}

    async def note(number: int, access: Access) -> None:
        answers[number] = {"name": access.role.name, "directories": list(access.directories)}
        try:
            answers[number] |= await ask(access)
        except CredentialsError as error:
            answers[number]["error"] = error.text
        except UserError as error:
            answers[number]["error"] = error.sentence

    async with trio.open_nursery() as nursery:
        for number, access in enumerate(accesses):
            nursery.start_soon(note, number, access)
    return {"roles": [answers[number] for number in sorted(answers)]}


# What can be asked of options alone, too, before anything is mounted.
QUESTIONS: Mapping[str, Callable[[Sequence[Access]], Awaitable[Answer]]] = {
    "whoami": whoami,
    "refresh": refresh,
    "status": status,
    "credentials": credentials,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Look at the parts of one mount."""

    config: MountConfig
    accesses: Sequence[Access]
    buckets: Sequence[Bucket]
    filesystem: FileSystem

    def handlers(self) -> Mapping[str, Handler]:
        """Return what is done for each command of the control socket."""
        return {
            "whoami": partial(self._ask, whoami),
            "refresh": partial(self._ask, refresh),
            "credentials": partial(self._ask, credentials),
            "status": self.status,
            "check": self.check,
            "login": self.login,
        }

    async def status(self, _request: Request) -> Answer:
        """Return how the roles, the requests and the unsent data stand."""
        return await status(self.accesses) | {
            "source": self.config.source,
            "mountpoint": self.config.mountpoint,
            "pid": os.getpid(),
            "requests": dict(sum((bucket.client.counts for bucket in self.buckets), Counter())),
            "unsent": [asdict(unsent) for unsent in self.filesystem.unsent()],
            "waiting": asdict(self.filesystem.waiting()),
            "kept_in": str(self.filesystem.kept_in),
        }

    async def check(self, request: Request) -> Answer:
        """Return whether the mount, or the directory asked about, could be made again now, step by step."""
        buckets = self._buckets_of(request)
        return as_json(await check_each(buckets, read_only=self.config.files.read_only))

    async def login(self, request: Request) -> Answer:
        """Tell what a person has to give, or take it."""
        return await login(self._accesses_of(request), request)

    async def _ask(
        self, question: Callable[[Sequence[Access]], Awaitable[Answer]], request: Request
    ) -> Answer:
        return await question(self._accesses_of(request))

    def _accesses_of(self, request: Request) -> Sequence[Access]:
        buckets = self._buckets_of(request)
        return [one for one in self.accesses if any(b.access is one for b in buckets)]

    def _buckets_of(self, request: Request) -> Sequence[Bucket]:
        """Return what the path of a request leads to: at the root of a map everything."""
        name = str(request.get("path", "")).partition("/")[0]
        if not name or not self.buckets[0].config.directory:
            return self.buckets
        found = [bucket for bucket in self.buckets if bucket.config.directory == name]
        if not found:
            known = ", ".join(bucket.config.directory for bucket in self.buckets)
            raise UserError(f"{self.config.source} has no directory {name}; there are: {known}.")
        return found
