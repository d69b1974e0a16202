"""A verdict beside strokes that are not saved: said once in words, and the reader chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from configs.errors import AtlasLoopError
from review_app.case_actions import give
from review_app.item_words import counted_voxels
from review_app.session import Desk, UnsavedStrokes, note_error, seat
from review_app.unsaved_strokes import unsaved_voxels
from review_app.view_models import StructureLine
from storage.verdicts import VerdictKind

_VERBS: Mapping[VerdictKind, str] = {
    "accept": "Accept",
    "correct": "Record",
    "absent": "Absent",
    "reject": "Reject",
    "defer": "Unsure",
}


def show_unsaved(
    here: Desk, case_id: str, line: StructureLine, lines: Sequence[StructureLine]
) -> None:
    """Draw the question, where the last verdict on this item would have dropped a drawing."""
    unsaved = seat().unsaved
    if unsaved is None or unsaved.item != (case_id, line.structure):
        return
    drop = partial(_drop, here, case_id, line, unsaved, lines)
    ask_to_drop(line.display, unsaved, back=_go_back, drop=drop)


def ask_to_drop(
    display: str, unsaved: UnsavedStrokes, *, back: Callable[[], None], drop: Callable[[], None]
) -> None:
    """Draw the question with the way back to the drawing, and the one that drops it."""
    verdict = _VERBS[unsaved.answer.kind]
    with st.container(border=True, key="unsaved"):
        st.warning(_question(display, verdict, unsaved.voxels))
        with st.container(horizontal=True):
            st.button("Back to my drawing", key="unsaved-back", type="primary", on_click=back)
            st.button(f"{verdict}, drop my drawing", key="unsaved-drop", on_click=drop)


def _question(display: str, verdict: str, voxels: int | None) -> str:
    if voxels is None:
        return f"Your drawing of {display} could not be read. No verdict was written."
    return (
        f"You drew in {display} and did not save it: “{verdict}” would drop "
        f"{counted_voxels(voxels)} of yours. No verdict was written."
    )


def _go_back() -> None:
    seat().unsaved = None
    seat().correcting = True


def _drop(
    here: Desk,
    case_id: str,
    line: StructureLine,
    unsaved: UnsavedStrokes,
    lines: Sequence[StructureLine],
) -> None:
    """Give the verdict, unless more was drawn since the question was asked."""
    seat().unsaved = None
    answer = unsaved.answer
    try:
        voxels = unsaved_voxels(here, *unsaved.item, kind=answer.kind, mask=answer.mask)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    if (voxels or 0) > (unsaved.voxels or 0):
        seat().unsaved = replace(unsaved, voxels=voxels)
        return
    give(here, case_id, line, replace(answer, drops_drawing=True), lines=lines)
