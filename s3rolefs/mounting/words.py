"""Name the words of -o that are not ours: what others understand, and what nobody should write there."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PASSED_ON = _words(
    "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime "
    "allow_other allow_root default_permissions"
)
"""Flags that libfuse and the kernel take as they are."""

IGNORED = _words(
    "auto noauto user users nouser owner group defaults _netdev nofail silent loud relatime norelatime "
    "strictatime nostrictatime diratime nodiratime lazytime nolazytime"
)
"""Words that are meant for mount(8), or that change nothing on a file system without access times."""

SECRETS = {
    **dict.fromkeys(
        _words(
            "access_key access_key_id aws_access_key_id secret_key secret_access_key aws_secret_access_key "
            "session_token aws_session_token security_token aws_security_token password passwd"
        ),
        "credentials_file",
    ),
    "web_identity_token": "web_identity_token_file",
    "saml_assertion": "saml_assertion_file",
}
"""Literal secrets, refused because a command line is public, and what takes their place."""

ELSEWHERE = {
    "url": "endpoint_url",
    "passwd_file": "credentials_file",
    "iam_role": "credential_source",
    "public_bucket": "no_sign_request",
    "use_path_request_style": "path_style",
    "force_path_style": "path_style",
    "multireq_max": "connections",
    "stat_cache_expire": "metadata_ttl",
    "use_cache": "cache_dir",
    "read_only": "ro",
}
"""What options of s3fs and Mountpoint for S3, which people bring along, are called here."""
