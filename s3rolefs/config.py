"""Hold the one configuration object: what the options, once parsed and checked, come to.

Built by mounting/options.py from `-o`, passed down by constructor; no room reads options or the
environment by itself. A secret never stands in here, only where to find it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from s3rolefs.model import MIB

# Under these names travel with the environment's secrets: the codes that a person typed (JSON: device
# → code), and the token or assertion that came on a descriptor.
MFA_CODE = "S3ROLEFS_MFA_CODE"
PROOF = "S3ROLEFS_PROOF"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """Say where credentials come from (ROLES.md's table) and which role to assume with them.

    `no_sign_request`: none and no role, for buckets that are public. Else exactly one source:
    `profile`, `credentials_file`, `credential_source` ("Environment", "Ec2InstanceMetadata",
    "EcsContainer"), a web identity token or SAML assertion (then `role_arn` is assumed with it),
    `source_role` or, with none of them named, what is found in the order of the AWS SDKs. `name` is
    that of the configuration file. `imdsv1` lets an instance's metadata service do without tokens.
    """

    # Two names for the same are one role.
    name: str | None = field(default=None, compare=False)
    source_role: RoleConfig | None = None
    profile: str | None = None
    credentials_file: str | None = None
    credential_source: str | None = None
    no_sign_request: bool = False
    imdsv1: bool = False
    source_profile: str | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    external_id: str | None = None
    external_id_file: str | None = None
    duration_seconds: int | None = None
    web_identity_token_file: str | None = None
    web_identity_token_process: str | None = None
    provider_id: str | None = None
    saml_provider_arn: str | None = None
    saml_assertion_file: str | None = None
    saml_assertion_process: str | None = None
    policy_file: str | None = None
    policy_arns: tuple[str, ...] = ()
    session_tags: tuple[str, ...] = ()  # KEY=VALUE each
    transitive_tags: tuple[str, ...] = ()
    source_identity: str | None = None
    mfa_serial: str | None = None
    mfa_process: str | None = None
    sts_endpoint: str | None = None
    cred_wait_seconds: float = 30.0
    # For tests and for measuring what a mount without renewal does: never renew a session.
    renew: bool = True

    @property
    def hops(self) -> tuple[RoleConfig, ...]:
        """Return the chain of roles, this one first, the one with the first credentials last."""
        return (self, *(self.source_role.hops if self.source_role is not None else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Say how to reach the service; None means: find out (profile, environment, S3's answers)."""

    bucket: str
    prefix: str = ""  # "" or ends with "/"
    region: str | None = None
    endpoint_url: str | None = None
    path_style: bool | None = None
    ca_bundle: str | None = None
    io_timeout_seconds: float = 60.0
    connections: int = 64

    @property
    def url(self) -> str:
        """Return the bucket and prefix as a person writes them."""
        return f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketConfig:
    """Say which bucket one directory shows, and with which role.

    `directory` is a name in the mount's root; "" is the root itself, where there is no map.
    """

    directory: str
    role: RoleConfig
    store: StoreConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FileConfig:
    """Say how objects look as files and what may be kept in memory or on disk."""

    uid: int
    gid: int
    file_mode: int = 0o644
    dir_mode: int = 0o755
    metadata_ttl_seconds: float = 10.0
    negative_ttl_seconds: float = 10.0
    # True (`metadata=listing`): never HEAD; every object is a regular file with default attributes.
    metadata_from_listing: bool = False
    # Serve extended attributes; the kernel then asks for one before each write.
    xattr: bool = False
    # True (`exclusive=open`): O_EXCL asks S3 at every open, not only for what is named like a lock.
    exclusive_at_open: bool = False
    cache_memory_bytes: int = 512 * MIB
    # True: each write reaches this process before write(2) returns; else the kernel gathers them.
    write_through: bool = False
    spool_dir: str = ""
    cache_dir: str = ""
    # How much of what was read is kept in cache_dir; 0: nothing.
    cache_size_bytes: int = 0
    read_only: bool = False
    # close returns when the local journal has the file, unlink when that has the removal; S3 hears later.
    writeback: bool = False

    @property
    def kernel_gathers_writes(self) -> bool:
        """Tell whether the kernel's write-back cache is used: it then keeps size and times of files."""
        return not (self.write_through or self.read_only)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountConfig:
    """Describe one mount: the source to the letter (fsname), the directory, and what is below it."""

    source: str
    mountpoint: str
    buckets: tuple[BucketConfig, ...]
    files: FileConfig
    fuse_options: tuple[str, ...] = field(default=())
    mount_wait_seconds: float = 60.0
    stop_timeout_seconds: float = 60.0
    log_level: str = "info"
    # Environment variables that the serving process keeps beside the usual ones.
    pass_env: tuple[str, ...] = ()
