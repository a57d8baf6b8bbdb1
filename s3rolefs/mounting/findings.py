"""Hold what a check of a source found, step by step."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any

STEPS = ("source", "sts", "trust", "list", "get", "put", "delete", "clock", "conditions")
"""What is asked, in the order in which each needs the one before."""


class Outcome(enum.StrEnum):
    """Say how a step went; only FAILS by itself keeps a mount from working."""

    WORKS = "works"
    DENIED = "denied"
    WEAKER = "weaker"
    UNTRIED = "untried"
    FAILS = "fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Tell how one of `STEPS` went, in a sentence."""

    step: str
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Sum a check up. `usable`: a mount works. `advice`: texts with the policies that are missing."""

    source: str
    principal: str | None
    usable: bool
    findings: tuple[Finding, ...]
    advice: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return asdict(self)
