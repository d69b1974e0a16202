"""The case page: one CT, all its structures, and a verdict on each."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import streamlit as st

from configs.errors import AtlasLoopError
from configs.taxonomy import load_taxonomy
from review_app.approval_panel import show_approval
from review_app.case_actions import give, move_on, open_again, renew, select
from review_app.case_scene import region_of, scene_key, scene_of
from review_app.correction_panel import show_correction
from review_app.edit_conflict import show_conflict, stale_draft
from review_app.editor_panel import has_editor, is_built, is_editing, show_editor, show_pending
from review_app.findings_panel import show_findings
from review_app.item_words import counted_voxels, until_words
from review_app.protocol_panel import show_protocol
from review_app.session import Answer, Desk, Display, KeptCase, go_to, seat, tags_key, utc_now
from review_app.style import swatch, swatches
from review_app.unsaved_panel import show_unsaved
from review_app.view_models import (
    TAG_WORDS,
    StructureLine,
    held_words,
    next_line,
    structure_lines,
    to_claim,
    with_claims,
)
from review_app.viewer import show_slices
from storage.claims import claim_items
from storage.drafts import Draft
from storage.review_case import ReviewCase, read_case
from storage.verdicts import VerdictKind

_VERDICTS: tuple[tuple[VerdictKind, str, str], ...] = (
    ("accept", "Accept", "The mask is right as it is."),
    ("correct", "Correct", "Edit it here, or in Slicer or ITK-SNAP and upload the mask."),
    ("absent", "Absent", "The structure is not in this CT; the mask is emptied."),
    ("reject", "Reject", "Unusable and not corrected: it trains nothing."),
    ("defer", "Unsure", "Leave it to another reader."),
)


def show_case(here: Desk) -> None:
    """Draw the page; one read of the database, and the claim when the case is opened."""
    case_id = st.query_params.get("case", "")
    if not case_id:
        st.info("Choose an item on the queue page.")
        return
    case = _opened(here, _case(here, case_id))
    lines = structure_lines(case, load_taxonomy())
    if not lines:
        st.info("Nothing of this CT is to be judged here.")
        return
    line = _chosen(case_id, lines)
    item = (case_id, line.structure)
    display = seat().display(item, line.base_version, idle_s=here.settings.idle_s)
    is_current = display.base_version == line.base_version
    is_wide = is_editing(here) and is_built() and line.can_judge
    late = _late_draft(here, case, line) if is_wide and is_current else None
    in_editor = is_current and late is None and has_editor(here, line)
    pictures, panel = st.columns([9.2, 2.8] if is_wide else [7.6, 4.4], gap="medium")
    with panel:
        _panel(here, case, lines, line, display, in_editor=in_editor)
    with pictures:
        if is_wide and is_current:
            _correcting(here, case, line, lines, late)
        else:
            _pictures(here, case, line)


def _case(here: Desk, case_id: str) -> ReviewCase:
    """Return the case as it stands; read again only when something was written, or a claim ended.

    A read waits for the index, which one process at a time can open, and is what a rerun takes
    longest for.
    """
    stamp, now, kept = here.store.stamp(), utc_now(), seat().case
    if kept is not None and kept.stands(case_id, stamp, now):
        return kept.case
    case = read_case(here.store, case_id, reader=here.reader, now=now)
    seat().case = KeptCase(stamp, case)
    return case


def _opened(here: Desk, case: ReviewCase) -> ReviewCase:
    """Claim the case's open items the first time that this tab shows it."""
    case_id = case.case.case_id
    if seat().claimed == case_id:
        return case
    wanted = to_claim(structure_lines(case, load_taxonomy()))
    held = claim_items(
        here.store, case_id, wanted, reader=here.reader, now=utc_now(), lease=here.lease
    )
    seat().claimed = case_id
    return with_claims(case, held, reader=here.reader)


def _chosen(case_id: str, lines: Sequence[StructureLine]) -> StructureLine:
    """Return the structure that the reader chose, else the address's, else the first to judge."""
    key = f"structure-{case_id}"
    wanted = st.session_state.get(key) or st.query_params.get("structure")
    by_name = {line.structure: line for line in lines}
    if wanted not in by_name:
        wanted = (next_line(lines, None) or lines[0]).structure
    st.session_state[key] = wanted
    return by_name[wanted]


