"""A corrected mask: what it changes, and what it takes from the neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.errors import UsageError
from storage.edited_mask import (
    EditedMask,
    common_box,
    hull,
    inside,
    label_box,
    label_in,
    part_in,
)
from storage.grid import Box, Grid, box_slices
from storage.labels import ABSENT, LabelMask
from storage.masks import EncodedMask, decode_crop, encode_mask
from storage.objects import ObjectStore
from storage.predictions import flat_box, nested_box
from storage.uploaded_mask import UploadedMask
from storage.verdicts import LinkedMask

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxels that a correction and an exclusive neighbour both claim.

    Attributes:
        base_version: The neighbour's version that was compared with.
        rest: The neighbour without these voxels, ready to be stored.
    """

    structure: str
    voxels: int
    base_version: str
    rest: EncodedMask


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A checked correction; nothing of it is stored yet.

    Attributes:
        encoded: The whole new mask.
        after: The same as voxels; there is none of it outside of the box.
        voxels_changed: Voxels that differ from the base.
        overlaps: Exclusive neighbours that claim some of its voxels, the most first.
        reaches_border: The mask touches a side of the sent region that is not the CT's own, so it
            may have been cut off there.
    """

    encoded: EncodedMask
    after: EditedMask
    voxels_changed: int
    overlaps: tuple[Overlap, ...]
    reaches_border: bool


def correct(
    objects: ObjectStore,
    grid: Grid,
    upload: UploadedMask,
    *,
    base: LabelMask,
    neighbours: Mapping[str, tuple[str, LabelMask]],
) -> Correction:
    """Work out what an uploaded mask makes of its base; writes nothing.

    Memory: a few bytes a voxel of the box that holds the upload and the base, whatever the CT's.

    Args:
        objects: Where the masks lie.
        grid: The CT's grid.
        upload: The checked upload.
        base: The mask that the correction is made from.
        neighbours: Exclusive neighbour -> its version id and mask.

    Raises:
        UsageError: The mask is empty, or equal to its base.
        StorageError: A stored mask is missing or damaged.
    """
    own = label_box(base, grid)
    box = upload.box_ras if own is None else hull([upload.box_ras, own])
    before = label_in(objects, base, grid, box)
    after = before.copy()
    after[inside(upload.box_ras, box)] = upload.mask_ras
    if not after.any():
        raise UsageError(
            "a correction needs at least one voxel, the uploaded mask is empty; choose `absent` "
            "when the structure is not there"
        )
    changed = int(np.count_nonzero(before != after))
    if changed == 0:
        raise UsageError(
            "a correction changes something, the uploaded mask equals the present one; choose "
            "`accept` when it is right as it is"
        )
    return Correction(
        encoded=encode_mask(after, box, grid),
        after=EditedMask(after, box),
        voxels_changed=changed,
        overlaps=_overlaps(objects, grid, EditedMask(after, box), neighbours),
        reaches_border=_reaches_border(upload, grid),
    )


def store_correction(
    objects: ObjectStore, correction: Correction, *, transfer: Sequence[str]
) -> tuple[LabelMask, dict[str, LinkedMask]]:
    """Store the masks and return what the verdict carries.

    Args:
        objects: Where the masks go.
        correction: What was worked out.
        transfer: Neighbours that give up the shared voxels.
    """
    linked = {
        overlap.structure: LinkedMask(put_mask(objects, overlap.rest), overlap.base_version)
        for overlap in correction.overlaps
        if overlap.structure in transfer
    }
    return put_mask(objects, correction.encoded), linked


def put_mask(objects: ObjectStore, encoded: EncodedMask) -> LabelMask:
    """Store a packed mask and return the label that names it."""
    if encoded.data is None or encoded.box is None:
        return ABSENT
    return LabelMask(objects.put(encoded.data), flat_box(encoded.box), encoded.voxels)


def stored_mask(objects: ObjectStore, label: LabelMask, grid: Grid) -> Mask:
    """Return a stored mask on the whole CT, RAS order; all False when the structure is absent."""
    full = np.zeros(grid.ras_shape, np.bool_)
    if label.object is not None and label.box is not None:
        box = nested_box(label.box)
        full[box_slices(grid.box_to_ras(box))] = (
            decode_crop(objects.read(label.object), box, grid) > 0
        )
    return full


def whole_box(grid: Grid) -> Box:
    """Return the box of the whole CT along R, A, S."""
    i, j, k = grid.ras_shape
    return ((0, i), (0, j), (0, k))


def _overlaps(
    objects: ObjectStore,
    grid: Grid,
    after: EditedMask,
    neighbours: Mapping[str, tuple[str, LabelMask]],
) -> tuple[Overlap, ...]:
    found = []
    for structure, (base_version, label) in neighbours.items():
        box = label_box(label, grid)
        if box is None or common_box(box, after.box_ras) is None:
            continue
        theirs, taken = label_in(objects, label, grid, box), part_in(after, box)
        shared = int(np.count_nonzero(theirs & taken))
        if shared:
            rest = encode_mask(theirs & ~taken, box, grid)
            found.append(Overlap(structure, shared, base_version, rest))
    return tuple(sorted(found, key=lambda overlap: (-overlap.voxels, overlap.structure)))


def _reaches_border(upload: UploadedMask, grid: Grid) -> bool:
    """Whether the mask touches a side of its box that lies inside the CT."""
    mask = upload.mask_ras
    for axis, ((start, stop), length) in enumerate(
        zip(upload.box_ras, grid.ras_shape, strict=True)
    ):
        low, high = np.take(mask, 0, axis=axis), np.take(mask, -1, axis=axis)
        if (start > 0 and low.any()) or (stop < length and high.any()):
            return True
    return False
