"""Issue and verify web identity tokens: an OpenID Connect provider, and STS's side of it."""

from __future__ import annotations

import time
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from tests.bed.sts import RefusedError

ISSUER = "https://issuer.example"
AUDIENCE = "sts.amazonaws.com"


class Provider:
    """Sign tokens that live for `life_seconds`; `jwks` are its public keys."""

    def __init__(self, *, life_seconds: float = 3600.0) -> None:
        self.life_seconds = life_seconds
        self._key = RSAKey.generate_key(2048, {"kid": "first"}, private=True)
        self.issued = 0

    @property
    def jwks(self) -> KeySet:
        return KeySet.import_key_set({"keys": [self._key.as_dict(private=False)]})

    def token(self, **claims: Any) -> str:
        """Return a new token; claims given here replace the usual ones."""
        self.issued += 1
        now = time.time()
        usual = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "system:serviceaccount:default:data",
            "iat": now,
            "exp": now + self.life_seconds,
            "jti": str(self.issued),
        }
        return jwt.encode({"alg": "RS256", "kid": "first"}, usual | claims, self._key)


def tampered(token: str) -> str:
    """Return a token with another signature."""
    head, claims, signature = token.split(".")
    return f"{head}.{claims}.{signature[:-8]}AAAAAAAA"


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