def _late_draft(here: Desk, case: ReviewCase, line: StructureLine) -> Draft | str | None:
    """Return a draft that came too late, or what is wrong with it in words."""
    try:
        return stale_draft(here, case, line.structure)
    except AtlasLoopError as error:
        return str(error)


def _correcting(
    here: Desk,
    case: ReviewCase,
    line: StructureLine,
    lines: Sequence[StructureLine],
    late: Draft | str | None,
) -> None:
    """Draw what the reader corrects in, or a draft that came too late."""
    if isinstance(late, str):
        st.error(late)
        return
    try:
        if late is not None:
            show_conflict(here, case, line, late)
        elif not show_editor(here, case, line, lines):
            _pictures(here, case, line)
    except AtlasLoopError as error:
        st.error(str(error))


def _pictures(here: Desk, case: ReviewCase, line: StructureLine) -> None:
    region = region_of(case, line.structure, margin_mm=here.settings.region_margin_mm)
    try:
        scene = scene_of(here.store, case, line, region_ras=region)
    except AtlasLoopError as error:
        st.error(str(error))
        return
    show_slices(scene, here.settings.keys, partial(renew, here, case))


def _panel(
    here: Desk,
    case: ReviewCase,
    lines: Sequence[StructureLine],
    line: StructureLine,
    display: Display,
    *,
    in_editor: bool,
) -> None:
    case_id = case.case.case_id
    spacing = " x ".join(f"{size:.2f}" for size in case.grid.ras_spacing_mm)
    st.html(
        f'<h2 class="item">{swatch(line.rgb)}{html.escape(line.display)}</h2>'
        f'<p class="soft">case <code>{html.escape(case_id)}</code>, {spacing} mm, '
        f"{html.escape(line.state)}{_yours(case.held_until.get(line.structure))}</p>"
        + (f'<p class="why"><b>Why:</b> {html.escape(line.reason)}</p>' if line.reason else "")
    )
    is_current = display.base_version == line.base_version
    show_findings(
        case,
        line,
        scene=scene_key(case_id, line.structure),
        can_jump=not (is_editing(here) and line.can_judge),
    )
    if not is_current:
        _stale(here, case_id, line)
    elif not line.can_judge:
        _unclaimed(here, case_id, line)
    show_approval(here, case, line)
    show_unsaved(here, case_id, line, lines)
    if in_editor:
        _beside_editor(here, case_id, lines, line)
    else:
        _verdicts(here, case_id, lines, line, can_judge=is_current and line.can_judge)
    show_protocol(here, case_id, line.structure)
    if is_editing(here) and line.can_judge:
        show_pending(here, case, line, lines)
    _structures(case_id, lines)
    if is_editing(here) and line.can_judge:
        show_correction(here, case, line, display, lines)
    _history(case, line)


def _yours(until: datetime | None) -> str:
    """Return until when the claim holds; set apart, since what stands before may be a verdict."""
    return "" if until is None else f", yours{until_words(until)}"


def _stale(here: Desk, case_id: str, line: StructureLine) -> None:
    st.warning(
        f"{line.display} was changed meanwhile ({line.state}). A verdict on what you saw before "
        "would be refused; look at the new version first."
    )
    st.button("Show the new version", key="reopen", on_click=open_again, args=(here, case_id, line))


def _unclaimed(here: Desk, case_id: str, line: StructureLine) -> None:
    st.info(held_words(line))
    if line.can_claim:
        st.button("Open to judge", key="reopen", on_click=open_again, args=(here, case_id, line))


@st.fragment
def _tags(here: Desk, item: tuple[str, str], *, can_judge: bool) -> None:
    """Draw the tags, which go with any verdict; a choice draws nothing else again."""
    seat().touch(utc_now(), idle_s=here.settings.idle_s)
    st.pills(
        "Tags",
        list(TAG_WORDS),
        selection_mode="multi",
        format_func=lambda tag: TAG_WORDS[tag],
        key=tags_key(item),
        disabled=not can_judge,
        wrap=True,
    )


