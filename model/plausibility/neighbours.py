"""Neighbours: who should be near, who lies where beside whom, and two in one place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from configs.plausibility import Direction, OrderRule, TouchRule
from configs.taxonomy import load_taxonomy
from model.components import label_counts, labeled
from model.dilation import dilated, radii_of
from model.grid import Box, Shape
from model.placed_crop import grown, placed
from model.plausibility.finding import Finding
from model.plausibility.organ import Anatomy, Organ, inner_voxel
from model.plausibility.words import ml, mm, name_of, names_of, percent, title

_AXES: dict[Direction, int] = {"right_of": 0, "in_front_of": 1, "above": 2}
_WORDS: dict[Direction, tuple[str, str]] = {
    "right_of": ("right of", "left of"),
    "in_front_of": ("in front of", "behind"),
    "above": ("above", "below"),
}
# Points of a surface that a distance is measured between, when words need it.
_POINTS = 20_000


def touch_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield what lies farther from its neighbours than it does in adults."""
    for rule in anatomy.rules.touches:
        organ = anatomy.organs.get(rule.structure)
        others = [found for name in rule.others if (found := anatomy.seen(name)) is not None]
        # Beyond the border of the scan they may be neighbours all the same.
        if organ is None or not others or organ.cut_cm2:
            continue
        if not any(_is_near(organ, other, rule.within_mm) for other in others):
            yield _apart(organ, others, rule)


def order_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield pairs whose centres lie the other way round than in adults."""
    for rule in anatomy.rules.orders:
        organ, other = anatomy.seen(rule.structure), anatomy.seen(rule.other)
        if organ is None or other is None:
            continue
        axis = _AXES[rule.direction]
        farther_mm = organ.centre_mm[axis] - other.centre_mm[axis]
        if farther_mm < rule.least_mm:
            yield _misplaced(organ, rule, farther_mm)


def overlap_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield pairs of exclusive neighbours that claim the same place."""
    rule, done = anatomy.rules.overlap, set[frozenset[str]]()
    for name, organ in anatomy.organs.items():
        for neighbour in load_taxonomy()[name].exclusive:
            pair = frozenset((name, neighbour))
            other = anatomy.organs.get(neighbour)
            if other is None or pair in done:
                continue
            done.add(pair)
            both = _shared(organ, other)
            if both is None:
                continue
            mask, box = both
            shared_ml = int(np.count_nonzero(mask)) * _working_ml(organ)
            smaller = min(organ, other, key=lambda one: one.volume_ml)
            share = shared_ml / smaller.volume_ml
            if shared_ml >= rule.least_ml and share >= rule.share:
                larger = other if smaller is organ else organ
                yield _overlap(smaller, larger, (mask, box), share)


def _working_ml(organ: Organ) -> float:
    return organ.scan.cell * organ.scan.grid.voxel_ml


def _is_near(organ: Organ, other: Organ, within_mm: float) -> bool:
    radii = _reach(within_mm, organ)
    around = grown(organ.box, radii, organ.scan.shape)
    if _common(around, other.box) is None:
        return False
    own = dilated(placed(organ.counts, organ.box, around) > 0, radii)
    return bool((own & (placed(other.counts, other.box, around) > 0)).any())


def _reach(within_mm: float, organ: Organ) -> Shape:
    """Return a distance in working voxels; next to one another is always near."""
    i, j, k = (max(1, n) for n in radii_of(within_mm, organ.scan.spacing_mm))
    return i, j, k


def _common(first: Box, second: Box) -> Box | None:
    low = np.maximum(first.start, second.start)
    high = np.minimum(first.stop, second.stop)
    if (low >= high).any():
        return None
    return Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def _apart(organ: Organ, others: list[Organ], rule: TouchRule) -> Finding:
    away_mm, nearest = min((_distance_mm(organ, one), one.name) for one in others)
    names = tuple(one.name for one in others)
    farther = [name for name in names if name != nearest]
    rest = f", and {names_of(farther)} is no nearer" if farther else ""
    return Finding(
        structure=organ.name,
        rule="apart",
        severity="fault",
        other=nearest,
        value=away_mm,
        place=organ.place,
        explanation=(
            f"{title(organ.name)} lies {mm(away_mm)} from {name_of(nearest)}, more than the "
            f"{mm(rule.within_mm)} that are usual at most{rest}."
        ),
        mentions=names,
    )


def _distance_mm(organ: Organ, other: Organ) -> float:
    """Return the smallest distance between two masks, of working voxels' centres."""
    first, second = _points_mm(organ), _points_mm(other)
    return float(KDTree(first).query(second)[0].min())


def _points_mm(organ: Organ) -> npt.NDArray[np.float64]:
    places = np.argwhere(organ.counts > 0)
    places = places[:: max(1, len(places) // _POINTS)]
    spacing_mm = np.array(organ.scan.spacing_mm, np.float64)
    return (places + np.array(organ.box.start)).astype(np.float64) * spacing_mm


def _misplaced(organ: Organ, rule: OrderRule, farther_mm: float) -> Finding:
    return Finding(
        structure=organ.name,
        rule="order",
        severity="fault",
        other=rule.other,
        value=farther_mm,
        place=organ.place,
        explanation=(
            f"The centre of {name_of(organ.name)} lies {_aside(farther_mm, rule.direction)} that "
            f"of {name_of(rule.other)}; usually it lies {_limit(rule)} it."
        ),
        mentions=(rule.other,),
    )


def _aside(farther_mm: float, direction: Direction) -> str:
    words, opposite = _WORDS[direction]
    return f"{mm(abs(farther_mm))} {words if farther_mm > 0 else opposite}"


def _limit(rule: OrderRule) -> str:
    if rule.least_mm == 0:
        return _WORDS[rule.direction][0]
    return f"at {'least' if rule.least_mm > 0 else 'most'} {_aside(rule.least_mm, rule.direction)}"


def _shared(organ: Organ, other: Organ) -> tuple[npt.NDArray[np.bool_], Box] | None:
    box = _common(organ.box, other.box)
    if box is None:
        return None
    both = _part(organ, box) & _part(other, box)
    return (both, box) if both.any() else None


def _part(organ: Organ, box: Box) -> npt.NDArray[np.bool_]:
    """Return a view of the mask in a box that lies in its own."""
    i, j, k = (
        slice(a - first, b - first)
        for a, b, first in zip(box.start, box.stop, organ.box.start, strict=True)
    )
    return organ.mask[i, j, k]


def _overlap(
    smaller: Organ, larger: Organ, both: tuple[npt.NDArray[np.bool_], Box], share: float
) -> Finding:
    mask, box = both
    labels, count = labeled(mask)
    largest = int(label_counts(labels, count).argmax())
    shared_ml = share * smaller.volume_ml
    return Finding(
        structure=smaller.name,
        rule="overlap",
        severity="fault",
        other=larger.name,
        value=share,
        place=inner_voxel(labels == largest, box.start, smaller.scan),
        explanation=(
            f"{title(smaller.name)} and {name_of(larger.name)} claim {ml(shared_ml)} at once, "
            f"{percent(share)} of the {ml(smaller.volume_ml)} of {name_of(smaller.name)}."
        ),
        mentions=(larger.name,),
    )
