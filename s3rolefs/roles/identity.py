"""Say who a broker's session is: what `whoami` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.arns import parse_principal

if TYPE_CHECKING:
    from s3rolefs.roles.broker import Broker
    from s3rolefs.roles.sts import TokenService


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Name the principal of a session.

    `kind` is the principal's: assumed-role, user, root, federated-user, or "unknown" where the
    service has no GetCallerIdentity and the source did not tell (then `arn`, `account` are None),
    or "anonymous" where requests are not signed.
    `expires_at` is in wall seconds, None when the source does not know.
    """

    arn: str | None
    account: str | None
    kind: str
    role: str | None
    session: str | None
    expires_at: float | None
    source: str
    generation: int

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return asdict(self)


NOBODY = Identity(
    arn=None,
    account=None,
    kind="anonymous",
    role=None,
    session=None,
    expires_at=None,
    source="nowhere (no_sign_request)",
    generation=0,
)


async def whoami(broker: Broker, service: TokenService) -> Identity:
    """Return who STS says the session is, else who AssumeRole said it is.

    Raises `CredentialsError` when there is no session, or when it is refused.
    """
    snapshot = await broker.get()
    arn = snapshot.arn
    try:
        arn = await service.caller_arn(snapshot)
    except CredentialsError as error:
        # Services other than AWS lack the call or forbid it; AssumeRole's own answer stands in.
        if not (error.code == "NoSts" or (arn is not None and error.reason is not Reason.SESSION_EXPIRED)):
            raise
    try:
        principal = parse_principal(arn) if arn else None
    except ValueError:
        principal = None
    return Identity(
        arn=arn,
        account=principal.account if principal else None,
        kind=principal.kind if principal else "unknown",
        role=principal.role if principal else None,
        session=principal.session if principal else None,
        expires_at=snapshot.expires_at,
        source=broker.source.describe(),
        generation=snapshot.generation,
    )
