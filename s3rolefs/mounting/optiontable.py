"""Hold the one table of mount options: parsing, help text and manual page come from here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from s3rolefs.mounting import values
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
    hidden: bool = False


def _option(
    name: str,
    placeholder: str | None,
    parse: Parser,
    target: Target,
    help_text: str,
    *,
    group: str,
    field: str | None = None,
    hidden: bool = False,
) -> Option:
    return Option(
        name=name,
        target=target,
        field=field or name,
        parse=parse,
        help=help_text,
        placeholder=placeholder,
        group=group,
        hidden=hidden,
    )


_ACCESS = "Access"
_SERVICE = "Service"
_FILES = "Files"
_CACHES = "Caches and limits"
_PROCESS = "Process"

OPTIONS: tuple[Option, ...] = (
    _option(
        "role_arn",
        "ARN",
        values.text,
        Target.ROLE,
        "Assume this role and renew its session for as long as the mount lives.",
        group=_ACCESS,
    ),
    _option(
        "role_session_name",
        "NAME",
        values.text,
        Target.ROLE,
        "Name of the session, seen in logs of the service (2 to 64 of letters, digits, =,.@-_).",
        group=_ACCESS,
    ),
    _option(
        "external_id",
        "TEXT",
        values.text,
        Target.ROLE,
        "External id that the role's trust policy asks for.",
        group=_ACCESS,
    ),
    _option(
        "external_id_file",
        "PATH",
        values.path,
        Target.ROLE,
        "File that holds the external id.",
        group=_ACCESS,
    ),
    _option(
        "duration_seconds",
        "TIME",
        values.whole_seconds,
        Target.ROLE,
        "Life of one session of the role: at AWS 900 to 43200, not longer than the role allows.",
        group=_ACCESS,
    ),
    _option(
        "profile",
        "NAME",
        values.text,
        Target.ROLE,
        "Take credentials from this profile of ~/.aws/config and ~/.aws/credentials.",
        group=_ACCESS,
    ),
    _option(
        "source_profile",
        "NAME",
        values.text,
        Target.ROLE,
        "Profile whose credentials assume role_arn.",
        group=_ACCESS,
    ),
    _option(
        "credential_source",
        "WORD",
        values.choice("Environment", "Ec2InstanceMetadata", "EcsContainer"),
        Target.ROLE,
        "Where the credentials come from that assume role_arn: Environment, Ec2InstanceMetadata or EcsContainer.",
        group=_ACCESS,
    ),
    _option(
        "credentials_file",
        "PATH",
        values.path,
        Target.ROLE,
        "File with an access key, or with a temporary triple of access key, secret key and session token. "
        "It is watched: what is written there is used at once.",
        group=_ACCESS,
    ),
    _option(
        "sts_endpoint",
        "URL",
        values.url,
        Target.ROLE,
        "Address of the STS service, where it is not the region's own.",
        group=_ACCESS,
    ),
    _option(
        "cred_wait",
        "TIME",
        values.seconds,
        Target.ROLE,
        "How long an operation waits for a session before it fails (default 30s).",
        group=_ACCESS,
        field="cred_wait_seconds",
    ),
    _option(
        "renew",
        "yes|no",
        values.yes_or_no,
        Target.ROLE,
        "Renew sessions; no is for experiments only.",
        group=_ACCESS,
        hidden=True,
    ),
    _option(
        "region",
        "NAME",
        values.text,
        Target.STORE,
        "Region of the bucket; found by itself where it is not given.",
        group=_SERVICE,
    ),
    _option(
        "endpoint_url",
        "URL",
        values.url,
        Target.STORE,
        "Address of an S3 service other than AWS.",
        group=_SERVICE,
    ),
    _option(
        "path_style",
        None,
        values.yes_or_no,
        Target.STORE,
        "Put the bucket's name into the path instead of the host name.",
        group=_SERVICE,
    ),
    _option(
        "ca_bundle",
        "PATH",
        values.path,
        Target.STORE,
        "File with the certificates of the authorities to trust.",
        group=_SERVICE,
    ),
    _option(
        "connections",
        "NUMBER",
        values.connections,
        Target.STORE,
        "Most requests on their way at once (default 32).",
        group=_SERVICE,
    ),
    _option(
        "io_timeout",
        "TIME",
        values.positive_seconds,
        Target.STORE,
        "How long a request may make no progress before the operation fails (default 60s).",
        group=_SERVICE,
        field="io_timeout_seconds",
    ),
    _option(
        "uid",
        "USER",
        values.user,
        Target.FILES,
        "Owner of files whose object names none (default: who mounts).",
        group=_FILES,
    ),
    _option(
        "gid",
        "GROUP",
        values.group,
        Target.FILES,
        "Group of files whose object names none (default: who mounts).",
        group=_FILES,
    ),
    _option(
        "file_mode",
        "MODE",
        values.mode,
        Target.FILES,
        "Mode of files whose object names none (default 0644).",
        group=_FILES,
    ),
    _option(
        "dir_mode",
        "MODE",
        values.mode,
        Target.FILES,
        "Mode of directories whose object names none (default 0755).",
        group=_FILES,
    ),
    _option(
        "umask",
        "MODE",
        values.mode,
        Target.DERIVED,
        "Bits to leave out of the default modes of files (0666) and directories (0777).",
        group=_FILES,
    ),
    _option(
        "metadata",
        "listing|full",
        values.choice("listing", "full"),
        Target.DERIVED,
        "listing: never ask for the attributes of single objects, every object is a regular file; "
        "full (default): modes, owners, times and links are kept with the objects.",
        group=_FILES,
    ),
    _option(
        "metadata_ttl",
        "TIME",
        values.seconds,
        Target.FILES,
        "How long attributes and listings are believed (default 10s); own changes are seen at once.",
        group=_CACHES,
        field="metadata_ttl_seconds",
    ),
    _option(
        "negative_ttl",
        "TIME",
        values.seconds,
        Target.FILES,
        "How long the absence of a name is believed (default 10s).",
        group=_CACHES,
        field="negative_ttl_seconds",
    ),
    _option(
        "cache_memory",
        "SIZE",
        values.size_bytes,
        Target.FILES,
        "Memory for data that was read or is read ahead (default 512M).",
        group=_CACHES,
        field="cache_memory_bytes",
    ),
    _option(
        "spool_dir",
        "PATH",
        values.path,
        Target.FILES,
        "Directory for data that is not in the bucket yet "
        "(default /var/cache/s3rolefs, or s3rolefs below the user's cache directory).",
        group=_CACHES,
    ),
    _option(
        "mount_wait",
        "TIME",
        values.positive_seconds,
        Target.MOUNT,
        "How long mounting may take before it is given up (default 60s).",
        group=_PROCESS,
        field="mount_wait_seconds",
    ),
    _option(
        "stop_timeout",
        "TIME",
        values.seconds,
        Target.MOUNT,
        "How long a stopped mount tries to send what is unsent before it keeps it as files (default 60s).",
        group=_PROCESS,
        field="stop_timeout_seconds",
    ),
    _option(
        "log_level",
        "WORD",
        values.choice("debug", "info", "warning", "error"),
        Target.MOUNT,
        "debug, info (default), warning or error.",
        group=_PROCESS,
    ),
    _option(
        "pass_env",
        "NAMES",
        values.variables,
        Target.MOUNT,
        "Environment variables, joined with +, that the serving process keeps beside the usual ones.",
        group=_PROCESS,
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}

PASSED_ON = frozenset(
    "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime "
    "allow_other allow_root default_permissions".split()
)
"""Flags that libfuse and the kernel take as they are."""

IGNORED = frozenset(
    "auto noauto user users nouser owner group defaults _netdev nofail relatime norelatime strictatime "
    "nostrictatime diratime nodiratime lazytime nolazytime silent loud".split()
)
"""Words that are meant for mount(8), or that change nothing on a file system without access times."""

SECRETS = {
    name: "credentials_file"
    for name in (
        "access_key access_key_id aws_access_key_id secret_key secret_access_key aws_secret_access_key "
        "session_token aws_session_token security_token aws_security_token password passwd"
    ).split()
}
"""Literal secrets that are refused (a command line is public), and the option that takes a file."""
