"""Look for secrets wherever a process may show them: /proc, its words, its files; in every spelling."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Memory itself, and what is no text and may be endless or act when it is read.
_NOT_SHOWN = {"mem", "pagemap", "clear_refs", "kpageflags", "task", "fd", "fdinfo", "map_files", "ns", "net"}
# A piece of a secret is one, too: of long ones so many bytes from the beginning, the middle and the end.
_PIECE_BYTES = 20


def spellings(secret: str) -> set[bytes]:
    """Return a secret as it may be written: as it is, in URLs and forms, in base64 at each of 3 offsets."""
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode(), quote_plus(secret).encode(), repr(secret)[1:-1].encode()}
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # What stands beside it tells in the first and last characters.
            found.add(encode(b"\0" * offset + plain)[(0, 2, 3)[offset] :].rstrip(b"=")[:-1])
    return {piece for spelling in found for piece in _pieces(spelling)}


def _pieces(spelling: bytes) -> Iterator[bytes]:
    if len(spelling) <= 2 * _PIECE_BYTES:
        yield spelling
        return
    middle = len(spelling) // 2
    for start in (0, middle, len(spelling) - _PIECE_BYTES):
        yield spelling[start : start + _PIECE_BYTES]


def leaks(secrets: Mapping[str, str], shown: Mapping[str, bytes]) -> list[str]:
    """Return which secret shows where: nothing, if all is well."""
    return sorted(
        f"{name} in {place}"
        for name, secret in secrets.items()
        for place, text in shown.items()
        if any(_has(text, spelling) for spelling in spellings(secret))
    )


def _has(text: bytes, spelling: bytes) -> bool:
    if len(spelling) >= 8:
        return spelling in text
    # Six digits stand in many an address; on their own they are a code.
    return re.search(rb"(?<![0-9A-Za-z])" + re.escape(spelling) + rb"(?![0-9A-Za-z])", text) is not None


def shown_in_proc(pid: int) -> dict[str, bytes]:
    """Return what /proc shows of a process, its threads and its children."""
    shown = {}
    for process in (pid, *_children(pid)):
        for folder in (Path(f"/proc/{process}"), *Path(f"/proc/{process}/task").glob("*")):
            shown |= {str(path): _content(path) for path in folder.iterdir() if path.name not in _NOT_SHOWN}
            shown[f"{folder}/fd"] = b"\n".join(_targets((folder / "fd").glob("*")))
    return shown


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                yield child
                yield from _children(child)


def _content(path: Path) -> bytes:
    with suppress(OSError):
        if path.is_symlink():
            return str(path.readlink()).encode()
        if path.is_file():
            return path.read_bytes()
    return b""


def _targets(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        yield _content(path)
