"""Left and right: organs, or parts of them, on the wrong side of the midline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from configs.plausibility import SideRule
from configs.taxonomy import load_taxonomy
from model.midline import Midline, Side
from model.plausibility.finding import Finding
from model.plausibility.organ import Anatomy, Organ, inner_voxel
from model.plausibility.words import ml, name_of, percent

_OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left"}
# From here on the organ as a whole lies on the other side.
_MOST = 0.5


def side_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield what lies on the wrong side for sure; nothing where the midline is not known."""
    if anatomy.midline is None:
        return
    for rule in anatomy.rules.sides:
        for name, side in _sided(rule):
            organ = anatomy.organs.get(name)
            if organ is None:
                continue
            share = _share_on(organ, _OPPOSITE[side], anatomy.midline)
            if share > rule.share and share * organ.volume_ml > rule.least_ml:
                yield _finding(anatomy, organ, side, share)


def _sided(rule: SideRule) -> list[tuple[str, Side]]:
    taxonomy = load_taxonomy()
    own = [(name, side) for name in rule.structures if (side := taxonomy[name].side) is not None]
    others: list[tuple[str, Side]] = [(name, "left") for name in rule.left]
    return [*own, *others, *((name, "right") for name in rule.right)]


def _share_on(organ: Organ, side: Side, midline: Midline) -> float:
    """Return the share of an organ that lies on a side for sure."""
    part, _ = _beyond(organ, side, midline)
    return float(part.sum(dtype=np.int64)) / float(organ.counts.sum(dtype=np.int64))


def _beyond(organ: Organ, side: Side, midline: Midline) -> tuple[np.ndarray, int]:
    """Return the part of the counts on a side, and where it starts along the first axis."""
    step = organ.scan.steps[0]
    working = Midline((midline.low + 0.5) / step - 0.5, (midline.high + 0.5) / step - 0.5)
    part = working.beyond(organ.counts, side, start=organ.box.start[0])
    return part, organ.box.start[0] + (organ.counts.shape[0] - part.shape[0]) * (side == "right")


def _finding(anatomy: Anatomy, organ: Organ, side: Side, share: float) -> Finding:
    wrong, midline = _OPPOSITE[side], anatomy.midline
    assert midline is not None
    part, first = _beyond(organ, wrong, midline)
    place = inner_voxel(part > 0, (first, *organ.box.start[1:]), organ.scan)
    partner = _partner(organ.name)
    other = anatomy.organs.get(partner) if partner else None
    is_swapped = share > _MOST and other is not None and _share_on(other, side, midline) > _MOST
    words = (
        f"{percent(share)} of {name_of(organ.name)}, {ml(share * organ.volume_ml)}, lies {wrong} of "
        "the midline"
    )
    if is_swapped and partner is not None:
        words += f", and {name_of(partner)} lies {side} of it: both look swapped"
    return Finding(
        structure=organ.name,
        rule="side",
        severity="fault",
        other=partner if is_swapped else None,
        value=share,
        place=place,
        explanation=f"{words}.",
        mentions=(partner,) if is_swapped and partner is not None else (),
    )


def _partner(name: str) -> str | None:
    taxonomy = load_taxonomy()
    one = taxonomy[name]
    for other in taxonomy.structures:
        if (
            one.side
            and other.unsided_name == one.unsided_name
            and other.side == _OPPOSITE[one.side]
        ):
            return other.name
    return None
