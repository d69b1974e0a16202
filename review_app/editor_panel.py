"""The editor in the place of the pictures: opens documents, and takes up what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from configs.errors import AtlasLoopError, UsageError
from review_app.browser_session import COOKIE, well_formed
from review_app.case_actions import give, move_on
from review_app.correction_findings import correction_findings
from review_app.correction_panel import offer_correction, record_correction
from review_app.edit_document import EditDocument
from review_app.edit_item import first_part, item_of, regions_to_edit
from review_app.mask_editor import component
from review_app.open_documents import DOCUMENTS
from review_app.prefetch import prefetch_after
from review_app.session import Answer, Desk, PendingSave, note_error, seat
from review_app.view_models import StructureLine
from storage.corrections import Correction, correct
from storage.drafts import Drafts
from storage.grid import Box
from storage.review_case import ReviewCase
from storage.uploaded_mask import UploadedMask
from storage.verdicts import VerdictKind

WIDER_MM = 20.0
_VERDICTS: Mapping[str, VerdictKind] = {
    "accept": "accept",
    "absent": "absent",
    "reject": "reject",
    "unsure": "defer",
}


def is_built() -> bool:
    """Whether the editor's page part is there."""
    return Path(component.__file__).with_name("build.json").is_file()


def is_editing(here: Desk) -> bool:
    """Whether the reader corrects, by his own word or else by the setting."""
    chosen = seat().correcting
    return here.settings.open_in == "editor" and is_built() if chosen is None else chosen


def has_editor(here: Desk, line: StructureLine) -> bool:
    """Whether the editor stands in the place of the pictures, and gives the verdicts."""
    return is_editing(here) and is_built() and line.can_judge and browser_session() is not None


def show_editor(
    here: Desk, case: ReviewCase, line: StructureLine, lines: Sequence[StructureLine]
) -> bool:
    """Draw the editor on the item, and do what its reader asked for since the last run.

    Returns:
        Whether the editor was drawn; without the browser's cookie only words are.

    Raises:
        CaseError: The CT is gone or damaged.
        StorageError: A mask or draft is damaged.
    """
    browser = browser_session()
    if browser is None:
        st.warning(
            "The editor needs the page's session cookie, and this browser sent none: allow cookies "
            "for this address and reload the page. Correcting in another program goes on."
        )
        return False
    document = _document(here, case, line, browser)
    event = component.mask_editor(document.url, mode="edit")
    if seat().looks_past(case.case.case_id):
        prefetch_after(here, case.case.case_id)
    if event.save is not None and seat().hears(f"save {receipt_of(event.save)}"):
        _saved(here, case, lines, browser, event.save)
        st.rerun()
    if event.act is not None and seat().hears(f"act {event.act.get('nonce')}"):
        _acted(here, case, lines, browser, event.act)
        st.rerun()
    return True


def show_pending(
    here: Desk, case: ReviewCase, line: StructureLine, lines: Sequence[StructureLine]
) -> None:
    """Draw what the last save touches beside its own structure, to be recorded in one click."""
    pending = seat().pending
    if pending is None or pending.item != (case.case.case_id, line.structure):
        return
    with st.container(border=True, key="pending"):
        st.html('<p class="why"><b>Saved, not recorded yet</b></p>')
        if pending.base_version != line.base_version:
            st.warning(f"{line.display} was changed meanwhile; this save would be refused.")
        for words in pending.findings:
            st.warning(words)
        offer_correction(here, case, line, pending.correction, lines=lines)


def browser_session() -> str | None:
    """Return the session of the browser that shows this page; None without its cookie."""
    return well_formed(st.context.cookies.get(COOKIE))


def chosen_part(parts: Sequence[Box], first: int, *, key: str) -> Box:
    """Return the part that the reader chose; draws the choice where there are several.

    Args:
        parts: The parts of the region.
        first: Number of the one to begin with.
        key: Names the item and its region.
    """
    if len(parts) == 1:
        return parts[0]
    number = st.selectbox(
        "Part of the region",
        range(len(parts)),
        index=first,
        format_func=lambda part: f"Part {part + 1} of {len(parts)}; what you draw stays",
        key=f"part-{key}",
        label_visibility="collapsed",
        width=320,
    )
    return parts[number]


