"""What the plausibility rules found in a structure's label: words, and a way to the place."""

from __future__ import annotations

import html

import streamlit as st

from review_app.view_models import StructureLine, findings_on
from review_app.viewer import jump_to
from storage.review_case import ReviewCase

_WORDS = {"fault": "Implausible", "note": "Note"}


def show_findings(case: ReviewCase, line: StructureLine, *, scene: str, can_jump: bool) -> None:
    """Draw the findings on the committee's label; nothing once a reader changed it.

    Args:
        case: The case.
        line: The structure.
        scene: Key of the scene whose planes jump.
        can_jump: The pictures are shown; the editor steps through the places by itself.
    """
    for number, one in enumerate(findings_on(case, line.structure)):
        words = f'<p class="why"><b>{_WORDS[one.severity]}:</b> {html.escape(one.explanation)}</p>'
        if one.place is None or not can_jump:
            st.html(words)
            continue
        text, button = st.columns([0.8, 0.2], vertical_alignment="center")
        text.html(words)
        button.button(
            "Show",
            key=f"finding-{number}-{scene}",
            help="Turn the pictures to the place.",
            on_click=jump_to,
            args=(scene, case.grid.voxel_to_ras(one.place)),
        )
