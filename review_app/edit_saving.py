"""Keeping what was drawn: drafts while somebody draws, candidates for what shall be a version."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

import numpy as np
import numpy.typing as npt

from configs.errors import ConflictError
from review_app.edit_document import EditDocument
from review_app.open_documents import OpenDocument
from review_app.session import utc_now
from storage.claims import check_claim, renew_claim
from storage.drafts import Drafts
from storage.edited_mask import EditedMask, joined, part_in, trimmed
from storage.grid import Box
from storage.labels import base_of
from storage.open_readings import OpenReading, open_readings

Mask = npt.NDArray[np.bool_]


def keep_draft(entry: OpenDocument, mask: Mask) -> dict[str, object]:
    """Keep the region as it is drawn now, beside what was drawn in other parts of the CT.

    A draft is the reader's own, so it needs no claim: strokes are not lost because a lease was.

    Raises:
        StorageError: The disk is full or cannot be written to.
    """
    document, now = entry.document, utc_now()
    edited = _with_other_parts(document, mask)
    drafts, key = _drafts(document), document.draft_key
    if not document.is_changed_by(edited) and not drafts.has_candidate(key):
        # Nothing is left that could come too late, and nothing was saved that it takes back.
        drafts.clear(key)
    else:
        drafts.put(key, edited, now=now)
    _renew(entry, now)
    return {"saved_at": f"{now.isoformat()}Z"}


def drop_draft(entry: OpenDocument) -> dict[str, object]:
    """Forget what was drawn and not given as a verdict."""
    _drafts(entry.document).drop(entry.document.draft_key)
    return {"dropped": True}


def keep_candidate(entry: OpenDocument, mask: Mask) -> dict[str, object]:
    """Keep what is to become a correction; nothing of the label changes yet.

    Raises:
        ConflictError: The claim is lost, the version is not the newest any more, or the reading is
            not open any more.
        StorageError: The disk is full or cannot be written to.
    """
    document, now = entry.document, utc_now()
    _hold(entry, now)
    _check_still_ours(document, now)
    edited = _with_other_parts(document, mask)
    receipt = secrets.token_urlsafe(24)
    drafts = _drafts(document)
    # As a draft too: what was saved comes back when the tab dies before its verdict.
    drafts.put(document.draft_key, edited, now=now)
    drafts.put_candidate(document.draft_key, edited, receipt=receipt, now=now)
    before = part_in(document.base_mask(), edited.box_ras)
    return {
        "receipt": receipt,
        "sha256": hashlib.sha256(mask.tobytes(order="F")).hexdigest(),
        "voxels": int(np.count_nonzero(mask)),
        "voxels_changed": int(np.count_nonzero(before != edited.mask_ras)),
        "at_border": reaches_border(document, mask)
        if document.item.reading is None
        else is_cut_off(edited, document.region_ras, document.item.grid.ras_shape),
    }


def reaches_border(document: EditDocument, mask: Mask) -> bool:
    """Whether a mask touches a side of the region that lies inside the CT."""
    lengths = document.item.grid.ras_shape
    for axis, ((start, stop), length) in enumerate(zip(document.region_ras, lengths, strict=True)):
        low, high = np.take(mask, 0, axis=axis), np.take(mask, -1, axis=axis)
        if (start > 0 and low.any()) or (stop < length and high.any()):
            return True
    return False


def is_cut_off(drawn: EditedMask, region_ras: Box, shape: tuple[int, int, int]) -> bool:
    """Whether what was drawn from nothing ends at a side of a region that lies inside the CT.

    What goes on beyond that side, drawn in another region, is not cut off there.
    """
    for axis, ((start, stop), length) in enumerate(zip(region_ras, shape, strict=True)):
        for inner, outer, is_border in (
            (start, start - 1, start == 0),
            (stop - 1, stop, stop == length),
        ):
            if is_border or not part_in(drawn, _plane(region_ras, axis, inner)).any():
                continue
            if not part_in(drawn, _plane(region_ras, axis, outer)).any():
                return True
    return False


def _plane(box: Box, axis: int, at: int) -> Box:
    i, j, k = ((at, at + 1) if one == axis else extent for one, extent in enumerate(box))
    return (i, j, k)


def _check_still_ours(document: EditDocument, now: datetime) -> None:
    item, reader = document.item, document.here.reader
    if item.reading is not None:
        _check_still_open(document, item.reading)
        return
    case_id, structure = item.case.case_id, item.structure
    with document.here.store.read() as connection:
        check_claim(connection, case_id, structure, reader=reader, now=now)
        found = base_of(connection, case_id, structure)
    newest = None if found is None else found[0]
    if newest != item.base_version:
        raise ConflictError(
            f"{item.display} was changed meanwhile by another reader; your draft is kept, open the "
            "item again to see both"
        )


def _check_still_open(document: EditDocument, reading: OpenReading) -> None:
    with document.here.store.read() as connection:
        listed = open_readings(connection, reader=document.here.reader)
    if reading not in listed.readings:
        raise ConflictError(
            f"your reading of {document.item.display} is not open any more: it was given from "
            "another tab; reload the page to see what is still to be read"
        )


def _with_other_parts(document: EditDocument, mask: Mask) -> EditedMask:
    draft = _drafts(document).get(document.draft_key)
    under = None if draft is None else draft.edited
    edited = joined(under, EditedMask(mask, document.region_ras), base=document.base_mask())
    # A reading's regions may lie anywhere in the CT: the box that holds them all would be large.
    return edited if document.item.reading is None else trimmed(edited)


def _renew(entry: OpenDocument, now: datetime) -> None:
    """Prolong the claim while somebody draws, a few times a lease; a reading has none."""
    document = entry.document
    if document.item.reading is not None:
        return
    lease = document.here.lease
    if now - entry.renewed_at < lease / 4:
        return
    _hold(entry, now)


def _hold(entry: OpenDocument, now: datetime) -> None:
    """Prolong the claim; an expired one is taken up again where nobody touched the item since."""
    document = entry.document
    renew_claim(
        document.here.store,
        document.item.case.case_id,
        document.item.structure,
        reader=document.here.reader,
        now=now,
        lease=document.here.lease,
    )
    entry.renewed_at = now


def _drafts(document: EditDocument) -> Drafts:
    return Drafts(document.here.store.workspace.drafts_path)
