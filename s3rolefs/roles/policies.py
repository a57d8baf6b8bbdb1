"""Write the policies that are missing when a role may not be assumed."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from s3rolefs.roles.arns import parse_principal

if TYPE_CHECKING:
    from collections.abc import Mapping

# "User: arn:aws:iam::111122223333:user/x is not authorized to perform: sts:AssumeRole on resource: …"
_CALLER = re.compile(r"User: (arn:\S+) is not authorized")
_UNKNOWN_CALLER = "arn:aws:iam::ACCOUNT:user/NAME"
_ROLE = re.compile(r"arn:(?P<partition>[\w-]+):iam::(?P<account>[^:]*):")
# Where a browser posts assertions (IAM User Guide, "Creating a role for SAML 2.0 federation").
_SAML_AUDIENCES = {
    "aws-cn": "https://signin.amazonaws.cn/saml",
    "aws-us-gov": "https://signin.amazonaws-us-gov.com/saml",
}
_SAML_AUDIENCE = "https://signin.aws.amazon.com/saml"


def caller_named_in(sentence: str) -> str | None:
    """Return the ARN of the caller as STS's sentence names it."""
    match = _CALLER.search(sentence)
    return match[1] if match else None


def assume_role_advice(*, role_arn: str, caller_arn: str | None, external_id: str | None) -> str:
    """Return the identity policy for the caller and the trust policy for the role, ready to paste.

    A caller that is itself a session is named by its role, so that the policies outlive it.
    """
    principal = caller_arn or _UNKNOWN_CALLER
    if caller_arn is not None:
        try:
            principal = parse_principal(caller_arn).lasting_arn
        except ValueError:
            principal = caller_arn
    trust: dict[str, object] = {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": "sts:AssumeRole",
    }
    if external_id is not None:
        trust["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    identity = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}
    who = caller_arn or "unknown (the service does not tell)"
    return (
        f"The caller is {who}.\n"
        f"The policies of {principal} have to allow it:\n{_document(identity)}\n"
        f"The trust policy of {role_arn} has to trust it:\n{_document(trust)}"
    )


def web_identity_advice(*, role_arn: str, token: str) -> str:
    """Return the trust policy for the role that lets in who the token says, ready to paste.

    "" for a token that tells nobody (OAuth 2.0 access tokens). The keys are the issuer's without
    its scheme; `aud` is `azp` where a token has that (IAM User Guide, "Available keys for AWS OIDC
    federation").
    """
    claims = _claims_in(token)
    issuer = urlsplit(str(claims.get("iss", "")))
    role = _ROLE.match(role_arn)
    if role is None or not issuer.netloc:
        return ""
    name = f"{issuer.netloc}{issuer.path}".rstrip("/")
    known = {"aud": claims.get("azp") or claims.get("aud"), "sub": claims.get("sub")}
    trust = {
        "Effect": "Allow",
        "Principal": {
            "Federated": f"arn:{role['partition']}:iam::{role['account']}:oidc-provider/{name}",
        },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{name}:{key}": value for key, value in known.items() if value}},
    }
    return f"The trust policy of {role_arn} has to trust the token:\n{_document(trust)}"


def saml_advice(*, role_arn: str, provider_arn: str) -> str:
    """Return the trust policy for the role that lets the provider's users in, ready to paste."""
    partition = provider_arn.split(":")[1]
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": provider_arn},
        "Action": "sts:AssumeRoleWithSAML",
        "Condition": {"StringEquals": {"SAML:aud": _SAML_AUDIENCES.get(partition, _SAML_AUDIENCE)}},
    }
    return f"The trust policy of {role_arn} has to trust the provider:\n{_document(trust)}"


def _claims_in(token: str) -> Mapping[str, object]:
    """Return what a JSON Web Token claims, unverified; nothing when it is none."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _document(statement: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)
