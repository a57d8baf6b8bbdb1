"""Turn the text of `-o` into a checked `MountConfig`."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s3rolefs.config import BucketConfig, FileConfig, MountConfig, RoleConfig, StoreConfig
from s3rolefs.errors import MountFailure, UserError
from s3rolefs.mounting.memory import default_cache_bytes
from s3rolefs.mounting.option import Target
from s3rolefs.mounting.optiontable import BY_NAME, OF_THE_MOUNT
from s3rolefs.mounting.settings import load_settings
from s3rolefs.mounting.source import parse_source
from s3rolefs.mounting.words import ELSEWHERE, IGNORED, PASSED_ON, SECRETS
from s3rolefs.roles.validation import has_source, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from s3rolefs.mounting.settings import MapEntry

_ITEM = re.compile(r'(?:"[^"]*"|[^",])+')
_PAIRS = (
    {"rw", "ro"},
    {"suid", "nosuid"},
    {"dev", "nodev"},
    {"exec", "noexec"},
    {"async", "sync"},
    {"atime", "noatime"},
)
_PATHS = (
    "credentials_file",
    "external_id_file",
    "policy_file",
    "web_identity_token_file",
    "saml_assertion_file",
    "ca_bundle",
    "spool_dir",
    "cache_dir",
)
# What an entry of a map cannot say of its store.
_LIMITS = ("io_timeout_seconds", "connections")
_SYSTEM_DIR = "/var/cache/s3rolefs"

Parsed = dict[Target, dict[str, Any]]


def parse_mount(
    source: str, mountpoint: str, texts: Iterable[str], *, sloppy: bool = False, read_only: bool = False
) -> MountConfig:
    """Return the configuration of one mount.

    `texts` are the values of all `-o`, in order; `sloppy` (mount's -s) lets unknown options pass.

    Raises `UserError` naming the option, never a value that may be secret, and the way out.
    """
    parsed, flags, seen = _parse(texts, sloppy=sloppy)
    if read_only:
        flags = _with_flag(flags, "ro")
    if "allow_other" in flags and "allow_root" in flags:
        raise UserError("allow_other and allow_root contradict each other: give one of them.")
    _refuse_paths_inside(mountpoint, seen.items())
    buckets = _buckets(source, parsed)
    for bucket in buckets:
        _refuse_paths_inside(mountpoint, _paths_of(bucket))
    return MountConfig(
        source=source,
        mountpoint=mountpoint,
        buckets=buckets,
        files=_files(parsed, read_only="ro" in flags),
        fuse_options=tuple(flags),
        **parsed[Target.MOUNT],
    )


def parse_access(source: str | None, texts: Iterable[str]) -> tuple[BucketConfig, ...]:
    """Return how a command without a mount gets its access; without a source the bucket is ""."""
    parsed, _, _ = _parse(texts, sloppy=False)
    return _buckets(source, parsed)


def _buckets(source: str | None, parsed: Parsed) -> tuple[BucketConfig, ...]:
    _check_who(parsed)
    scheme, _, name = (source or "").partition("://")
    if scheme == "map" and not name:
        raise UserError(f"The source {source!r} names no map: write map://NAME.")
    if scheme == "map":
        entries = load_settings(os.environ).map(name)
        unused = "role" if "role" in parsed[Target.DERIVED] else _own(parsed)
        if unused is not None and all(entry.role is not None for entry in entries):
            raise UserError(
                f"{unused} would be used for no directory of {source}: the configuration gives each a role; "
                "leave it out."
            )
        return tuple(_of_map(entry, parsed) for entry in entries)
    bucket, prefix = parse_source(source) if source else ("", "")
    store = StoreConfig(bucket=bucket, prefix=prefix, **parsed[Target.STORE])
    return (BucketConfig(directory="", role=_role(parsed, store), store=store),)


def _of_map(entry: MapEntry, parsed: Parsed) -> BucketConfig:
    """Return a directory of a map; what its entry leaves open, the options say."""
    given = {
        name: value for name, value in parsed[Target.STORE].items() if getattr(entry.store, name) is None
    }
    unmentioned = {name: parsed[Target.STORE][name] for name in _LIMITS if name in parsed[Target.STORE]}
    store = replace(entry.store, **given, **unmentioned)
    if entry.role is None:
        return BucketConfig(directory=entry.directory, role=_role(parsed, store), store=store)
    of_the_mount = {name: value for name, value in parsed[Target.ROLE].items() if name in OF_THE_MOUNT}
    return BucketConfig(directory=entry.directory, role=replace(entry.role, **of_the_mount), store=store)


def _check_who(parsed: Parsed) -> None:
    """Refuse a mixture: whoever gives one option about who the mount is says all of it."""
    name, own = parsed[Target.DERIVED].get("role"), _own(parsed)
    if name is not None and own is not None:
        raise UserError(
            f"role={name} says who the mount is, and so does {own}: leave one of them out, or write {own} "
            "into the role."
        )


def _own(parsed: Parsed) -> str | None:
    """Return an option, if there is one, that says who the mount is."""
    return next((field for field in parsed[Target.ROLE] if field not in OF_THE_MOUNT), None)


def _role(parsed: Parsed, store: StoreConfig) -> RoleConfig:
    """Return the role that options name, else describe, else the configuration's for a source."""
    given, name = parsed[Target.ROLE], parsed[Target.DERIVED].get("role")
    if name is not None:
        return replace(load_settings(os.environ).role(name), **given)
    role = RoleConfig(**given)
    validate(role)
    if has_source(role) or role.role_arn is not None or not store.bucket:
        return role
    found = load_settings(os.environ).role_for(store)
    if found is None:
        return role
    if own := _own(parsed):
        raise UserError(
            f"{own} does not say who the mount is, but [buckets] does ({store.url} has the role "
            f"{found.name}): write {own} into that role, or name a source of credentials, too."
        )
    return replace(found, **given)


def split_options(text: str) -> Iterator[str]:
    """Yield the options of one `-o` text: commas separate, except between double quotes.

    mount(8) hands quotes over together with the value they stand round.
    """
    if text.count('"') % 2:
        raise UserError("A double quote in the options is not closed.")
    for match in _ITEM.finditer(text):
        if item := match[0].strip():
            yield item


def _parse(texts: Iterable[str], *, sloppy: bool) -> tuple[Parsed, list[str], dict[str, str]]:
    parsed: Parsed = {target: {} for target in Target}
    flags: list[str] = []
    seen: dict[str, str] = {}
    for text in texts:
        for item in split_options(text):
            raw_name, equals, value = item.partition("=")
            name = raw_name.strip().lower().replace("-", "_")
            value = value.strip().replace('"', "")
            if name in PASSED_ON or name in IGNORED:
                if equals and name != "user":
                    raise UserError(f"{name} takes no value.")
                if name in PASSED_ON:
                    flags = _with_flag(flags, name)
                continue
            if name.startswith("x_") or name == "comment":
                continue
            option = BY_NAME.get(name)
            if option is None:
                _refuse(name, sloppy=sloppy)
                continue
            if not equals and option.placeholder is not None:
                raise UserError(f"{name} needs a value: {name}={option.placeholder}.")
            if not equals:
                value = "yes"
            if not value:
                raise UserError(f"{name}= is empty: give it a value or leave it out.")
            if seen.setdefault(name, value) != value:
                raise UserError(f"{name} is given twice with different values: leave one of them out.")
            parsed[option.target][option.field] = option.parse(name, value)
    return parsed, flags, seen


def _with_flag(flags: list[str], name: str) -> list[str]:
    # As mount(8) has it, the last one of a pair (ro, rw) counts.
    replaced = next((pair for pair in _PAIRS if name in pair), {name})
    return [*[flag for flag in flags if flag not in replaced], name]


def _refuse(name: str, *, sloppy: bool) -> None:
    if name in SECRETS:
        raise UserError(
            f"{name} would show a secret to everybody who lists processes: "
            f"put it into a file that only you can read and give {SECRETS[name]}=PATH."
        )
    if name == "remount":
        raise MountFailure("A mounted bucket cannot be remounted: unmount it and mount it again.")
    if sloppy:
        return
    alike = difflib.get_close_matches(name, [*BY_NAME, *PASSED_ON], n=1)
    near = ELSEWHERE.get(name) or next(iter(alike), None)
    hint = f"did you mean {near}?" if near else "`man mount.s3rolefs` lists all options."
    raise UserError(f"There is no option {name}: {hint}")


def _files(parsed: Parsed, *, read_only: bool) -> FileConfig:
    fields = {"uid": os.getuid(), "gid": os.getgid(), **parsed[Target.FILES], "read_only": read_only}
    derived = parsed[Target.DERIVED]
    if "umask" in derived:
        if "file_mode" in fields and "dir_mode" in fields:
            raise UserError("umask does nothing where file_mode and dir_mode are both given: leave it out.")
        fields.setdefault("file_mode", 0o666 & ~derived["umask"])
        fields.setdefault("dir_mode", 0o777 & ~derived["umask"])
    fields["metadata_from_listing"] = derived.get("metadata") == "listing"
    if fields["metadata_from_listing"] and fields.get("xattr"):
        raise UserError(
            "xattr does not go with metadata=listing, which asks for no attributes: leave one out."
        )
    fields["exclusive_at_open"] = derived.get("exclusive") == "open"
    for name in ("spool_dir", "cache_dir"):
        fields.setdefault(name, _default_dir())
    fields.setdefault("cache_memory_bytes", default_cache_bytes())
    return FileConfig(**fields)


def _default_dir() -> str:
    """Return where unsent data and caches lie by default: never a tmpfs, so that they survive a reboot."""
    if os.getuid() == 0:
        return _SYSTEM_DIR
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return str(Path(cache_home) / "s3rolefs")


def _paths_of(bucket: BucketConfig) -> Iterator[tuple[str, str]]:
    """Yield what paths the configuration names for a bucket and its role, by option."""
    if bucket.store.ca_bundle is not None:
        yield "ca_bundle", bucket.store.ca_bundle
    for hop in bucket.role.hops:
        if hop.name is not None:
            yield from ((name, path) for name in _PATHS if (path := getattr(hop, name, None)))


def _refuse_paths_inside(mountpoint: str, given: Iterable[tuple[str, str]]) -> None:
    if not mountpoint:
        return
    inside = Path(mountpoint).absolute()
    for name, value in given:
        if name not in _PATHS:
            continue
        path = Path(value).expanduser().absolute()
        for candidate in (path, path.parent.resolve() / path.name):
            if candidate == inside or inside in candidate.parents:
                raise UserError(
                    f"{name}={value} lies inside the directory to be mounted on: choose a path outside it."
                )
