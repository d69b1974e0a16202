"""What a reader drew and did not save: a verdict must not drop it unasked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from configs.errors import StorageError, UsageError
from review_app.session import Desk, note_error, utc_now
from storage.drafts import Draft, Drafts
from storage.edited_mask import label_in
from storage.grid import Grid
from storage.labels import ABSENT, LabelMask
from storage.review_case import ReviewCase, read_case
from storage.verdicts import VerdictKind


def unsaved_voxels(
    here: Desk, case_id: str, structure: str, *, kind: VerdictKind, mask: LabelMask | None
) -> int | None:
    """Return how many voxels of a reader's drafts of an item are not what a verdict leaves.

    Args:
        here: Whose drafts.
        case_id: The case.
        structure: The structure.
        kind: The verdict.
        mask: The label that it makes; None where it makes none of its own.

    Returns:
        None where a draft is there and cannot be read.

    Raises:
        StorageError: The stored mask is damaged, or the workspace cannot be read now.
        UsageError: The item is not to be judged here any more.
    """
    drafts = _drafts(here, case_id, structure)
    if not drafts:
        return drafts if drafts is None else 0
    case = read_case(here.store, case_id, reader=here.reader, now=utc_now())
    if structure not in case.bases:
        raise UsageError(f"{structure} of {case_id} is not to be judged here; your drawing stays")
    left = ABSENT if kind == "absent" else mask or case.bases[structure][1]
    return max(_dropped_of(here, case, draft, left) for draft in drafts)


def unsaved_reading(
    here: Desk, item: tuple[str, str], grid: Grid, mask: LabelMask | None
) -> int | None:
    """Return how many voxels of a reader's drawing are not in the reading that is given.

    Args:
        here: Whose drawing.
        item: What a tab remembers the reading by.
        grid: The CT's.
        mask: The reading; None of a structure that is absent.

    Returns:
        None where the drawing cannot be read.

    Raises:
        StorageError: The mask is damaged.
    """
    drafts = _drafts(here, *item)
    if drafts is None:
        return None
    return max(
        (_count(differing(here, draft, grid, mask or ABSENT)) for draft in drafts), default=0
    )


def _drafts(here: Desk, case_id: str, structure: str) -> list[Draft] | None:
    """Return the reader's drafts of an item; None where one cannot be read."""
    drafts = Drafts(here.store.workspace.drafts_path)
    try:
        return drafts.of_item(reader=here.reader, case_id=case_id, structure=structure)
    except StorageError as error:
        # The question that follows leaves the file where it is.
        note_error(f"Nothing was written: {error}")
        return None


def _dropped_of(here: Desk, case: ReviewCase, draft: Draft, left: LabelMask) -> int:
    """Return how many voxels of a draft are not in what a verdict leaves.

    In a draft from an older version, what others changed since is no stroke of this reader's.
    """
    dropped = differing(here, draft, case.grid, left)
    key = draft.key
    if key.base_version != case.bases[key.structure][0]:
        before = case.mask_of_version(key.structure, key.base_version)
        if before is not None:
            dropped &= differing(here, draft, case.grid, before)
    return _count(dropped)


def differing(here: Desk, draft: Draft, grid: Grid, label: LabelMask) -> npt.NDArray[np.bool_]:
    """Return which voxels of a draft's box are not as in a label.

    Raises:
        StorageError: The stored mask is damaged.
    """
    edited = draft.edited
    return edited.mask_ras != label_in(here.store.objects, label, grid, edited.box_ras)


def _count(voxels: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(voxels))
