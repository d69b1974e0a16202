"""Left and right: organs, or parts of them, on the wrong side of the midline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

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
    midline = anatomy.midline
    if midline is None:
        return
    for rule in anatomy.rules.sides:
        for name, side in _sided(rule):
            organ = anatomy.organs.get(name)
            if organ is None:
                continue
            share = _share_on(organ, _OPPOSITE[side], midline)
            if share > rule.share and share * organ.volume_ml > rule.least_ml:
                yield _finding(anatomy, organ, side, midline)


def _sided(rule: SideRule) -> list[tuple[str, Side]]:
    taxonomy = load_taxonomy()
    found: list[tuple[str, Side]] = []
    found.extend((name, "left") for name in rule.left)
    found.extend((name, "right") for name in rule.right)
    for name in rule.structures:
        side = taxonomy[name].side
        if side is not None:
            found.append((name, side))
    return found


def _share_on(organ: Organ, side: Side, midline: Midline) -> float:
    """Return the share of an organ that lies on a side for sure."""
    part, _ = _beyond(organ, side, midline)
    return float(part.sum(dtype=np.int64)) / float(organ.counts.sum(dtype=np.int64))


def _beyond(organ: Organ, side: Side, midline: Midline) -> tuple[npt.NDArray[np.uint8], int]:
    """Return the part of the counts on a side, and where it starts along the first axis."""
    step = organ.scan.steps[0]
    working = Midline((midline.low + 0.5) / step - 0.5, (midline.high + 0.5) / step - 0.5)
    part = working.beyond(organ.counts, side, start=organ.box.start[0])
    skipped = organ.counts.shape[0] - part.shape[0] if side == "right" else 0
    return part, organ.box.start[0] + skipped


def _finding(anatomy: Anatomy, organ: Organ, side: Side, midline: Midline) -> Finding:
    wrong = _OPPOSITE[side]
    part, first = _beyond(organ, wrong, midline)
    _, j, k = organ.box.start
    share = _share_on(organ, wrong, midline)
    words = (
        f"{percent(share)} of {name_of(organ.name)}, {ml(share * organ.volume_ml)}, lies {wrong} "
        "of the midline"
    )
    partner = _swapped_with(anatomy, organ, side, midline) if share > _MOST else None
    if partner is not None:
        words += f", and {name_of(partner)} lies {side} of it: both look swapped"
    return Finding(
        structure=organ.name,
        rule="side",
        severity="fault",
        other=partner,
        value=share,
        place=inner_voxel(part > 0, (first, j, k), organ.scan),
        explanation=f"{words}.",
        mentions=() if partner is None else (partner,),
    )


def _swapped_with(anatomy: Anatomy, organ: Organ, side: Side, midline: Midline) -> str | None:
    """Return the other of a pair, where it lies where this one belongs."""
    one = load_taxonomy()[organ.name]
    if one.side is None:
        return None
    for name, other in anatomy.organs.items():
        entry = load_taxonomy()[name]
        if entry.unsided_name == one.unsided_name and entry.side == _OPPOSITE[side]:
            return name if _share_on(other, side, midline) > _MOST else None
    return None
