"""Say in one sentence why a bucket cannot be mounted, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, FileSystemError, MountFailure, Reason, StoreError

if TYPE_CHECKING:
    from s3rolefs.config import MountConfig, StoreConfig

_KEY_CODES = frozenset({"InvalidAccessKeyId", "InvalidClientTokenId"})
_SESSION_CODES = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidTokenId"})
_REGION_CODES = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "TemporaryRedirect",
        "IllegalLocationConstraintException",
        "IncorrectEndpoint",
    }
)
_CLOCK_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired"})


def refusal_of(error: FileSystemError, config: MountConfig, *, principal: str | None = None) -> MountFailure:
    """Return the sentence for a failed start; `principal` is the ARN that was refused, if known."""
    if isinstance(error, CredentialsError):
        return MountFailure(error.message)
    code = error.code if isinstance(error, StoreError) else ""
    store = config.store
    if code == "NoSuchBucket":
        return MountFailure(
            f"There is no bucket {store.bucket} {_place(store)}: "
            "create it, or check its name and endpoint_url."
        )
    if code in _KEY_CODES:
        return MountFailure(
            f"The service does not know the access key ({code}): check the credentials, "
            "and that they belong to this service (endpoint_url)."
        )
    if code == "SignatureDoesNotMatch":
        return MountFailure(
            "The service refuses the signature: the secret key does not belong to the access key "
            "(check for cut or added characters)."
        )
    if code in _SESSION_CODES:
        return MountFailure(
            f"The session has expired or is not valid ({code}): get a new one, "
            "or give role_arn so that it is renewed by itself."
        )
    if code in _CLOCK_CODES:
        return MountFailure("The clock of this machine is wrong by more than the service accepts: set it.")
    if code in _REGION_CODES:
        return MountFailure(
            f"The bucket {store.bucket} is not in the region {store.region or 'that was tried'} "
            f"({error.message}): leave region out, or give the one the bucket is in."
        )
    if error.reason is Reason.ACCESS_DENIED:
        return MountFailure(_denied(store, principal))
    return MountFailure(
        f"{config.source} cannot be reached {_place(store)}: {error.message.rstrip('.')}; "
        "check endpoint_url, region and the network."
    )


def _denied(store: StoreConfig, principal: str | None) -> str:
    condition = f' with s3:prefix "{store.prefix}*"' if store.prefix else ""
    return (
        f"Access to the bucket {store.bucket} is denied to {principal or 'these credentials'}: "
        f"allow s3:ListBucket on arn:aws:s3:::{store.bucket}{condition} in the role's policy; "
        "a bucket of another account has to allow it in the bucket's policy too."
    )


def _place(store: StoreConfig) -> str:
    if store.endpoint_url:
        return f"at {store.endpoint_url}"
    return f"in AWS region {store.region}" if store.region else "at AWS"
