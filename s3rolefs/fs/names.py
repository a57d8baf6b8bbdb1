"""Give every key exactly one path, and every file name a key; pure functions, both ways.

A key is cut at its slashes. Most components are file names as they are. What is no file name is
written with one character that names hardly ever hold, the one that rclone escapes with:

* `‛name=..` is the component `..`: components that are empty, `.` or `..`, that hold a NUL, or
  that read like something else of this list;
* `‛object=a` is the object `a` where a directory `a/` has the plain name; `d/‛object=` is what the
  object `d/`, a directory's marker, holds;
* `‛part=...` is a directory that holds the rest of a component too long for a name (255 bytes);
* `‛E9` in a key is the byte E9 of a file name that is not UTF-8 (as rclone stores it).

Within the first three a NUL is `‛0` and the character itself `‛‛`. Names are text with bytes that are no
UTF-8 as surrogates (`os.fsdecode`). Every name that is not the escape of something stands for itself.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from s3rolefs.errors import FileSystemError, Reason

NAME_LIMIT_BYTES = 255
KEY_LIMIT_BYTES = 1024
ESCAPE = "\N{SINGLE HIGH-REVERSED-9 QUOTATION MARK}"
# A part is as long as fits: no character, quoted, takes more than six bytes.
_PART_LIMIT_BYTES = 240
_PART_LEAST_BYTES = _PART_LIMIT_BYTES - 5
_NO_NAMES = frozenset(("", ".", ".."))

_QUOTED = re.compile(f"{ESCAPE}(.)?", re.DOTALL)
_UNQUOTED = {"0": "\0", ESCAPE: ESCAPE}
# A run of escapes before something that reads like a byte: doubled where it is text, odd where it is a byte.
_BYTE = "[89A-F][0-9A-F]"
_IN_NAME = re.compile(f"({ESCAPE}+)(?={_BYTE})|({ESCAPE}*)([\udc80-\udcff])")
_IN_KEY = re.compile(f"({ESCAPE}+)({_BYTE})")


class Kind(enum.IntEnum):
    """Say what a child of a directory is in the bucket."""

    OBJECT = enum.auto()
    DIRECTORY = enum.auto()
    PART = enum.auto()


class Step(NamedTuple):
    """Lead from a directory to a child: `text` is the component of the key, or a part of one.

    Each look-up and each listed entry makes some and finds inodes by them: a tuple of an int is hashed in C.
    """

    kind: Kind
    text: str

    @property
    def key(self) -> str:
        """Return what the step adds to the key."""
        return self.text + "/" if self.kind is Kind.DIRECTORY else self.text


CONTENT = Step(Kind.OBJECT, "")
"""Lead from a directory to what its marker object holds."""


class Form(enum.Enum):
    """Say how a name is spelled: as itself or quoted, as an object beside a directory, as a part."""

    NAME = f"{ESCAPE}name="
    OBJECT = f"{ESCAPE}object="
    PART = f"{ESCAPE}part="


def read(name: str) -> tuple[Form, str]:
    """Return how a name is spelled, and the component or part that it stands for."""
    if not name.startswith(ESCAPE):
        return Form.NAME, _to_key(name)
    for form in Form:
        text = _unquote(name[len(form.value) :]) if name.startswith(form.value) else None
        if text is not None and (
            (form is Form.NAME and _needs_quotes(text))
            or form is Form.OBJECT
            or (form is Form.PART and _PART_LEAST_BYTES <= _size(_quote(text)) <= _PART_LIMIT_BYTES)
        ):
            return form, text
    return Form.NAME, _to_key(name)


def spell(step: Step, *, beside: bool = False) -> str:
    """Return the name of a child; `beside`: an object where a directory has the plain name."""
    if step.kind is Kind.PART:
        return Form.PART.value + _quote(step.text)
    if beside:
        return Form.OBJECT.value + _quote(step.text)
    return Form.NAME.value + _quote(step.text) if _needs_quotes(step.text) else _from_key(step.text)


def split(kind: Kind, component: str, *, beside: bool = False) -> tuple[Step, ...]:
    """Return the steps that one component of a key takes: parts, as long as they can be, then the child."""
    parts: list[Step] = []
    rest = component
    while _size(spell(last := Step(kind, rest), beside=beside)) > NAME_LIMIT_BYTES:
        size = end = 0
        while (size := size + _size(_quote(rest[end]))) <= _PART_LIMIT_BYTES:
            end += 1
        parts.append(Step(Kind.PART, rest[:end]))
        rest = rest[end:]
    return (*parts, last)


def child(parts: tuple[Step, ...], kind: Kind, component: str, *, beside: bool = False) -> Step | None:
    """Return the step towards a component from where `parts` have led; None: it is not below them."""
    if not parts and len(component) * 4 < _PART_LIMIT_BYTES:
        return Step(kind, component)
    steps = split(kind, component, beside=beside)
    return steps[len(parts)] if steps[: len(parts)] == parts and len(steps) > len(parts) else None


def steps(key: str, *, beside: bool = False) -> tuple[Step, ...]:
    """Return the way to an object from the root; `beside`: there are keys below `key/`."""
    *directories, last = key.split("/")
    way = [step for component in directories for step in split(Kind.DIRECTORY, component)]
    return (*way, *split(Kind.OBJECT, last, beside=beside or not last))


def path(key: str, *, beside: bool = False) -> tuple[str, ...]:
    """Return the names on the way to an object from the root; `beside` as in `steps`."""
    *way, last = steps(key, beside=beside)
    beside = beside or last == CONTENT
    return (*map(spell, way), spell(last, beside=beside))


def decoded(name: bytes) -> str:
    """Return a file name as text; NAME_TOO_LONG."""
    if len(name) > NAME_LIMIT_BYTES:
        raise FileSystemError(Reason.NAME_TOO_LONG)
    return name.decode("utf-8", "surrogateescape")


def encoded(name: str) -> bytes:
    """Return the bytes of a file name."""
    return name.encode("utf-8", "surrogateescape")


def check_key(key: str) -> None:
    """Raise NAME_TOO_LONG for what S3 has no room for."""
    if len(key.encode()) > KEY_LIMIT_BYTES:
        raise FileSystemError(Reason.NAME_TOO_LONG, "an S3 key holds at most 1,024 bytes")


def _needs_quotes(component: str) -> bool:
    """Tell whether a component has no name but a quoted one: the plain one is none, or another's."""
    if ESCAPE not in component:
        return component in _NO_NAMES or "\0" in component
    name = _from_key(component)
    return "\0" in name or read(name) != (Form.NAME, component)


