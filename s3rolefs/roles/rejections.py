"""Judge refusals: is the session over, was it revoked early, or is the answer simply no.

AWS revokes by a deny on the time of issue, which S3 answers with the same AccessDenied as a
genuine denial, and a HEAD has no code at all. So a denial is given the benefit of the doubt once
per session (ROLES.md): a thousand of them cost one renewal.
"""

from __future__ import annotations

import math

# Codes that say that the session itself is over. Without a body (HEAD) S3's 400 is an expired
# or malformed token.
SESSION_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
    | {"InvalidAccessKeyId", "InvalidTokenId", "InvalidClientTokenId", "400"}
)
# Refusals that no other session changes: the machine's clock is wrong.
CLOCK_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired"})

FORCED_SPACING_SECONDS = 5.0
# A denial of a session younger than this that has not worked yet is taken at its word.
YOUNG_SECONDS = 30.0


class Rejections:
    """Remember, by generation, what was forced and which denials are genuine."""

    def __init__(self) -> None:
        self._forced = 0
        self._forced_at = -math.inf
        self._by_denial = False
        self._born_of_denial = 0
        self._genuine = 0

    def may_be_revoked(self, generation: int, code: str, *, age_seconds: float, worked: bool) -> bool:
        """Say whether a denial may be the early end of that session.

        A young session that a denial itself brought about, denied again, settles it: the denials
        of that generation are genuine from then on.
        """
        if code in CLOCK_CODES or generation == self._genuine:
            return False
        is_young = age_seconds < YOUNG_SECONDS
        if is_young and generation == self._born_of_denial:
            self._genuine = generation
            return False
        return worked or not is_young

    def claim(self, generation: int, *, now: float, by_denial: bool) -> float | None:
        """Return when the one forced renewal of that generation may start; None: it had it."""
        if self._forced == generation:
            return None
        self._forced = generation
        self._by_denial = by_denial
        self._forced_at = max(now, self._forced_at + FORCED_SPACING_SECONDS)
        return self._forced_at

    def note_renewed(self, generation: int) -> None:
        """Tell that a new session is there, numbered `generation`."""
        if self._by_denial:
            self._born_of_denial = generation
        self._by_denial = False
