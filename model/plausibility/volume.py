"""Volumes that an adult's organ rarely has, and organs that the scan's border cuts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.plausibility.finding import Finding
from model.plausibility.organ import Anatomy, Organ, inner_voxel
from model.plausibility.words import cm2, ml, title

# Which end of which axis a border is.
_FACES = {
    "left": (0, 0),
    "right": (0, -1),
    "back": (1, 0),
    "front": (1, -1),
    "lower": (2, 0),
    "upper": (2, -1),
}


def volume_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield volumes outside of their range; what the scan cuts has an upper limit alone."""
    for name, organ in anatomy.organs.items():
        least, most = anatomy.rules.range_ml(name)
        is_cut = any(value > 0 for value in organ.cut_cm2.values())
        if organ.volume_ml > most:
            why = f"more than the {ml(most)} that are rarely passed"
        elif organ.volume_ml < least and not is_cut:
            why = f"less than the {ml(least)} of a small one, though the scan does not cut it"
        else:
            continue
        yield Finding(
            structure=name,
            rule="volume",
            severity="fault",
            value=organ.volume_ml,
            place=organ.place,
            explanation=f"{title(name)} measures {ml(organ.volume_ml)}, {why}.",
        )


def cut_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield a note on each organ that is measured whole and that the scan cuts."""
    for name in anatomy.rules.cut.structures:
        organ = anatomy.organs.get(name)
        if organ is None or not organ.cut_cm2:
            continue
        shown, edge = max((area, edge) for edge, area in organ.cut_cm2.items())
        if shown < anatomy.rules.cut_cm2:
            continue
        yield Finding(
            structure=name,
            rule="cut",
            severity="note",
            value=shown,
            place=_on_border(organ, edge),
            explanation=(
                f"{title(name)} reaches the {edge} border of the scan with {cm2(shown)}: the "
                f"{ml(organ.volume_ml)} that are seen are not the whole of it."
            ),
        )


def _on_border(organ: Organ, edge: str) -> tuple[int, int, int]:
    axis, end = _FACES[edge]
    face = np.take(organ.counts, [end], axis=axis) > 0
    start = list(organ.box.start)
    if end == -1:
        start[axis] = organ.box.stop[axis] - 1
    return inner_voxel(face, (start[0], start[1], start[2]), organ.scan)
