"""A draft whose version is no longer the newest: both are shown, and the reader chooses."""

from __future__ import annotations

import streamlit as st

from configs.errors import AtlasLoopError
from review_app.case_images import ct_of
from review_app.case_scene import region_of
from review_app.session import Desk, note_error, note_success, seat, utc_now
from review_app.slice_picture import Contour, MaskCrop, best_cursor
from review_app.unsaved_strokes import differing
from review_app.view_models import StructureLine
from review_app.viewer import Layer, Scene, show_slices
from storage.drafts import Draft, DraftKey, Drafts
from storage.edited_mask import EditedMask, hull, label_box, label_in, moved_to
from storage.labels import LabelMask
from storage.review_case import ReviewCase

_DRAFT_RGB, _NEWEST_RGB, _BEFORE_RGB = (255, 196, 0), (0, 200, 255), (170, 170, 170)


def stale_draft(here: Desk, case: ReviewCase, structure: str) -> Draft | None:
    """Return the reader's newest draft of a structure from a version that is not the newest.

    Raises:
        StorageError: A draft is damaged.
    """
    newest = case.bases[structure][0]
    drafts = _drafts(here).of_item(
        reader=here.reader, case_id=case.case.case_id, structure=structure
    )
    stale = (draft for draft in drafts if draft.key.base_version != newest)
    return next((draft for draft in stale if _is_work(here, case, draft)), None)


def _is_work(here: Desk, case: ReviewCase, draft: Draft) -> bool:
    """Whether a draft changes what it was made from; one that was taken back does not."""
    before = case.mask_of_version(draft.key.structure, draft.key.base_version)
    return before is None or bool(differing(here, draft, case.grid, before).any())


def show_conflict(here: Desk, case: ReviewCase, line: StructureLine, draft: Draft) -> None:
    """Draw both versions, and what can be done with the draft."""
    st.warning(
        f"{line.display} was changed meanwhile ({line.state}), and you have a draft of "
        f"{draft.saved_at:%Y-%m-%d %H:%M} UTC that was made from the version before. It is kept "
        "until you choose."
    )
    old = case.mask_of_version(line.structure, draft.key.base_version)
    with st.container(horizontal=True, key="conflict"):
        if old is not None:
            st.button(
                "Put my changes on the newest version",
                key="conflict-move",
                type="primary" if seat().unsaved is None else "secondary",
                help="Voxels that you changed become yours; all others stay as in the newest.",
                on_click=_move,
                args=(here, case, line, draft, old),
            )
        st.button(
            "Go on from my draft as it is",
            key="conflict-take",
            help="Inside the region that you drew in, your draft stands in place of the newest.",
            on_click=_take,
            args=(here, case, line, draft.edited, draft),
        )
        st.button(
            "Drop my draft",
            key="conflict-drop",
            on_click=_drop,
            args=(here, line, draft),
        )
    region = region_of(case, line.structure, margin_mm=here.settings.region_margin_mm)
    region = hull([region, draft.edited.box_ras])
    newest = MaskCrop(
        label_in(here.store.objects, case.bases[line.structure][1], case.grid, region).view("u1"),
        region,
    )
    mine = MaskCrop(draft.edited.mask_ras.view("u1"), draft.edited.box_ras)
    layers = [
        Layer("", [("your draft", Contour(mine, _DRAFT_RGB, 2))]),
        Layer("Newest", [("newest version", Contour(newest, _NEWEST_RGB, 2))]),
    ]
    if old is not None:
        before = label_in(here.store.objects, old, case.grid, region).view("u1")
        contour = Contour(MaskCrop(before, region), _BEFORE_RGB)
        layers.append(Layer("Before", [("what both were made from", contour)]))
    try:
        image = ct_of(here.store, case.case)
    except AtlasLoopError as error:
        st.error(str(error))
        return
    scene = Scene(
        key=f"{case.case.case_id}-{line.structure}-conflict",
        image=image,
        start=best_cursor([mine, newest], case.grid.ras_shape),
        region_ras=region,
        layers=layers,
    )
    show_slices(scene, here.settings.keys, lambda: None)


def _move(here: Desk, case: ReviewCase, line: StructureLine, draft: Draft, old: LabelMask) -> None:
    def of(label: LabelMask) -> EditedMask:
        box = label_box(label, case.grid) or draft.edited.box_ras
        return EditedMask(label_in(here.store.objects, label, case.grid, box), box)

    newest = case.bases[line.structure][1]
    moved = moved_to(draft.edited, old_base=of(old), new_base=of(newest))
    _take(here, case, line, moved, draft)


def _take(
    here: Desk, case: ReviewCase, line: StructureLine, edited: EditedMask, draft: Draft
) -> None:
    """Make an edit the draft of the newest version; the old draft goes only after it is kept."""
    key = DraftKey(here.reader, case.case.case_id, line.structure, case.bases[line.structure][0])
    try:
        _drafts(here).put(key, edited, now=utc_now())
    except AtlasLoopError as error:
        note_error(str(error))
        return
    _drafts(here).drop(draft.key)
    seat().forget((case.case.case_id, line.structure))
    seat().correcting = True
    note_success("Your draft goes on from the newest version; look at it, then save.")


def _drop(here: Desk, line: StructureLine, draft: Draft) -> None:
    _drafts(here).drop(draft.key)
    note_success(f"Your draft of {line.display} is gone.")


def _drafts(here: Desk) -> Drafts:
    return Drafts(here.store.workspace.drafts_path)
