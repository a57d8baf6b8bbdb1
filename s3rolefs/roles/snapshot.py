"""Hold one session: what a source hands over and what the signers use.

A snapshot never changes and never shows its secrets by accident: its repr has none, and neither
pickling, copying nor `dataclasses.asdict` gets hold of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, SupportsIndex


class Secret(str):
    """Carry a secret text: a plain str for signers, a redacted repr, neither pickled nor copied."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return a stand-in, so that reprs of whatever holds this are harmless."""
        return "'(secret)'"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse: pickle, copy, deepcopy and asdict all come through here."""
        raise TypeError("a secret is neither pickled nor copied")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Snapshot:
    """Hold the credentials of one session (or long-lived keys: `session_token` is None).

    `expires_at` is in wall seconds by the issuer's clock, None when nobody said. `obtained_at` is
    the moment of asking, in wall seconds; a source leaves it 0.0 (the broker fills in the
    machine's clock) unless the issuer's clock is known to differ and this is its reading.
    `generation` is given by the broker, unique and increasing; 0 before that. `arn` is the
    principal, as far as the source knows it; `source` says in words where the keys came from.
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_at: float | None = None
    obtained_at: float = 0.0
    generation: int = 0
    arn: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Wrap the secrets, whoever passed them."""
        object.__setattr__(self, "secret_access_key", Secret(self.secret_access_key))
        if self.session_token is not None:
            object.__setattr__(self, "session_token", Secret(self.session_token))

    def __repr__(self) -> str:
        """Describe the session without any part of its keys."""
        return (
            f"Snapshot(generation={self.generation}, arn={self.arn!r}, "
            f"expires_at={self.expires_at}, source={self.source!r})"
        )

    def has_keys_of(self, other: Snapshot) -> bool:
        """Say whether both hold the same credentials."""
        return (self.access_key_id, self.secret_access_key, self.session_token) == (
            other.access_key_id,
            other.secret_access_key,
            other.session_token,
        )
