"""Organs that nobody sees although the scan must hold them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from configs.plausibility import ExpectedRule
from configs.taxonomy import load_taxonomy
from model.grid import Shape
from model.plausibility.finding import Finding
from model.plausibility.organ import Anatomy, Organ
from model.plausibility.words import name_of, title


def absence_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield what is covered and not there, between what is seen above and below of it.

    What stands in several rules is told of once, by the first that holds.
    """
    told: set[str] = set()
    for rule in anatomy.rules.expected:
        bounds = _bounds(anatomy, rule)
        if bounds is None:
            continue
        for name in rule.structures:
            if name in anatomy.covered and name not in anatomy.organs and name not in told:
                told.add(name)
                yield _finding(name, bounds, rule)


def _bounds(anatomy: Anatomy, rule: ExpectedRule) -> tuple[Organ, Organ] | None:
    """Return one organ above and one below; None where the scan may end in between."""
    above = [organ for name in rule.above if (organ := anatomy.seen(name)) is not None]
    below = [
        organ
        for name in rule.below
        if (organ := anatomy.seen(name)) is not None
        and not (name in rule.whole and "lower" in organ.cut_cm2)
    ]
    return (above[0], below[0]) if above and below else None


def _finding(name: str, bounds: tuple[Organ, Organ], rule: ExpectedRule) -> Finding:
    above, below = bounds
    why = "; it may have been taken out" if rule.severity == "note" else ""
    return Finding(
        structure=name,
        rule="absent",
        severity=rule.severity,
        value=0.0,
        place=_expected_place(name, bounds),
        explanation=(
            f"{title(name)} is not seen, although the scan shows {name_of(above.name)} above and "
            f"{name_of(below.name)} below{why}."
        ),
        mentions=(above.name, below.name),
    )


def _expected_place(name: str, bounds: tuple[Organ, Organ]) -> Shape:
    """Return where it usually lies beside those that are seen; else the middle between them."""
    taxonomy, scan = load_taxonomy(), bounds[0].scan
    usual = taxonomy[name].centre_mm
    guesses = [
        np.array(one.centre_mm) + np.array(usual) - np.array(known)
        for one in bounds
        if usual is not None and (known := taxonomy[one.name].centre_mm) is not None
    ]
    middle_mm = np.mean(guesses or [one.centre_mm for one in bounds], axis=0)
    i, j, k = (
        min(max(0, round(float(mm) / size)), count - 1)
        for mm, size, count in zip(middle_mm, scan.grid.spacing_mm, scan.grid.shape, strict=True)
    )
    return i, j, k
