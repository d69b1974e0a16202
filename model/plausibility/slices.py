"""Slices that a mask left out: empty ones in its midst, and ends in full breadth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from configs.plausibility import FlatEndRule, GapRule
from model.plausibility.finding import Finding
from model.plausibility.organ import Anatomy, Organ, inner_voxel
from model.plausibility.words import cm2, mm, percent, title


def gap_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield the masks with empty slices between two cross-sections that are alike."""
    rule = anatomy.rules.gaps
    for name in rule.structures:
        organ = anatomy.organs.get(name)
        gap = None if organ is None else _widest_gap(organ, rule)
        if organ is None or gap is None:
            continue
        first, last = gap
        before, after = (organ.areas_mm2[k] / 100 for k in (first - 1, last + 1))
        count = last - first + 1
        low = organ.box.start[2]
        length_mm = count * organ.scan.grid.spacing_mm[2]
        slices = f"{count} slices ({low + first + 1} to {low + last + 1})"
        if count == 1:
            slices = f"slice {low + first + 1}"
        yield Finding(
            structure=name,
            rule="gap",
            severity="fault",
            value=length_mm,
            place=_on_slice(organ, first - 1),
            explanation=(
                f"{title(name)} is empty on {slices}, {mm(length_mm)} in all, between "
                f"cross-sections of {cm2(before)} and {cm2(after)}."
            ),
        )


def flat_end_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield the rounded organs whose mask ends in full breadth inside of the scan."""
    rule = anatomy.rules.flat_ends
    for name in rule.structures:
        organ = anatomy.seen(name)
        if organ is None:
            continue
        for edge, place in (("lower", 0), ("upper", -1)):
            if edge not in organ.cut_cm2 and _is_flat(organ, place, rule):
                yield _flat_end(organ, edge, place)


def _widest_gap(organ: Organ, rule: GapRule) -> tuple[int, int] | None:
    """Return the first and last slice of the widest gap, counted from the organ's lowest."""
    is_empty = np.concatenate(([False], organ.areas_mm2 == 0, [False]))
    turns = np.flatnonzero(np.diff(is_empty.astype(np.int8)))
    gaps = [(int(a), int(b) - 1) for a, b in zip(turns[::2], turns[1::2], strict=True)]
    real = [gap for gap in gaps if _parts_alike(organ, gap, rule)]
    return max(real, key=lambda gap: gap[1] - gap[0], default=None)


def _parts_alike(organ: Organ, gap: tuple[int, int], rule: GapRule) -> bool:
    less, more = sorted((organ.areas_mm2[gap[0] - 1], organ.areas_mm2[gap[1] + 1]))
    widest = organ.areas_mm2.max()
    return bool(less >= rule.least_likeness * more and less >= rule.least_share * widest)


def _is_flat(organ: Organ, place: int, rule: FlatEndRule) -> bool:
    """Return whether a mask ends broader than a rounded organ of its height does.

    An ellipsoid of half height h shows 2 d / h of its largest cross-section at a depth d below its
    tip, to first order; the last slice may lie a whole slice deep.
    """
    areas = organ.areas_mm2
    half_height = len(areas) / 2
    share = rule.share + min(0.5, 2 / half_height)
    return bool(areas[place] >= 100 * rule.least_cm2 and areas[place] >= share * areas.max())


def _flat_end(organ: Organ, edge: str, place: int) -> Finding:
    area_mm2, widest_mm2 = float(organ.areas_mm2[place]), float(organ.areas_mm2.max())
    k = organ.box.start[2] if edge == "lower" else organ.box.stop[2] - 1
    last = 0 if edge == "lower" else organ.scan.shape[2] - 1
    away_mm = abs(last - k) * organ.scan.grid.spacing_mm[2]
    return Finding(
        structure=organ.name,
        rule="flat_end",
        severity="fault",
        value=area_mm2 / widest_mm2,
        place=_on_slice(organ, k - organ.box.start[2]),
        explanation=(
            f"{title(organ.name)} ends flat at slice {k + 1}: its {edge}most cross-section is "
            f"{cm2(area_mm2 / 100)}, {percent(area_mm2 / widest_mm2)} of its largest, and the scan "
            f"goes on for {mm(away_mm)}."
        ),
    )


def _on_slice(organ: Organ, k: int) -> tuple[int, int, int]:
    i, j, low = organ.box.start
    return inner_voxel(organ.counts[:, :, k : k + 1] > 0, (i, j, low + k), organ.scan)
