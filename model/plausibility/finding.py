"""What a plausibility rule found: what, where and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.grid import Shape

RuleName = Literal[
    "volume",
    "pieces",
    "gap",
    "flat_end",
    "cut",
    "side",
    "outside",
    "apart",
    "order",
    "absent",
    "overlap",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that labels of an adult rarely are.

    Attributes:
        structure: Whose label it is about.
        rule: Which rule.
        severity: ``fault``, or ``note`` for what right labels also are.
        other: The second structure of the rule, if any.
        value: The number that decided; what it is, the explanation says.
        place: Voxel to look at, RAS order; None where there is none.
        explanation: Why, in words with the numbers.
        mentions: All other structures that the explanation speaks of.
    """

    structure: str
    rule: RuleName
    severity: Literal["fault", "note"]
    other: str | None = None
    value: float
    place: Shape | None
    explanation: str
    mentions: tuple[str, ...] = ()
