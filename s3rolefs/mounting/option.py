"""Say what a mount option is: how it is written, read and explained, and what it fills in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from s3rolefs.mounting.values import Parser


class Target(Enum):
    """Say which part of `MountConfig` an option fills in."""

    ROLE = "role"
    STORE = "store"
    FILES = "files"
    MOUNT = "mount"
    # Not stored as it is: mounting/options.py makes other fields of it.
    DERIVED = "derived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Describe one option; `placeholder` None means that it may stand without a value (yes)."""

    name: str
    target: Target
    field: str
    parse: Parser
    help: str
    placeholder: str | None
    group: str

    @property
    def hidden(self) -> bool:
        """Say whether it is for experiments only: in no group, help or manual."""
        return not self.group

    @property
    def usage(self) -> str:
        """Return how it is written, `name` or `name=VALUE`."""
        return self.name if self.placeholder is None else f"{self.name}={self.placeholder}"


def group_of(
    group: str, target: Target, *rows: tuple[str, Parser, str] | tuple[str, Parser, str, str]
) -> Iterator[Option]:
    """Make options of rows: usage, parser, help and, where it is not the name, the field."""
    for usage, parse, help_text, *field in rows:
        name, _, placeholder = usage.partition("=")
        yield Option(
            name=name,
            target=target,
            field=field[0] if field else name,
            parse=parse,
            help=help_text,
            placeholder=placeholder or None,
            group=group,
        )
