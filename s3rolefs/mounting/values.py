"""Parse the values of mount options: durations, sizes, modes, owners, paths.

Every parser takes the option's name and its text and raises `UserError` naming both.
"""

from __future__ import annotations

import grp
import pwd
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from s3rolefs.errors import UserError
from s3rolefs.model import GIB, KIB, MIB

Parser = Callable[[str, str], object]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1024 * GIB}
_LEAST_DISK_BYTES = 64 * MIB
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def text(_name: str, value: str) -> str:
    """Return the value as it is."""
    return value


def path(name: str, value: str) -> str:
    """Return an absolute path; `~` is the user's home and a relative path counts from here."""
    try:
        return str(Path(value).expanduser().absolute())
    except RuntimeError:
        raise UserError(f"{name}={value}: there is no user of that name on this machine.") from None


def command(name: str, value: str) -> str:
    """Return a command line; its words are split as a shell does, but no shell runs it."""
    try:
        words_of_it = shlex.split(value)
    except ValueError:
        raise UserError(f"{name} has a quote that is not closed.") from None
    if not words_of_it:
        raise UserError(f"{name} names no command.")
    return value


def url(name: str, value: str) -> str:
    """Return an http or https address without its last slash."""
    try:
        # Reading the port is what finds most mistakes.
        usable = urlsplit(value).port != 0 and re.match(r"https?://[^/@\s]+", value)
    except ValueError:
        usable = None
    if not usable:
        raise UserError(f"{name}={value} is no address: write http://HOST:PORT or https://HOST[:PORT].")
    return value.rstrip("/")


def seconds(name: str, value: str) -> float:
    """Return a duration in seconds from `90`, `90s`, `500ms`, `15m`, `2h` or `1d`."""
    match = _DURATION.fullmatch(value)
    if not match:
        raise UserError(f"{name}={value} is no duration: write a number of seconds, or 500ms, 90s, 15m, 2h.")
    return float(match[1]) * _DURATION_UNITS[match[2] or "s"]


def positive_seconds(name: str, value: str) -> float:
    """Return a duration in seconds that is not zero."""
    duration = seconds(name, value)
    if duration <= 0:
        raise UserError(f"{name}={value} must be longer than zero.")
    return duration


def whole_seconds(name: str, value: str) -> int:
    """Return a duration of whole seconds."""
    return round(positive_seconds(name, value))


def size_bytes(name: str, value: str) -> int:
    """Return a number of bytes from `1048576`, `512M`, `1G` or `64MiB` (powers of 1024)."""
    match = _SIZE.fullmatch(value)
    if not match:
        raise UserError(f"{name}={value} is no size: write a number of bytes, or 64K, 512M, 2G.")
    return int(match[1]) * _SIZE_UNITS[(match[2] or "").lower()]


def disk_size_bytes(name: str, value: str) -> int:
    """Return a number of bytes that is worth a cache on disk, or 0."""
    size = size_bytes(name, value)
    if 0 < size < _LEAST_DISK_BYTES:
        raise UserError(f"{name}={value} is too small: write at least {_LEAST_DISK_BYTES // MIB}M, or 0.")
    return size


def connections(name: str, value: str) -> int:
    """Return a number of connections, 1 to 512."""
    if not value.isdecimal() or not 1 <= int(value) <= 512:
        raise UserError(f"{name}={value} must be a number from 1 to 512.")
    return int(value)


def mode(name: str, value: str) -> int:
    """Return permission bits written in octal, `0644` or `644`."""
    if not re.fullmatch(r"[0-7]{1,4}", value):
        raise UserError(f"{name}={value} is no mode: write octal digits such as 0644.")
    return int(value, 8)


def user(name: str, value: str) -> int:
    """Return a user's number, from the number or the name."""
    if value.isdecimal():
        return int(value)
    try:
        return pwd.getpwnam(value).pw_uid
    except KeyError:
        raise UserError(f"{name}={value}: there is no user of that name on this machine.") from None


def group(name: str, value: str) -> int:
    """Return a group's number, from the number or the name."""
    if value.isdecimal():
        return int(value)
    try:
        return grp.getgrnam(value).gr_gid
    except KeyError:
        raise UserError(f"{name}={value}: there is no group of that name on this machine.") from None


def yes_or_no(name: str, value: str) -> bool:
    """Return a truth value from `yes` or `no` (also true, on, 1 and false, off, 0)."""
    lowered = value.lower()
    if lowered in {"yes", "true", "on", "1"}:
        return True
    if lowered in {"no", "false", "off", "0"}:
        return False
    raise UserError(f"{name}={value} must be yes or no.")


def policy_arns(_name: str, value: str) -> tuple[str, ...]:
    """Return ARNs joined with `+`, which may also stand inside a name."""
    return tuple(re.split(r"\+(?=arn:)", value))


def tags(_name: str, value: str) -> tuple[str, ...]:
    """Return `KEY=VALUE` pairs joined with `+`, which may also stand inside a value."""
    return tuple(re.split(r"\+(?=[^+=]+=)", value))


def words(_name: str, value: str) -> tuple[str, ...]:
    """Return words joined with `+`."""
    return tuple(value.split("+"))


def variables(name: str, value: str) -> tuple[str, ...]:
    """Return names of environment variables joined with `+`."""
    names = tuple(value.split("+"))
    for variable in names:
        if not _VARIABLE.fullmatch(variable):
            raise UserError(f"{name}={value} must name environment variables joined with +, such as A+B.")
    return names


def choice(*allowed: str) -> Callable[[str, str], str]:
    """Return a parser that accepts one of the given words, in any case, and returns it as given here."""

    def parse(name: str, value: str) -> str:
        for word in allowed:
            if word.lower() == value.lower():
                return word
        raise UserError(f"{name}={value} must be {', '.join(allowed[:-1])} or {allowed[-1]}.")

    return parse
