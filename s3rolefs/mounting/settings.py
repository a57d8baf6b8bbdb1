"""Make roles, choices and maps of the configuration files.

The process that mounts reads them, and hands the one role that it chose over to the process that serves.
"""

from __future__ import annotations

import difflib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3rolefs.config import RoleConfig, StoreConfig
from s3rolefs.errors import UserError
from s3rolefs.fs.names import ESCAPE
from s3rolefs.mounting import configfile, values
from s3rolefs.mounting.option import Target
from s3rolefs.mounting.optiontable import BY_NAME, OF_THE_MOUNT
from s3rolefs.mounting.source import parse_source
from s3rolefs.mounting.words import SECRETS
from s3rolefs.roles.reading import is_descriptor
from s3rolefs.roles.validation import SOURCES, has_source, validate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from s3rolefs.mounting.option import Option

_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_LONGEST_NAME_BYTES = 255
# Beyond that nobody means it.
_LONGEST_CHAIN = 100
# TOML's are of 64 bits.
_END_OF_INTEGERS = 1 << 63
# Lists, which options join with +.
_LISTS = (values.policy_arns, values.tags, values.words)

_ROLE_OPTIONS = {
    name: option
    for name, option in BY_NAME.items()
    if option.target is Target.ROLE and option.field not in OF_THE_MOUNT
}
_STORE_OPTIONS = {name: BY_NAME[name] for name in ("region", "endpoint_url", "path_style", "ca_bundle")}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapEntry:
    """Describe one directory of a map; without a role of its own, it has the one a mount would have."""

    directory: str
    role: RoleConfig | None
    store: StoreConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold what the configuration files say, checked; `files` are those that were looked for.

    `buckets` says by bucket and prefix ("" or ending with "/") which role a mount has.
    """

    files: tuple[Path, ...]
    roles: Mapping[str, RoleConfig]
    buckets: Mapping[tuple[str, str], RoleConfig]
    maps: Mapping[str, tuple[MapEntry, ...]]

    def role(self, name: str) -> RoleConfig:
        """Return the role of that name. Raises `UserError`."""
        return self.roles[_known("role", name, self.roles, self.files)]

    def map(self, name: str) -> tuple[MapEntry, ...]:
        """Return the map of that name. Raises `UserError`."""
        return self.maps[_known("map", name, self.maps, self.files)]

    def role_for(self, store: StoreConfig) -> RoleConfig | None:
        """Return the role that [buckets] has for a source: that of the longest prefix."""
        prefixes = [
            prefix
            for bucket, prefix in self.buckets
            if bucket == store.bucket and store.prefix.startswith(prefix)
        ]
        return self.buckets[store.bucket, max(prefixes, key=len)] if prefixes else None


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the configuration files and return what they say.

    Raises `UserError` naming the file and the place in it, for whatever cannot be right.
    """
    files = configfile.places(environ)
    entries: dict[str, dict[Any, _Entry]] = {"roles": {}, "buckets": {}, "maps": {}}
    for path in files:
        for section, table in configfile.read(path).items():
            if section not in entries:
                raise UserError(f"{path}: There is no table {section}{_meant(section, entries)}")
            # The user's own entry replaces the system's as a whole.
            entries[section] |= {entry.key: entry for entry in _entries(path, section, table)}
    roles = _Roles(entries["roles"], files)
    return Settings(
        files=files,
        roles={name: roles.get(name) for name in entries["roles"]},
        buckets={key: _role_of_bucket(entry, roles) for key, entry in entries["buckets"].items()},
        maps={name: tuple(_map_entries(entry, roles)) for name, entry in entries["maps"].items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """Hold one entry as it is written, and where; `key` is its name, or bucket and prefix."""

    key: Any
    value: Any
    where: str
    folder: Path


class _Roles:
    """Make roles of their entries, each with the one that it is assumed with."""

    def __init__(self, entries: Mapping[str, _Entry], files: tuple[Path, ...]) -> None:
        self._entries = entries
        self._files = files

    def named(self, value: object, *, setting: str, where: str) -> str:
        """Return the name that a setting gives, which has to be a role's."""
        with _blaming(where):
            return _known("role", _string(setting, value), self._entries, self._files)

    def get(self, name: str, above: tuple[str, ...] = ()) -> RoleConfig:
        """Return the role of that name; `above` are those that it is the source of."""
        entry = self._entries[name]
        where = entry.where
        if name in above:
            circle = " → ".join((*above[above.index(name) :], name))
            raise UserError(f"{where}: The roles {circle} name each other as source in a circle.")
        if len(above) >= _LONGEST_CHAIN:
            raise UserError(f"{where}: A chain of roles must not be longer than {_LONGEST_CHAIN}.")
        with _blaming(where):
            table = _normalised(entry.value)
            source = table.pop("source_role", None)
            fields = _fields(table, _ROLE_OPTIONS, entry.folder, others=("source_role",))
        if source is not None:
            below = self.named(source, setting="source_role", where=where)
            fields["source_role"] = self.get(below, (*above, name))
        role = RoleConfig(name=name, **fields)
        with _blaming(where):
            _check_role(role)
        return role


def _check_role(role: RoleConfig) -> None:
    for name in ("web_identity_token_file", "saml_assertion_file"):
        path = getattr(role, name)
        if path is not None and is_descriptor(path):
            raise UserError(f"{name}={path} is a descriptor, which only a command line can have.")
    if not has_source(role):
        raise UserError(
            f"It names no source of credentials: give it one of {', '.join(SOURCES)} or no_sign_request."
        )
    validate(role)


def _role_of_bucket(entry: _Entry, roles: _Roles) -> RoleConfig:
    return roles.get(roles.named(entry.value, setting="The role", where=entry.where))


def _map_entries(entry: _Entry, roles: _Roles) -> Iterator[MapEntry]:
    """Yield the directories of one map."""
    if not entry.value:
        raise UserError(f'{entry.where}: It names no directory: write NAME = {{ source = "s3://BUCKET" }}.')
    for directory, value in entry.value.items():
        where = f"{entry.where}, {directory}"
        with _blaming(where):
            _check_directory(directory)
            table = _normalised(_table(directory, value, like=f'{directory} = {{ source = "s3://BUCKET" }}'))
            if "source" not in table:
                raise UserError('It needs a source: write source = "s3://BUCKET/PREFIX/".')
            bucket, prefix = parse_source(_string("source", table.pop("source")))
            name = table.pop("role", None)
            fields = _fields(table, _STORE_OPTIONS, entry.folder, others=("source", "role"))
        role = None if name is None else roles.get(roles.named(name, setting="role", where=where))
        yield MapEntry(
            directory=directory, role=role, store=StoreConfig(bucket=bucket, prefix=prefix, **fields)
        )


def _check_directory(name: str) -> None:
    is_odd = "/" in name or ESCAPE in name or not name.isprintable()
    if name in {"", ".", ".."} or is_odd or len(name.encode()) > _LONGEST_NAME_BYTES:
        raise UserError(
            f"{name!r} can be no name of a directory: write 1 to {_LONGEST_NAME_BYTES} bytes that can be "
            f"printed, without / and {ESCAPE}."
        )


def _entries(path: Path, section: str, table: object) -> Iterator[_Entry]:
    """Yield the entries of one table of a file."""
    kind = section.removesuffix("s")
    with _blaming(str(path)):
        written = _table(section, table, like=f"[{section}]" if section == "buckets" else f"[{section}.NAME]")
    seen = set()
    for name, value in written.items():
        where = f"{path}, {kind} {name}"
        key: object = name
        with _blaming(where):
            if section == "buckets":
                key = parse_source(name)
            elif not _NAME.fullmatch(name):
                raise UserError(
                    "A name is letters, digits and _.- only, and begins with none of the last two."
                )
            else:
                _table(name, value, like=f"[{section}.{name}]")
            if key in seen:
                raise UserError("It is there twice: leave one of them out.")
        seen.add(key)
        yield _Entry(key=key, value=value, where=where, folder=path.parent)


def _fields(
    table: Mapping[str, object], options: Mapping[str, Option], folder: Path, *, others: Collection[str]
) -> dict[str, Any]:
    """Return the fields that the settings of a table come to, parsed as the options of that name are."""
    fields = {}
    for name, value in table.items():
        option = options.get(name)
        if option is None:
            raise UserError(_refusal(name, (*others, *options)))
        fields[option.field] = _parsed(option, value, folder)
    return fields


def _parsed(option: Option, value: object, folder: Path) -> object:
    name = option.name
    if isinstance(value, list) and option.parse in _LISTS:
        if not value or not all(isinstance(part, str) and part for part in value):
            raise UserError(f"{name} must be a list of strings that are not empty.")
        return tuple(value)
    if isinstance(value, bool) and option.placeholder is None:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _END_OF_INTEGERS:
        value = str(value)
    text = _string(name, value)
    if option.parse is values.path and not text.startswith("~"):
        # Whoever mounts may be anywhere.
        text = str(folder / text)
    return option.parse(name, text)


def _refusal(name: str, known: Collection[str]) -> str:
    if name in SECRETS:
        return (
            f"{name} is a secret, which does not belong here: put it into a file that only you can read "
            f"and give {SECRETS[name]}."
        )
    if name in BY_NAME:
        return f"{name} concerns the mount: give it there, as an option."
    return f"There is no setting {name}{_meant(name, known)}"


def _normalised(table: Mapping[str, object]) -> dict[str, object]:
    """Return a table with its keys spelled as options are, `_` and `-` being alike."""
    normalised: dict[str, object] = {}
    for raw_name, value in table.items():
        name = raw_name.lower().replace("-", "_")
        if name in normalised:
            raise UserError(f"{name} is given twice: leave one of them out.")
        normalised[name] = value
    return normalised


def _table(name: str, value: object, *, like: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise UserError(f"{name} must be a table: write {like}.")
    return value


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name} must be a string between double quotes.")
    if not value.strip() or "\0" in value:
        raise UserError(f"{name} is empty or has a NUL in it: give it a value or leave it out.")
    return value


def _known(kind: str, name: str, known: Collection[str], files: tuple[Path, ...]) -> str:
    """Return a name that is known; raise `UserError` with the nearest one for another."""
    if name in known:
        return name
    if not known:
        raise UserError(
            f"There is no {kind} {name}: no {kind} is described in {' or '.join(map(str, files))}."
        )
    raise UserError(f"There is no {kind} {name}{_meant(name, known)}")


def _meant(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence about a name that is not known."""
    if near := difflib.get_close_matches(name, known, n=1):
        return f": did you mean {near[0]}?"
    return f"; there are: {', '.join(sorted(known))}."


@contextmanager
def _blaming(where: str) -> Iterator[None]:
    """Say of what is refused where it stands."""
    try:
        yield
    except UserError as error:
        shown = where if where.isprintable() else repr(where)
        raise UserError(f"{shown}: {error.sentence}") from None
