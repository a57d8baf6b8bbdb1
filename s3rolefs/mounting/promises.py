"""Find out what a service promises to two who write the same object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.errors import Reason, StoreError
from s3rolefs.s3.store import ObjectAttributes

if TYPE_CHECKING:
    from s3rolefs.model import Key
    from s3rolefs.s3.client import S3Client

_NO_ETAG = "0" * 32


async def weaker_promise(client: S3Client, key: Key, body: bytes) -> str | None:
    """Return in a sentence how a lost update is possible; None where it is not.

    `key` holds an object that may be replaced. Two writes are tried that the service has to refuse; of
    the others the mount's own knowledge counts. Raises `FileSystemError`.
    """
    creates_only = await _is_refused(client, key, body, if_none_match=True)
    replaces_only = await _is_refused(client, key, body, if_match=_NO_ETAG)
    known = await client.capabilities()
    if known.put_honours_conditions and not (creates_only and replaces_only):
        headers = [
            name
            for name, honoured in (("If-None-Match", creates_only), ("If-Match", replaces_only))
            if not honoured
        ]
        return (
            f"the service ignores {' and '.join(headers)} here, so what somebody else wrote "
            "meanwhile may be replaced unseen."
        )
    if not known.put_honours_conditions:
        where = ["for every file"]
    else:
        where = [] if known.complete_honours_conditions else ["for files sent in parts"]
        where += [] if known.copy_honours_target_condition else ["for renamed files"]
    if not where:
        return None
    return (
        "whether somebody else wrote meanwhile is looked at just before the write, not together with it, "
        f"{' and '.join(where)}: the service does not promise more."
    )


async def _is_refused(
    client: S3Client, key: Key, body: bytes, *, if_match: str | None = None, if_none_match: bool = False
) -> bool:
    try:
        await client.put(key, body, ObjectAttributes(), if_match=if_match, if_none_match=if_none_match)
    except StoreError as error:
        if error.reason is not Reason.PRECONDITION:
            raise
        return True
    return False