def _to_key(name: str) -> str:
    return _IN_NAME.sub(_byte_to_key, name) if not name.isascii() else name


def _byte_to_key(match: re.Match[str]) -> str:
    text, before, byte = match.groups()
    return 2 * text if text else f"{2 * before}{ESCAPE}{ord(byte) - 0xDC00:X}"


def _from_key(component: str) -> str:
    if ESCAPE not in component:
        return component
    # Bytes that are UTF-8 together are the characters: such a key's plain name is that of another key.
    return encoded(_IN_KEY.sub(_byte_from_key, component)).decode("utf-8", "surrogateescape")


def _byte_from_key(match: re.Match[str]) -> str:
    half, is_byte = divmod(len(match[1]), 2)
    return half * ESCAPE + (chr(0xDC00 + int(match[2], 16)) if is_byte else match[2])


def _quote(text: str) -> str:
    return text.replace(ESCAPE, 2 * ESCAPE).replace("\0", f"{ESCAPE}0")


def _unquote(text: str) -> str | None:
    """Return what a quoted text stands for; None: it is none."""
    if any(match[1] not in _UNQUOTED for match in _QUOTED.finditer(text)) or any(
        "\ud800" <= character <= "\udfff" for character in text
    ):
        return None
    return _QUOTED.sub(lambda match: _UNQUOTED[match[1]], text)


def _size(name: str) -> int:
    return len(name) if name.isascii() else len(encoded(name))
