"""Issue and verify web identity tokens: an OpenID Connect provider, and STS's side of it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import ssl
import time
from typing import TYPE_CHECKING, Any

import trustme
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from tests.bed.loopback import Asked, Loopback, Said
from tests.bed.sts import RefusedError

if TYPE_CHECKING:
    from tests.bed.radosgw import RadosGateway

ISSUER = "https://issuer.example"
AUDIENCE = "sts.amazonaws.com"


class Provider:
    """Sign tokens that live for `life_seconds`; `jwks` are its public keys."""

    def __init__(self, *, life_seconds: float = 3600.0) -> None:
        self.life_seconds = life_seconds
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        certificate = authority.issue_cert("issuer.example", key_type=trustme.KeyType.RSA)
        self._key = RSAKey.import_key(certificate.private_key_pem.bytes(), {"kid": "first"})
        self._certificate = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
        self.issued = 0

    @property
    def jwks(self) -> KeySet:
        return KeySet.import_key_set({"keys": [self.public_key]})

    @property
    def public_key(self) -> dict[str, Any]:
        """Return the key as it is published, with the certificate that it has (x5c)."""
        chain = [base64.b64encode(self._certificate).decode()]
        return {**self._key.as_dict(private=False), "use": "sig", "alg": "RS256", "x5c": chain}

    @property
    def thumbprint(self) -> str:
        """Return the certificate's SHA-1, by which IAM knows it."""
        return hashlib.sha1(self._certificate, usedforsecurity=False).hexdigest().upper()

    def token(self, **claims: Any) -> str:
        """Return a new token; claims given here replace the usual ones."""
        self.issued += 1
        now = time.time()
        usual = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "system:serviceaccount:default:data",
            "iat": int(now),  # radosgw takes whole seconds only
            "exp": math.ceil(now + self.life_seconds),
            "jti": str(self.issued),
        }
        return jwt.encode({"alg": "RS256", "kid": "first"}, usual | claims, self._key)


def tampered(token: str) -> str:
    """Return a token with another signature."""
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{signature[:-8]}AAAAAAAA"


class Site(Loopback):
    """Publish a provider's keys where its tokens say (OpenID Connect Discovery 1.0, section 4)."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self._provider = provider

    def answer(self, asked: Asked) -> Said:
        documents = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [self._provider.public_key]},
        }
        return Said(text=json.dumps(documents[asked.path]), headers={"Content-Type": "application/json"})


def registered(gateway: RadosGateway, site: Site, thumbprint: str) -> dict[str, Any]:
    """Register a provider at radosgw; return the statement that trusts its identities.

    For each token radosgw fetches the issuer's keys, and takes those whose certificate (x5c) has a
    registered thumbprint (rgw_rest_sts.cc, WebTokenEngine::validate_signature).
    """
    arn = gateway.client("iam").create_open_id_connect_provider(
        Url=site.url, ClientIDList=[AUDIENCE], ThumbprintList=[thumbprint]
    )["OpenIDConnectProviderArn"]
    host = site.url.partition("//")[2]
    return {
        "Effect": "Allow",
        "Principal": {"Federated": [arn]},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {"StringEquals": {f"{host}:app_id": AUDIENCE}},
    }


class TokenJudge:
    """Verify tokens as AWS's STS does, in its words (STS API reference, AssumeRoleWithWebIdentity, Errors).

    `troubles` are raised first, one a request.
    """

    def __init__(self, provider: Provider, *, role_arn: str) -> None:
        self._keys = provider.jwks
        self._role_arn = role_arn
        self.troubles: list[RefusedError] = []
        self.accepted: list[str] = []

    def __call__(self, form: dict[str, str]) -> str:
        if self.troubles:
            raise self.troubles.pop(0)
        try:
            token = jwt.decode(form["WebIdentityToken"], self._keys, algorithms=["RS256"])
        except (JoseError, ValueError):
            raise RefusedError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.") from None
        claims, now = token.claims, time.time()
        if claims["exp"] <= now:
            raise RefusedError("ExpiredTokenException", "Token expired: now is after its expiration date")
        if max(claims["iat"], claims.get("nbf", 0)) > now + 300:
            raise RefusedError("InvalidIdentityToken", "Token was issued in the future")
        if claims["iss"] != ISSUER:
            said = "No OpenIDConnect provider found in your account for " + claims["iss"]
            raise RefusedError("InvalidIdentityToken", said)
        if claims["aud"] != AUDIENCE:
            raise RefusedError("InvalidIdentityToken", "Incorrect token audience")
        if form["RoleArn"] != self._role_arn:
            said = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            raise RefusedError("AccessDenied", said, status=403)
        self.accepted.append(claims["jti"])
        role = form["RoleArn"].rpartition("/")[2]
        return f"arn:aws:sts::111122223333:assumed-role/{role}/{form['RoleSessionName']}"
