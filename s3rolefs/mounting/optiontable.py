"""Hold the one table of mount options: parsing, help text and manual page come from here."""

from __future__ import annotations

from s3rolefs.mounting import values
from s3rolefs.mounting.option import Option, Target, group_of

OPTIONS: tuple[Option, ...] = (
    *group_of(
        "Access",
        Target.DERIVED,
        (
            "role=NAME",
            values.text,
            "Role of the configuration file, which then says all that the options below would say.",
        ),
    ),
    *group_of(
        "Access",
        Target.ROLE,
        (
            "role_arn=ARN",
            values.text,
            "Assume this role and renew its session for as long as the mount lives.",
        ),
        (
            "role_session_name=NAME",
            values.text,
            "Name of the session, seen in logs of the service (2 to 64 of letters, digits, =,.@-_).",
        ),
        ("external_id=TEXT", values.text, "External id that the role's trust policy asks for."),
        ("external_id_file=PATH", values.path, "File that holds the external id."),
        (
            "duration_seconds=TIME",
            values.whole_seconds,
            "Life of a session (default 3600): at AWS 900 to 43200, not longer than the role allows.",
        ),
        (
            "web_identity_token_file=PATH",
            values.path,
            (
                "Assume role_arn with the web identity token (OpenID Connect) in this file, read anew for "
                "each session; /dev/fd/N is read once, when mounting."
            ),
        ),
        (
            "web_identity_token_process=COMMAND",
            values.command,
            "Assume role_arn with the web identity token that this command prints, anew for each session.",
        ),
        (
            "provider_id=NAME",
            values.text,
            "Provider of an OAuth 2.0 access token, such as www.amazon.com; not for OpenID Connect.",
        ),
        (
            "saml_assertion_file=PATH",
            values.path,
            (
                "Assume role_arn with the SAML assertion in this file: base64, or the form that was posted. "
                "It serves one session, then a new one must be written there; /dev/fd/N is read once."
            ),
        ),
        (
            "saml_assertion_process=COMMAND",
            values.command,
            "Assume role_arn with the SAML assertion that this command prints, a new one for each session.",
        ),
        ("saml_provider_arn=ARN", values.text, "SAML provider in IAM whose assertions these are."),
        (
            "policy_file=PATH",
            values.path,
            "File with a session policy (JSON): the session may do what both it and the role allow.",
        ),
        (
            "policy_arns=ARNS",
            values.policy_arns,
            "Up to 10 managed policies that limit the session in the same way, joined with +.",
        ),
        (
            "session_tags=TAGS",
            values.tags,
            "Tags of the session, KEY=VALUE+KEY=VALUE and so on.",
        ),
        (
            "transitive_tags=KEYS",
            values.words,
            "Keys of session_tags, joined with +, that sessions assumed with this one inherit.",
        ),
        (
            "source_identity=NAME",
            values.text,
            "Who is behind the session; it stays through all roles after it.",
        ),
        (
            "mfa_serial=ARN",
            values.text,
            (
                "Multi-factor device that the role's trust policy asks for. A mount made on a terminal asks "
                "for its code, which serves for the first session."
            ),
        ),
        (
            "mfa_process=COMMAND",
            values.command,
            "Command that prints a new code of mfa_serial each time, so that sessions are renewed.",
        ),
        (
            "profile=NAME",
            values.text,
            "Take credentials from this profile of ~/.aws/config and ~/.aws/credentials.",
        ),
        ("source_profile=NAME", values.text, "Profile whose credentials assume role_arn."),
        (
            "credential_source=WORD",
            values.choice("Environment", "Ec2InstanceMetadata", "EcsContainer"),
            (
                "Take credentials from there and from nowhere else. Environment: the variables "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. Ec2InstanceMetadata: the "
                "role of this EC2 instance. EcsContainer: the role of this container (ECS, EKS Pod Identity)."
            ),
        ),
        ("no_sign_request", values.yes_or_no, "Use no credentials at all: for buckets that are public."),
        (
            "imdsv1",
            values.yes_or_no,
            "Ask the metadata service of an EC2 instance without a token where it gives none.",
        ),
        (
            "credentials_file=PATH",
            values.path,
            (
                "File with an access key, or with a temporary triple of access key, secret key and "
                "session token. It is watched: what is written there is used at once."
            ),
        ),
        ("sts_endpoint=URL", values.url, "Address of the STS service, where it is not the region's own."),
        (
            "cred_wait=TIME",
            values.seconds,
            "How long an operation waits for a session before it fails (default 30s).",
            "cred_wait_seconds",
        ),
    ),
    *group_of(
        "",
        Target.ROLE,
        ("renew=yes|no", values.yes_or_no, "Renew sessions; no is for experiments only."),
    ),
    *group_of(
        "Service",
        Target.STORE,
        ("region=NAME", values.text, "Region of the bucket; found by itself where it is not given."),
        ("endpoint_url=URL", values.url, "Address of an S3 service other than AWS."),
        ("path_style", values.yes_or_no, "Put the bucket's name into the path instead of the host name."),
        ("ca_bundle=PATH", values.path, "File with the certificates of the authorities to trust."),
        ("connections=NUMBER", values.connections, "Most requests on their way at once (default 64)."),
        (
            "io_timeout=TIME",
            values.positive_seconds,
            "How long a request may make no progress before the operation fails (default 60s).",
            "io_timeout_seconds",
        ),
    ),
    *group_of(
        "Files",
        Target.FILES,
        ("uid=USER", values.user, "Owner of files whose object names none (default: who mounts)."),
        ("gid=GROUP", values.group, "Group of files whose object names none (default: who mounts)."),
        ("file_mode=MODE", values.mode, "Mode of files whose object names none (default 0644)."),
        ("dir_mode=MODE", values.mode, "Mode of directories whose object names none (default 0755)."),
        (
            "xattr",
            values.yes_or_no,
            "Keep extended attributes (user.*) with the objects; the kernel asks for one before each write.",
        ),
        (
            "write_through",
            values.yes_or_no,
            (
                "Take each write before write(2) returns, so that a full disk or a file beyond 5 TiB is told "
                "there and not by close; small writes are many times slower."
            ),
        ),
    ),
    *group_of(
        "Files",
        Target.DERIVED,
        (
            "umask=MODE",
            values.mode,
            "Bits to leave out of the default modes of files (0666) and directories (0777).",
        ),
        (
            "metadata=listing|full",
            values.choice("listing", "full"),
            (
                "listing: never ask for the attributes of single objects, every object is a regular file; "
                "full (default): modes, owners, times and links are kept with the objects."
            ),
        ),
        (
            "exclusive=locks|open",
            values.choice("locks", "open"),
            "Let S3 decide about O_EXCL at open: for names of locks (default), or for all (a PUT more each).",
        ),
    ),
    *group_of(
        "Caches and limits",
        Target.FILES,
        (
            "metadata_ttl=TIME",
            values.seconds,
            "How long attributes and listings are believed (default 10s); own changes are seen at once.",
            "metadata_ttl_seconds",
        ),
        (
            "negative_ttl=TIME",
            values.seconds,
            "How long the absence of a name is believed (default 10s).",
            "negative_ttl_seconds",
        ),
        (
            "cache_memory=SIZE",
            values.size_bytes,
            (
                "Memory for data that was read or is read ahead (default an eighth of what this machine, or "
                "the control group the mount runs in, has: at least 128M, at most 4G)."
            ),
            "cache_memory_bytes",
        ),
        (
            "cache_dir=PATH",
            values.path,
            (
                "Directory for what the next mount of the same source need not ask S3 for again: attributes "
                "of objects and, with cache_size, their content (default s3rolefs in /var/cache or the "
                "user's cache)."
            ),
        ),
        (
            "cache_size=SIZE",
            values.disk_size_bytes,
            (
                "Keep up to so much of what was read or written in cache_dir, readable by this user alone "
                "(default 0: nothing)."
            ),
            "cache_size_bytes",
        ),
        (
            "spool_dir=PATH",
            values.path,
            "Directory for what S3 does not have yet (default s3rolefs in /var/cache or the user's cache).",
        ),
        (
            "writeback",
            values.yes_or_no,
            (
                "close and mkdir return when the local disk has it, S3 a little later, and removals are "
                "gathered; fsync still waits for S3."
            ),
        ),
    ),
    *group_of(
        "Process",
        Target.MOUNT,
        (
            "mount_wait=TIME",
            values.positive_seconds,
            "How long mounting may take before it is given up (default 60s).",
            "mount_wait_seconds",
        ),
        (
            "stop_timeout=TIME",
            values.seconds,
            "How long a stopped mount sends what is unsent before it keeps it as files (default 60s).",
            "stop_timeout_seconds",
        ),
        (
            "log_level=WORD",
            values.choice("debug", "info", "warning", "error"),
            "debug, info (default), warning or error.",
        ),
        (
            "pass_env=NAMES",
            values.variables,
            "Environment variables, joined with +, that the serving process keeps beside the usual ones.",
        ),
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}

OF_THE_MOUNT = frozenset({"cred_wait_seconds", "renew"})
"""Fields of a role that say how a mount uses it, not who it is."""
