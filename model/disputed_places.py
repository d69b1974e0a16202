"""Places where members disagree, the worst first, to be looked at one after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.components import labeled
from model.grid import Shape, Triple

_SHARE_OF_HIGHEST = 0.5
_LEAST_LEVEL = 26
_APART_MM = 15.0


def disputed_places(
    levels: npt.NDArray[np.uint8], spacing_mm: Triple, *, most: int = 30
) -> list[Shape]:
    """Return voxels to look at: of each connected part of high disagreement, the highest ones.

    High is half of the highest level in the region, and a tenth of all levels at least. Parts are
    ordered by the sum of their levels; a large part has several places, 15 mm or more apart.

    Args:
        levels: Disagreement, 0 to 255, shape (I, J, K).
        spacing_mm: Voxel size.
        most: How many at most.
    """
    least = max(_LEAST_LEVEL, round(float(levels.max(initial=0)) * _SHARE_OF_HIGHEST))
    labels, count = labeled(levels >= least)
    if count == 0:
        return []
    voxels = np.argwhere(labels > 0)
    part = labels[labels > 0]
    level = levels[labels > 0].astype(np.float64)
    weight = np.bincount(part, weights=level, minlength=count + 1)
    order = np.lexsort((np.arange(len(part)), -level, -weight[part], part))
    order = order[np.argsort(-weight[part[order]], kind="stable")]
    places = _apart(voxels[order], np.array(spacing_mm), most)
    return [(int(i), int(j), int(k)) for i, j, k in places]


def _apart(
    voxels: npt.NDArray[np.int64], spacing_mm: npt.NDArray[np.float64], most: int
) -> list[npt.NDArray[np.int64]]:
    """Return voxels in their order, without those too near to one before."""
    chosen: list[npt.NDArray[np.int64]] = []
    left = voxels
    while len(left) and len(chosen) < most:
        first = left[0]
        chosen.append(first)
        away = (left - first) * spacing_mm
        left = left[(away**2).sum(axis=1) >= _APART_MM**2]
    return chosen
