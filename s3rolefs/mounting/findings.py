"""Hold what a check of a source found, step by step."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Sum the check of one bucket up.

    `directory`: that of a map, else "". `usable`: a mount works. `advice`: texts with the policies that are
    missing.
    """

    directory: str
    source: str
    principal: str | None
    usable: bool
    findings: tuple[Finding, ...]
    advice: tuple[str, ...]


def as_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Return what `--json` prints: the one report, or {"usable": all are, "reports": [...]}."""
    if len(reports) == 1:
        return asdict(reports[0])
    return {
        "usable": all(report.usable for report in reports),
        "reports": [asdict(report) for report in reports],
    }
