"""What a reader drew and did not save: a verdict must not drop it unasked."""

from __future__ import annotations

import numpy as np

from review_app.session import Desk, utc_now
from storage.drafts import Draft, Drafts
from storage.edited_mask import label_in
from storage.labels import ABSENT, LabelMask
from storage.review_case import ReviewCase, read_case
from storage.verdicts import VerdictKind


def unsaved_voxels(
    here: Desk, case_id: str, structure: str, *, kind: VerdictKind, mask: LabelMask | None
) -> int:
    """Return how many voxels of a reader's drafts of an item are not what a verdict leaves.

    Args:
        here: Whose drafts.
        case_id: The case.
        structure: The structure.
        kind: The verdict.
        mask: The label that it makes; None where it makes none of its own.

    Raises:
        StorageError: A draft or a stored mask is damaged.
    """
    drafts = Drafts(here.store.workspace.drafts_path).of_item(
        reader=here.reader, case_id=case_id, structure=structure
    )
    if not drafts:
        return 0
    case = read_case(here.store, case_id, reader=here.reader, now=utc_now())
    left = ABSENT if kind == "absent" else mask or case.bases[structure][1]
    return max(_differing(here, case, draft, left) for draft in drafts)


def _differing(here: Desk, case: ReviewCase, draft: Draft, left: LabelMask) -> int:
    edited = draft.edited
    there = label_in(here.store.objects, left, case.grid, edited.box_ras)
    return int(np.count_nonzero(edited.mask_ras != there))
