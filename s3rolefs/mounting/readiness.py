"""Find out, before mounting, whether the bucket is there and may be used."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, FileSystemError, Reason
from s3rolefs.model import Key
from s3rolefs.mounting.refusals import denial_of, not_public
from s3rolefs.s3.store import ObjectAttributes

if TYPE_CHECKING:
    from s3rolefs.config import MountConfig, StoreConfig
    from s3rolefs.model import FirstPage
    from s3rolefs.mounting.access import Access
    from s3rolefs.s3.client import S3Client

_log = logging.getLogger("s3rolefs.mount")

# A network that comes up late (boot) is waited for; a wrong address is told before mount_wait is over.
_PATIENT_PART = 1 / 3


async def ask_bucket(
    client: S3Client, access: Access, store: StoreConfig, config: MountConfig
) -> FirstPage | None:
    """Return the first page when the role may list the prefix, None when it may at least write below it.

    A denied listing may mean a role for writing only, or a bucket that is somebody else's: an
    upload that is begun and given up tells them apart, and leaves nothing behind.

    Raises `FileSystemError`, and `MountFailure` with the sentence for the person.
    """
    patience_seconds = config.mount_wait_seconds * _PATIENT_PART
    readiness = await client.check_ready(patience_seconds=patience_seconds)
    if readiness.first_page is not None:
        return readiness.first_page
    if config.files.read_only or not await _may_write(client, store.prefix):
        if access.broker is None:
            raise not_public(store)
        raise denial_of(store, await _principal(access))
    _log.warning("The role may not list %s (s3:ListBucket): directories look empty, writing works", store.url)
    return None


async def _may_write(client: S3Client, prefix: str) -> bool:
    key = Key(f"{prefix}.s3rolefs-may-write-{uuid.uuid4().hex}")
    try:
        upload_id = await client.create_multipart(key, ObjectAttributes())
    except FileSystemError as error:
        if error.reason is Reason.ACCESS_DENIED:
            return False
        raise
    try:
        await client.abort_multipart(key, upload_id)
    except FileSystemError as error:
        # S3 lets whoever began an upload end it; other services may not. It costs nothing.
        _log.info("an empty upload of %s could not be taken back: %s", key, error)
    return True


async def _principal(access: Access) -> str | None:
    try:
        return (await access.whoami()).arn
    except CredentialsError:
        return None
