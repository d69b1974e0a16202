"""Bringing an older label back: what it changes, and what it takes from the neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from configs.errors import UsageError
from storage.corrections import Correction, correct, put_mask
from storage.grid import Box, Grid, box_slices
from storage.label_masks import read_label_crop
from storage.labels import LabelMask
from storage.objects import ObjectStore
from storage.uploaded_mask import UploadedMask
from storage.verdicts import LinkedMask


def restoration(
    objects: ObjectStore,
    grid: Grid,
    older: LabelMask,
    *,
    base: LabelMask,
    neighbours: Mapping[str, tuple[str, LabelMask]],
) -> Correction | None:
    """Work out what an older label changes when it becomes the newest; writes nothing.

    Args:
        objects: Where the masks lie.
        grid: The CT's grid.
        older: The label to bring back.
        base: The newest one.
        neighbours: Exclusive neighbour -> the id and mask of its newest label.

    Returns:
        None where the structure was absent: that takes nothing from a neighbour.

    Raises:
        UsageError: The older label is the newest one's mask.
        StorageError: A stored mask is missing or damaged.
    """
    if older == base:
        raise UsageError("bringing a label back changes something, but it equals the present one")
    found = read_label_crop(objects, older, grid.ras_shape)
    if found is None:
        return None
    there = read_label_crop(objects, base, grid.ras_shape)
    box, crop = found
    whole = box if there is None else _around(box, there[0])
    voxels = np.zeros([stop - start for start, stop in whole], np.bool_)
    voxels[box_slices(_within(box, whole))] = crop > 0
    upload = UploadedMask(voxels, whole, value=1.0)
    return correct(objects, grid, upload, base=base, neighbours=neighbours)


def store_neighbours(
    objects: ObjectStore, correction: Correction, transfer: Sequence[str]
) -> dict[str, LinkedMask]:
    """Store what is left of the neighbours that give up shared voxels; the label is stored already.

    Args:
        objects: Where the masks go.
        correction: What was worked out.
        transfer: The neighbours.
    """
    return {
        overlap.structure: LinkedMask(put_mask(objects, overlap.rest), overlap.base_version)
        for overlap in correction.overlaps
        if overlap.structure in transfer
    }


def _around(first: Box, second: Box) -> Box:
    """Return the smallest box that holds both."""
    i, j, k = ((min(a, c), max(b, d)) for (a, b), (c, d) in zip(first, second, strict=True))
    return (i, j, k)


def _within(box: Box, whole: Box) -> Box:
    """Return a box as it lies in another one that holds it."""
    i, j, k = (
        (start - low, stop - low) for (start, stop), (low, _) in zip(box, whole, strict=True)
    )
    return (i, j, k)
