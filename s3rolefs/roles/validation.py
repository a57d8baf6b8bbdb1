"""Check what a person configured about a role, before anything is asked or loaded.

Apart from provider.py, so that who only checks options does not wait for botocore to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3rolefs.errors import UserError
from s3rolefs.roles import arguments
from s3rolefs.roles.endpoints import is_aws

if TYPE_CHECKING:
    from s3rolefs.config import RoleConfig

_TOKENS = ("web_identity_token_file", "web_identity_token_process")
_ASSERTIONS = ("saml_assertion_file", "saml_assertion_process")
SOURCES = (
    *("credentials_file", "profile", "source_profile", "credential_source", *_TOKENS, *_ASSERTIONS),
    "source_role",
)
"""Fields that name a source of credentials."""
# What only AssumeRole takes, which is signed.
_SIGNED_ONLY = (
    *("external_id", "external_id_file", "session_tags", "transitive_tags", "source_identity"),
    *("mfa_serial", "mfa_process"),
)
_NEED_ROLE = (
    *("role_session_name", "external_id", "external_id_file", "duration_seconds", "source_profile"),
    *("source_role",),
    *("policy_file", "policy_arns", "session_tags", "transitive_tags", "source_identity", "mfa_serial"),
)


def has_source(role: RoleConfig) -> bool:
    """Say whether options name a source of credentials."""
    return role.no_sign_request or any(getattr(role, name) is not None for name in SOURCES)


def validate(role: RoleConfig) -> None:
    """Refuse with a `UserError` what cannot be right, without touching anything outside.

    What depends on the environment is left to `build`: whether STS is AWS's own, whose limits
    are narrower.
    """
    named = [_written(role, name) for name in SOURCES if getattr(role, name) is not None]
    if role.no_sign_request:
        named += [f"role_arn={role.role_arn}"] if role.role_arn is not None else []
        if named:
            raise UserError(f"no_sign_request means to use no credentials: leave it out, or {named[0]}.")
    if len(named) > 1:
        raise UserError(f"{named[0]} and {named[1]} both name a source of credentials; keep one of them.")
    if role.source_role is not None and role.source_role.no_sign_request:
        raise UserError(f"{named[0]} uses no credentials, so that nothing can be assumed with it.")
    _check_proofs(role)
    if role.imdsv1 and role.credential_source == "Environment":
        raise UserError("imdsv1 is of use only for the role of an EC2 instance: leave it out.")
    for name in _NEED_ROLE:
        if role.role_arn is None and getattr(role, name) not in (None, ()):
            raise UserError(f"{_written(role, name)} is of use only together with role_arn=.")
    if role.external_id is not None and role.external_id_file is not None:
        raise UserError("external_id= and external_id_file= both give the external id; keep one of them.")
    at_aws = role.sts_endpoint is not None and is_aws(role.sts_endpoint)
    if role.role_arn is not None:
        arguments.check_role_arn(role.role_arn, is_aws=at_aws)
    if role.role_session_name is not None:
        arguments.check_session_name(role.role_session_name)
    if role.external_id is not None:
        arguments.check_external_id(role.external_id, option="external_id")
    if role.duration_seconds is not None:
        arguments.check_duration(role.duration_seconds, is_aws=at_aws)
    arguments.check_policy_arns(role.policy_arns)
    arguments.check_tags(role.session_tags, role.transitive_tags)
    if role.source_identity is not None:
        arguments.check_source_identity(role.source_identity)
    if role.mfa_serial is not None:
        arguments.check_mfa_serial(role.mfa_serial)
    if role.mfa_process is not None and not (role.mfa_serial or role.profile or role.source_profile):
        raise UserError("mfa_process= is of use only together with mfa_serial=, or a profile that has one.")


def _written(role: RoleConfig, name: str) -> str:
    """Return a field as a person wrote it; command lines may hold secrets."""
    value = getattr(role, name)
    if name.endswith("_process"):
        return f"{name}="
    if name == "source_role":
        value = value.name
    return f"{name}={'+'.join(value) if isinstance(value, tuple) else value}"


def _check_proofs(role: RoleConfig) -> None:
    """Refuse what does not go together with web identity tokens and SAML assertions."""
    proof = next((name for name in (*_TOKENS, *_ASSERTIONS) if getattr(role, name) is not None), None)
    is_saml = proof in _ASSERTIONS
    if proof is not None and role.role_arn is None:
        raise UserError(f"{proof}= needs the role to assume with it: give role_arn=.")
    unusable = () if proof is None else (*_SIGNED_ONLY, *(("role_session_name",) if is_saml else ()))
    for name in unusable:
        if getattr(role, name) not in (None, ()):
            raise UserError(f"{name}= cannot be used with {proof}=: leave it out.")
    if role.provider_id is not None and proof not in _TOKENS:
        raise UserError("provider_id= is of use only together with web_identity_token_file= or _process=.")
    if is_saml and role.saml_provider_arn is None:
        raise UserError(f"{proof}= needs the provider whose assertions they are: give saml_provider_arn=.")
    if role.saml_provider_arn is not None:
        if not is_saml:
            raise UserError(
                "saml_provider_arn= needs an assertion: give saml_assertion_file= or saml_assertion_process=."
            )
        arguments.check_provider_arn(role.saml_provider_arn)
