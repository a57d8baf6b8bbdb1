"""Read and write the text that holds a file's extended attributes in its object's metadata.

As s3fs has it (src/string_util.cpp): JSON of name → base64 of the value, percent-encoded. Values are
carried as they stand, so that one nobody can read survives a change of another.
"""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import quote, unquote_to_bytes


def decode(text: str | None) -> dict[str, str]:
    """Return names and encoded values; broken text counts as none."""
    if text is None:
        return {}
    try:
        found = json.loads(unquote_to_bytes(text).decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def is_readable(text: str | None) -> bool:
    """Tell whether a text says something: names and values, or that there are none."""
    if text is None:
        return False
    found = decode(text)
    # s3fs leaves an empty object behind when the last attribute goes.
    return all(value_of(value) is not None for value in found.values()) if found else text == _NONE


def encode(attributes: dict[str, str]) -> str | None:
    """Return the text for names and encoded values, None where there are none."""
    if not attributes:
        return None
    # s3fs splits the pairs at every comma, those in names included.
    pairs = [
        json.dumps(name, ensure_ascii=False).replace(",", "\\u002c") + ":" + json.dumps(value)
        for name, value in attributes.items()
    ]
    return quote(("{" + ",".join(pairs) + "}").encode("utf-8", "surrogateescape"))


def value_of(encoded: str) -> bytes | None:
    """Return an encoded value's bytes, None for what is no base64."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def encoded(value: bytes) -> str:
    """Return a value as it is stored."""
    return base64.b64encode(value).decode()


_NONE = quote("{}")
