"""Hold what serves the directories of a mount: a session and a client for each bucket."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from s3rolefs.errors import FileSystemError, MountFailure
from s3rolefs.mounting.readiness import ask_bucket
from s3rolefs.mounting.refusals import refusal_of
from s3rolefs.s3.client import S3Client
from s3rolefs.s3.joint import JointStore, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from s3rolefs.clock import Clock
    from s3rolefs.config import BucketConfig, MountConfig
    from s3rolefs.model import FirstPage
    from s3rolefs.mounting.access import Access
    from s3rolefs.s3.store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Hold what serves one directory; several directories with one role share its access."""

    config: BucketConfig
    access: Access
    client: S3Client

    async def wait_for_session(self, config: MountConfig) -> None:
        """Return when there is a first session. Raises `MountFailure`."""
        with self._blaming(config):
            await self.access.wait()

    async def wait_until_usable(self, config: MountConfig, found: list[FirstPage]) -> None:
        """Return when the role may use the bucket; enter what was found in it. Raises `MountFailure`."""
        with self._blaming(config):
            first = await ask_bucket(self.client, self.access, self.config.store, config)
        if first is not None:
            part = _part(self)
            page = replace(first.page, objects=tuple(map(part.info, first.page.objects)))
            found.append(replace(first, prefix=part.out(first.prefix), page=page))

    @contextmanager
    def _blaming(self, config: MountConfig) -> Iterator[None]:
        """Say of a refusal which directory of a map it is about."""
        try:
            yield
        except (FileSystemError, MountFailure) as error:
            refusal = error if isinstance(error, MountFailure) else self._refusal(error)
            if self.config.directory:
                place = f"{config.source}, directory {self.config.directory} ({self.config.store.url})"
                refusal = MountFailure(f"{place}: {refusal.sentence}")
            raise refusal from None

    def _refusal(self, error: FileSystemError) -> MountFailure:
        return refusal_of(error, self.config.store, self.client.endpoint_url)


def open_buckets(
    configs: Iterable[BucketConfig],
    accesses: Sequence[Access],
    environment: Mapping[str, str],
    clock: Clock,
) -> tuple[Bucket, ...]:
    """Return what serves each directory; the clients have to be closed. Raises `UserError`."""
    return tuple(
        Bucket(config=config, access=access, client=_client(config, access, environment, clock))
        for config in configs
        for access in accesses
        if config.directory in access.directories
    )


def joined(buckets: Sequence[Bucket]) -> tuple[ObjectStore, str, Mapping[str, str]]:
    """Return what a file system is made of: a store, the prefix of the root in it, a map's directories."""
    if not buckets[0].config.directory:
        return buckets[0].client, buckets[0].config.store.prefix, {}
    prefixes = {bucket.config.directory: bucket.config.store.prefix for bucket in buckets}
    return JointStore([_part(bucket) for bucket in buckets]), "", prefixes


async def identity(buckets: Sequence[Bucket]) -> str:
    """Return what tells the objects of a mount from those of mounts of other sources."""
    return repr(
        [
            (bucket.config.directory, await bucket.client.address(), bucket.config.store.url)
            for bucket in buckets
        ]
    )


async def origins(buckets: Sequence[Bucket]) -> Mapping[str, str]:
    """Return what the beginnings of a mount's keys stand for: a service, a bucket and a prefix in it."""
    return {
        f"{bucket.config.directory}/" if bucket.config.directory else "": (
            f"{await bucket.client.address()} s3://{bucket.config.store.bucket}/"
            f"{bucket.config.store.prefix if bucket.config.directory else ''}"
        )
        for bucket in buckets
    }


def _part(bucket: Bucket) -> Part:
    """Return how keys of a mount are those of a bucket: equal, or below the directory of a map."""
    config = bucket.config
    outer = f"{config.directory}/" if config.directory else config.store.prefix
    return Part(outer=outer, store=bucket.client, inner=config.store.prefix)


def _client(config: BucketConfig, access: Access, environment: Mapping[str, str], clock: Clock) -> S3Client:
    return S3Client(
        config.store, access.broker, clock, environ=environment, profile=config.role.hops[-1].profile
    )
