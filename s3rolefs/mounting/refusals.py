"""Say in one sentence why a bucket cannot be mounted, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, FileSystemError, MountFailure, Reason, StoreError

if TYPE_CHECKING:
    from s3rolefs.config import StoreConfig

# S3's error codes, and those of s3/client.py for answers that are none of S3's. {place} is where it
# was asked, {bucket} and {region} what was asked for, {said} what the service or the network said.
_SENTENCES = {
    "NoSuchBucket": "There is no bucket {bucket} {place}: create it, or check its name and endpoint_url.",
    "InvalidAccessKeyId": "{Place} the access key is not known: check the credentials, and that they "
    "belong to this service (endpoint_url).",
    "SignatureDoesNotMatch": "{Place} the signature is refused: the secret key does not belong to the "
    "access key (were characters lost or added?).",
    "ExpiredToken": "{Place} the session is refused because it has expired: put a new one in place, or "
    "give role_arn so that it is renewed by itself.",
    "InvalidToken": "{Place} the session token is refused: it belongs to another service, or was cut.",
    "RequestTimeTooSkewed": "{Place} the time of this machine is refused: set its clock.",
    "PermanentRedirect": "The bucket {bucket} is not in the region {region} ({said}): leave region out, or "
    "give the right one.",
    "NameNotResolved": "The service cannot be reached {place}: no such host name is known ({said}); check "
    "endpoint_url and region.",
    "ConnectionRefused": "Nobody answers {place}: check the host and port of endpoint_url, and that the "
    "service runs.",
    "TlsFailed": "The certificate is not trusted {place} ({said}): give ca_bundle, or https with the right "
    "host name, or http where that is meant.",
    "TimedOut": "The service does not answer {place} in time: check endpoint_url, the network and proxies.",
    "ConnectionBroken": "The connection breaks off {place} ({said}): check endpoint_url (http or https?).",
    "ProxyRefused": "The proxy does not lead {place} ({said}): check HTTPS_PROXY and NO_PROXY.",
    "NotS3": "What answers {place} is not S3 ({said}): check endpoint_url.",
}
_ALIKE = {
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "ExpiredTokenException": "ExpiredToken",
    "TokenRefreshRequired": "ExpiredToken",
    "InvalidTokenId": "InvalidToken",
    "RequestExpired": "RequestTimeTooSkewed",
    "TemporaryRedirect": "PermanentRedirect",
    "AuthorizationHeaderMalformed": "PermanentRedirect",
    "IllegalLocationConstraintException": "PermanentRedirect",
}


def refusal_of(error: FileSystemError, store: StoreConfig, endpoint_url: str | None) -> MountFailure:
    """Return the sentence for a start that failed; `endpoint_url` is whose service was asked, if not AWS."""
    if isinstance(error, CredentialsError):
        # Written for people already, with the policies to paste where they are missing.
        return MountFailure(error.text)
    code = error.code if isinstance(error, StoreError) else ""
    sentence = _SENTENCES.get(_ALIKE.get(code, code))
    if sentence is None and error.reason is Reason.ACCESS_DENIED:
        return denial_of(store, None)
    if sentence is None:
        sentence = f"{{Place}} the bucket {{bucket}} cannot be used: {{said}}{f' ({code})' if code else ''}."
    place = _place(store, endpoint_url)
    return MountFailure(
        sentence.format(
            place=place,
            Place=place[0].upper() + place[1:],
            bucket=store.bucket,
            region=store.region or "that was tried",
            said=error.message.rstrip(".") or "no reason was given",
        )
    )


def denial_of(store: StoreConfig, principal: str | None) -> MountFailure:
    """Return the sentence for a bucket that may not be listed; `principal` is the ARN, if known."""
    condition = f' with s3:prefix "{store.prefix}*"' if store.prefix else ""
    who = principal or "these credentials (check also that they belong to this service)"
    return MountFailure(
        f"Access to the bucket {store.bucket} is denied to {who}: "
        f"allow s3:ListBucket on arn:aws:s3:::{store.bucket}{condition} in the policies of the role; "
        "a bucket of another account has to allow it in the bucket's own policy too."
    )


def not_public(store: StoreConfig) -> MountFailure:
    """Return the sentence for unsigned requests (no_sign_request) that are refused."""
    return MountFailure(
        f"The bucket {store.bucket} is not public for listing: leave no_sign_request out and give a role."
    )


def _place(store: StoreConfig, endpoint_url: str | None) -> str:
    if endpoint_url:
        return f"at {endpoint_url}"
    return f"at AWS in {store.region}" if store.region else "at AWS"
