"""What may be wrong with a correction, in words: parts outside of the organ, the wrong side."""

from __future__ import annotations

import numpy as np

from configs.taxonomy import Structure, load_taxonomy
from model.midline import Midline, body_midline
from review_app.case_images import regions_of
from storage.edited_mask import EditedMask, label_box, label_in, part_in
from storage.objects import ObjectStore
from storage.review_case import ReviewCase
from storage.store import Store


def correction_findings(
    store: Store, case: ReviewCase, structure: str, after: EditedMask
) -> tuple[str, ...]:
    """Return warnings on a new mask; none of them forbids it.

    Args:
        store: The workspace.
        case: The case as it stands.
        structure: What was corrected.
        after: The whole new mask; there is none of it outside of its box.

    Raises:
        CaseError: The CT is gone or damaged, and its midline is wanted.
        StorageError: A mask is missing or damaged.
    """
    one = load_taxonomy()[structure]
    found = [*_outside_parents(store.objects, case, one, after)]
    found += _children_left_out(store.objects, case, one, after)
    if one.side is not None:
        found += _wrong_side(store, case, one, after)
    return tuple(found)


def _outside_parents(
    objects: ObjectStore, case: ReviewCase, one: Structure, after: EditedMask
) -> list[str]:
    """Return a warning where no parent holds some of the mask; without a parent's mask none."""
    parents = [name for name in one.parents if name in case.bases]
    labels = [case.bases[name][1] for name in parents]
    if not any(label.object for label in labels):
        return []
    inside = np.zeros_like(after.mask_ras)
    for label in labels:
        inside |= label_in(objects, label, case.grid, after.box_ras)
    outside = int(np.count_nonzero(after.mask_ras & ~inside))
    words = " and ".join(load_taxonomy()[name].display for name in parents)
    return [f"{outside:,} voxels lie outside of {words}."] if outside else []


def _children_left_out(
    objects: ObjectStore, case: ReviewCase, one: Structure, after: EditedMask
) -> list[str]:
    found: list[str] = []
    taxonomy = load_taxonomy()
    for name in taxonomy.children(one.name):
        label = case.bases[name][1] if name in case.bases else None
        box = None if label is None else label_box(label, case.grid)
        # A lesion of two organs may lie in the other one.
        if label is None or box is None or len(taxonomy[name].parents) > 1:
            continue
        child = label_in(objects, label, case.grid, box)
        outside = int(np.count_nonzero(child & ~part_in(after, box)))
        if outside:
            found.append(f"{outside:,} voxels of {taxonomy[name].display} are not in it any more.")
    return found


def _wrong_side(store: Store, case: ReviewCase, one: Structure, after: EditedMask) -> list[str]:
    wrong = "right" if one.side == "left" else "left"
    midline = _midline(store, case)
    beyond = midline.beyond(after.mask_ras, wrong, start=after.box_ras[0][0])
    voxels = int(np.count_nonzero(beyond))
    return [f"{voxels:,} voxels lie on the {wrong} side of the body."] if voxels else []


def _midline(store: Store, case: ReviewCase) -> Midline:
    """Return the midline in voxels of the CT, worked out on its overview."""
    overview = regions_of(store).blocks(case.case).overview()
    i, j, k = (
        size * step for size, step in zip(case.grid.ras_spacing_mm, overview.steps, strict=True)
    )
    coarse = body_midline(overview.hu_ras, (i, j, k))
    step, first = overview.steps[0], overview.first[0]
    return Midline(coarse.low * step + first - step, coarse.high * step + first + step)
