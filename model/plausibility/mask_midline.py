"""The body's midline as the organs themselves tell it, without the CT."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from configs.taxonomy import load_taxonomy
from model.midline import Midline
from model.plausibility.organ import Organ

# Organs of the middle, and how far right of the midline their centres lie: of the vessels about the
# middle of what three men showed (aorta -22 to -1 mm, postcava 18 to 24), pelvic ones lie on it.
_MIDDLE_MM = {"bladder": 0.0, "prostate": 0.0, "rectum": 0.0, "aorta": -10.0, "postcava": 20.0}
_PAIRS = ("kidney", "femur_head", "adrenal_gland", "lung")
# How far the midline may lie from what one of them says.
_HALF_WIDTH_MM = 15.0
_LEAST_SIGNS = 2


def mask_midline(organs: Mapping[str, Organ]) -> Midline | None:
    """Return where the midline lies by the organs that are there; None with fewer than two signs.

    The middle between both organs of a pair is the same when both are swapped, and organs of the
    middle lie near it on either side, so that a label on the wrong side moves it little. The median
    of what they say is taken, 15 mm to either side: an organ surely lies beyond where it leaves
    that strip.

    Args:
        organs: By name, of one scan.
    """
    signs_mm = [
        organs[name].centre_mm[0] - aside_mm
        for name, aside_mm in _MIDDLE_MM.items()
        if name in organs
    ]
    for pair in _pairs(organs):
        signs_mm.append((pair[0].centre_mm[0] + pair[1].centre_mm[0]) / 2)
    if len(signs_mm) < _LEAST_SIGNS:
        return None
    size_mm = next(iter(organs.values())).scan.grid.spacing_mm[0]
    middle = float(np.median(signs_mm))
    return Midline((middle - _HALF_WIDTH_MM) / size_mm, (middle + _HALF_WIDTH_MM) / size_mm)


def _pairs(organs: Mapping[str, Organ]) -> list[tuple[Organ, Organ]]:
    """Return the pairs of which both sides are there."""
    taxonomy = load_taxonomy()
    sides: dict[str, list[Organ]] = {}
    for name, organ in organs.items():
        if taxonomy[name].side is not None and taxonomy[name].unsided_name in _PAIRS:
            sides.setdefault(taxonomy[name].unsided_name, []).append(organ)
    return [(pair[0], pair[1]) for pair in sides.values() if len(pair) == 2]
