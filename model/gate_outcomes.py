"""What one committee does on one structure, measured for the gate."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt

from model.gate import Outcomes
from model.grid import Box
from model.metrics import Mask
from model.placed_crop import placed

_EVERY_NEIGHBOUR = 26


def outcomes(
    consensus: Mask | None,
    box: Box | None,
    reference: Mask | None,
    reference_box: Box | None,
    *,
    lesion: bool,
) -> Outcomes:
    """Return DSC or false positive, and the lesions found.

    Args:
        consensus: The committee's mask as a crop, shape ``box.shape``; None when it sees nothing.
        box: Where that crop lies in the volume.
        reference: The reference as a crop; None where it says that the structure is absent.
        reference_box: Where it lies.
        lesion: Whether the structure's components are lesions to be found one by one.
    """
    drawn = 0 if consensus is None else int(np.count_nonzero(consensus))
    if reference is None or reference_box is None or not reference.any():
        return Outcomes(dsc=None, false_positive=drawn > 0)
    inside = _placed(consensus, box, reference_box)
    total = drawn + int(np.count_nonzero(reference))
    dsc = 2 * int(np.count_nonzero(inside & reference)) / total
    found = _found(reference, inside) if lesion else 0
    return Outcomes(dsc=dsc, false_positive=None, lesions_found=found)


def count_lesions(reference: Mask | None) -> int:
    """Return the number of components of a reference mask, all 26 neighbours joined."""
    if reference is None or not reference.any():
        return 0
    _, count = _components(reference)
    return count


def _found(reference: Mask, inside: Mask) -> int:
    labels, _ = _components(reference)
    touched = np.unique(labels[inside])
    return int(np.count_nonzero(touched))


def _components(mask: Mask) -> tuple[npt.NDArray[np.generic], int]:
    return cc3d.connected_components(mask, connectivity=_EVERY_NEIGHBOUR, return_N=True)


def _placed(crop: Mask | None, box: Box | None, into: Box) -> Mask:
    """Return the part of a crop that lies in another box, shape ``into.shape``."""
    if crop is None or box is None:
        return np.zeros(into.shape, np.bool_)
    return placed(crop, box, into)