def _verdicts(
    here: Desk,
    case_id: str,
    lines: Sequence[StructureLine],
    line: StructureLine,
    *,
    can_judge: bool,
) -> None:
    """Draw tags and verdicts; each button's key names the item, so that a late click hits nothing.

    A second press of a key while the page changes still carries the old item's button.
    """
    _tags(here, (case_id, line.structure), can_judge=can_judge)
    # One button leads: another where something waits to be settled, or a correction is being made.
    leads = not is_editing(here) and seat().unsaved is None
    suffix, item = f"{case_id}-{line.structure}", (here, case_id, line)
    key_of = here.settings.keys.model_dump()
    with st.container(horizontal=True, key="verdicts"):
        for kind, words, help_text in _VERDICTS:
            st.button(
                "Back to slices" if kind == "correct" and can_judge and is_editing(here) else words,
                key=f"{kind}-{suffix}",
                help=help_text,
                type="primary" if kind == "accept" and leads else "secondary",
                shortcut=key_of[kind],
                disabled=not can_judge,
                on_click=_toggle_correction if kind == "correct" else give,
                args=(here,) if kind == "correct" else (*item, Answer(kind=kind)),
                kwargs={} if kind == "correct" else {"lines": lines},
            )
        st.button(
            "Next",
            key=f"next-{suffix}",
            help="Go on without a verdict.",
            shortcut=key_of["next_item"],
            on_click=move_on,
            args=(here, case_id, lines, line),
        )


def _beside_editor(
    here: Desk, case_id: str, lines: Sequence[StructureLine], line: StructureLine
) -> None:
    """Draw tags and the ways out of the editor, which stay when it could not be loaded.

    The verdicts stand in it, beside the strokes that they are about; their keys are its own.
    """
    _tags(here, (case_id, line.structure), can_judge=True)
    with st.container(horizontal=True, key="verdicts"):
        st.button(
            "Back to slices",
            key=f"correct-{case_id}-{line.structure}",
            help="Leave the editor; your draft stays.",
            on_click=_toggle_correction,
            args=(here,),
        )
        st.button(
            "Next item",
            key=f"next-{case_id}-{line.structure}",
            help="Go on without a verdict; your draft stays.",
            on_click=move_on,
            args=(here, case_id, lines, line),
        )


def _toggle_correction(here: Desk) -> None:
    seat().correcting = not is_editing(here)


def _structures(case_id: str, lines: Sequence[StructureLine]) -> None:
    left = sum(line.is_waiting for line in lines)
    st.html(f'<p class="soft">Structures of this CT, {left} to judge</p>')
    with st.container(height=230, key="structures"):
        chosen = st.session_state[f"structure-{case_id}"]
        st.html(swatches({_choose_key(case_id, line): line.rgb for line in lines}))
        for line in lines:
            st.button(
                f"{line.display}: {line.state}",
                key=_choose_key(case_id, line),
                type="secondary" if line.structure == chosen else "tertiary",
                on_click=select,
                args=(case_id, line.structure),
            )


def _choose_key(case_id: str, line: StructureLine) -> str:
    return f"choose-{case_id}-{line.structure}"


def _history(case: ReviewCase, line: StructureLine) -> None:
    versions = [one for one in case.versions if one.structure == line.structure]
    with st.expander(f"Versions ({len(versions)})"):
        if not versions:
            st.html('<p class="soft">Only the committee\'s mask so far.</p>')
        for one in reversed(versions):
            what = "absent" if one.mask.object is None else counted_voxels(one.mask.voxels)
            linked = ", with a neighbour's correction" if one.linked else ""
            st.html(
                f'<p class="soft"><code>{html.escape(one.version_id)}</code> {what}, '
                f"{html.escape(one.source)}{linked}, {one.recorded_at:%Y-%m-%d %H:%M} UTC</p>"
            )
        if versions:
            st.button(
                "Compare versions",
                key="compare-versions",
                on_click=go_to,
                args=("versions",),
                kwargs={"case": case.case.case_id, "structure": line.structure},
            )
    st.button("Back to the queue", key="back", on_click=go_to, args=("queue",))