def receipt_of(told: Mapping[str, object]) -> str:
    """Return the receipt, which the page hands on alone or with the rest of its answer."""
    receipt = told.get("receipt")
    return str(receipt.get("receipt") if isinstance(receipt, Mapping) else receipt)


def _document(here: Desk, case: ReviewCase, line: StructureLine, browser: str) -> EditDocument:
    """Return the document of the chosen part; draws the choice where there are several."""
    key = (case.case.case_id, line.structure)
    item = item_of(case, line, blind=line.is_blind)
    wider_mm = seat().wider_mm.get(key, 0.0)
    parts = regions_to_edit(
        case,
        line.structure,
        margin_mm=here.settings.region_margin_mm,
        wider_mm=wider_mm,
        most_side=here.settings.region_side,
    )
    part = chosen_part(parts, first_part(parts, item), key=f"{'-'.join(key)}-{wider_mm:g}")
    return DOCUMENTS.offer(here, item, browser=browser, tab=seat().tab, region_ras=part)


def _saved(
    here: Desk,
    case: ReviewCase,
    lines: Sequence[StructureLine],
    browser: str,
    told: Mapping[str, object],
) -> None:
    """Work out what a kept mask changes; record it, or ask first where it touches others."""
    try:
        document = _told_of(case, browser, told)
        correction = _correction(here, document, receipt_of(told))
        line = _line_of(lines, document)
        findings = correction_findings(here.store, case, line.structure, correction.after)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    chosen = told.get("transfer")
    layers = {str(one) for one in chosen} if isinstance(chosen, list) else set()
    transfer = [
        one.structure
        for one in correction.overlaps
        if _neighbour(one.structure) in layers and one.structure not in case.waiting_blind
    ]
    if len(transfer) < len(correction.overlaps) or findings or correction.reaches_border:
        item = (case.case.case_id, line.structure)
        seat().pending = PendingSave(item, document.item.base_version, correction, findings)
        return
    record_correction(here, case.case.case_id, line, correction, transfer=transfer, lines=lines)


def _acted(
    here: Desk,
    case: ReviewCase,
    lines: Sequence[StructureLine],
    browser: str,
    told: Mapping[str, object],
) -> None:
    """Give the verdict, or take the step, that the reader chose in the editor."""
    action = str(told.get("action"))
    case_id = case.case.case_id
    if action == "leave":
        seat().correcting = False
        return
    try:
        line = _line_of(lines, _told_of(case, browser, told))
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    if action == "widen":
        key = (case_id, line.structure)
        seat().wider_mm[key] = seat().wider_mm.get(key, 0.0) + WIDER_MM
    elif action == "next":
        move_on(here, case_id, lines, line)
    elif action in _VERDICTS:
        drops = told.get("dropping") is True
        answer = Answer(kind=_VERDICTS[action], drops_drawing=drops)
        give(here, case_id, line, answer, lines=lines)
    else:
        note_error(f"the editor asked for {action[:40]!r}, which this page does not know")


def _told_of(case: ReviewCase, browser: str, told: Mapping[str, object]) -> EditDocument:
    document = DOCUMENTS.of_tab(str(told.get("document")), browser=browser, tab=seat().tab)
    if document is None or document.item.case.case_id != case.case.case_id:
        raise UsageError("the editor tells of an item that is not open here; open it again")
    return document


def _line_of(lines: Sequence[StructureLine], document: EditDocument) -> StructureLine:
    for line in lines:
        if line.structure == document.item.structure:
            return line
    raise UsageError(f"{document.item.display} is not to be judged here")


def _correction(here: Desk, document: EditDocument, receipt: str) -> Correction:
    drafts = Drafts(here.store.workspace.drafts_path)
    kept = drafts.candidate(document.draft_key, receipt)
    if kept is None:
        raise UsageError("no mask was kept under this receipt; save again")
    display = seat().displays.get((document.item.case.case_id, document.item.structure))
    if display is None or display.base_version != document.item.base_version:
        raise UsageError(f"{document.item.display} was opened anew since; save again")
    return correct(
        here.store.objects,
        document.item.grid,
        UploadedMask(kept.edited.mask_ras, kept.edited.box_ras, 1.0),
        base=document.item.base,
        neighbours=document.item.neighbours,
    )


def _neighbour(structure: str) -> str:
    return f"neighbour-{structure}"
