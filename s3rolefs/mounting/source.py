"""Parse the source of a mount, `s3://bucket[/prefix/]`, into bucket and prefix."""

from __future__ import annotations

import re

from s3rolefs.errors import UserError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_KEY_LIMIT_BYTES = 1024


def parse_source(source: str) -> tuple[str, str]:
    """Return bucket and prefix ("" or ending with "/").

    A prefix without its last slash means the same directory. Upper case and underscores are
    accepted because older buckets and other services have them.

    Raises `UserError` for what can be no bucket.
    """
    scheme, separator, rest = source.partition("://")
    if not separator or scheme != "s3":
        raise UserError(
            f"The source {source!r} is not understood: write s3://BUCKET, s3://BUCKET/PREFIX/ or map://NAME."
        )
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UserError(f"The source {source!r} names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX/.")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or _ADDRESS.fullmatch(bucket):
        raise UserError(
            f"{bucket!r} is no valid bucket name: 3 to 63 letters, digits, dots and hyphens, "
            "beginning and ending with a letter or digit."
        )
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    if len(prefix.encode("utf-8", "surrogateescape")) > _KEY_LIMIT_BYTES:
        raise UserError(f"The prefix of {source!r} is longer than the 1,024 bytes of an S3 key.")
    return bucket, prefix
