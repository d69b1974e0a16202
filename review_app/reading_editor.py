"""An independent reading in the editor: an empty mask on the CT, drawn region by region."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import streamlit as st

from configs.errors import AtlasLoopError, UsageError
from review_app.edit_document import EditDocument, Item
from review_app.edit_reading import Voxel, reading_item, region_to_read
from review_app.edit_saving import is_cut_off
from review_app.editor_panel import (
    WIDER_MM,
    browser_session,
    chosen_part,
    is_built,
    receipt_of,
)
from review_app.mask_editor import component
from review_app.open_documents import DOCUMENTS
from review_app.prefetch import prefetch_case
from review_app.reading_actions import (
    checked_reading,
    drop_drawing,
    give_reading,
    go_on,
    next_case,
    reading_key,
    record_reading,
)
from review_app.session import Answer, Desk, PendingReading, note_error, note_success, seat
from review_app.unsaved_panel import ask_to_drop
from storage.cases import CaseRow
from storage.corrections import whole_box
from storage.drafts import Drafts
from storage.edit_region import part_with, parts_of
from storage.edited_mask import EditedMask
from storage.grid import Box, Grid
from storage.masks import encode_mask
from storage.open_readings import OpenReading, ReadingList
from storage.verdicts import VerdictKind

_VERDICTS: Mapping[str, VerdictKind] = {"absent": "absent", "unsure": "defer"}


def drawn_so_far(here: Desk, case: CaseRow, grid: Grid, reading: OpenReading) -> EditedMask | None:
    """Return the reader's own draft of a reading; None before the first stroke.

    Raises:
        StorageError: It is damaged.
    """
    key = reading_item(case, grid, reading).draft_key(here.reader)
    draft = Drafts(here.store.workspace.drafts_path).get(key)
    return None if draft is None else draft.edited


def region_of_reading(
    here: Desk, grid: Grid, reading: OpenReading, drawn: EditedMask | None
) -> Box | None:
    """Return the region that a reading is drawn in; None until its reader looks at a place.

    What was drawn is a place too, and it stays the one: a region that followed the strokes would
    open anew under the reader's hand.
    """
    key, most_side = reading_key(reading), here.settings.region_side
    if drawn is not None and max(grid.ras_shape) > most_side:
        seat().places.setdefault(key, _middle(drawn.box_ras))
    wider_mm = seat().wider_mm.get(key, 0.0)
    return region_to_read(grid, seat().places.get(key), wider_mm=wider_mm, most_side=most_side)


def wants_to_draw(here: Desk) -> bool:
    """Whether the reader draws here, by his own word or else by the setting."""
    chosen = seat().drawing
    return is_built() and (here.settings.open_in == "editor" if chosen is None else chosen)


def has_reading_editor(here: Desk) -> bool:
    """Whether a region to draw in comes with the editor, which then gives the verdicts too."""
    return wants_to_draw(here) and browser_session() is not None


def show_reading_editor(here: Desk, listed: ReadingList, item: Item, region: Box) -> bool:
    """Draw the editor on a reading, and do what its reader asked for since the last run.

    Returns:
        Whether the editor was drawn; without the browser's cookie only words are.

    Raises:
        CaseError: The CT is gone or damaged.
        StorageError: The draft is damaged.
    """
    browser, reading = browser_session(), item.reading
    if browser is None or reading is None:
        st.warning(
            "The editor needs the page's session cookie, and this browser sent none: allow cookies "
            "for this address and reload the page. Drawing in another program goes on."
        )
        return False
    parts = parts_of(region, most_side=here.settings.region_side)
    first = part_with(parts, item.place or _middle(region))
    part = chosen_part(parts, first, key=f"{'-'.join(reading_key(reading))}-{region}")
    document = DOCUMENTS.offer(here, item, browser=browser, tab=seat().tab, region_ras=part)
    event = component.mask_editor(document.url, mode="edit")
    following = next_case(listed, reading)
    if following is not None and seat().looks_past(f"reading {reading_key(reading)}"):
        prefetch_case(here, following)
    if event.save is not None and seat().hears(f"save {receipt_of(event.save)}"):
        _saved(here, listed, reading, browser, event.save)
        st.rerun()
    if event.act is not None and seat().hears(f"act {event.act.get('nonce')}"):
        _acted(here, listed, item, region, browser, event.act)
        st.rerun()
    return True


def show_pending_reading(here: Desk, listed: ReadingList, reading: OpenReading) -> None:
    """Draw what the last save left open: a mask that may have been cut off by its region."""
    pending = seat().pending_reading
    if pending is None or pending.item != reading_key(reading):
        return
    with st.container(border=True, key="pending"):
        st.html('<p class="why"><b>Saved, not recorded yet</b></p>')
        st.warning(
            "Your drawing ends at the border of the region, inside the CT: it may be cut off "
            "there. Widen the region in the editor and go on, or record it as it is."
        )
        st.button(
            "Record the reading as it is",
            key=f"record-cut-{reading.case_id}-{reading.structure}",
            type="primary",
            on_click=record_reading,
            args=(here, listed, reading, pending.encoded),
        )


def show_unsaved_reading(here: Desk, listed: ReadingList, item: Item) -> None:
    """Draw the question, where the last verdict on this reading would have dropped a drawing."""
    unsaved, reading = seat().unsaved, item.reading
    if reading is None or unsaved is None or unsaved.item != reading_key(reading):
        return
    drop = partial(drop_drawing, here, listed, reading, unsaved)
    ask_to_drop(item.display, unsaved, back=_go_back, drop=drop)


def _go_back() -> None:
    seat().unsaved = None
    seat().drawing = True


def _saved(
    here: Desk,
    listed: ReadingList,
    reading: OpenReading,
    browser: str,
    told: Mapping[str, object],
) -> None:
    """Make a reading of what was kept, or ask first where a region's border cuts it off."""
    try:
        document = _told_of(reading, browser, told)
        kept = Drafts(here.store.workspace.drafts_path).candidate(
            document.draft_key, receipt_of(told)
        )
        if kept is None:
            raise UsageError("no mask was kept under this receipt; save again")
        drawn, grid = kept.edited, document.item.grid
        encoded = checked_reading(encode_mask(drawn.mask_ras, drawn.box_ras, grid))
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    seat().pending_reading = None
    if is_cut_off(drawn, document.region_ras, grid.ras_shape):
        seat().pending_reading = PendingReading(reading_key(reading), encoded)
        return
    record_reading(here, listed, reading, encoded)


def _told_of(reading: OpenReading, browser: str, told: Mapping[str, object]) -> EditDocument:
    document = DOCUMENTS.of_tab(str(told.get("document")), browser=browser, tab=seat().tab)
    if document is None or document.item.reading != reading:
        raise UsageError("the editor tells of a reading that is not open here; open it again")
    return document


def _acted(
    here: Desk,
    listed: ReadingList,
    item: Item,
    region: Box,
    browser: str,
    told: Mapping[str, object],
) -> None:
    """Take the step that the reader chose in the editor, if it still shows this reading."""
    reading, action = item.reading, str(told.get("action"))
    if reading is None:
        raise UsageError(f"{item.display} is no reading; open it again")
    if action == "leave":
        seat().drawing = False
        return
    try:
        _told_of(reading, browser, told)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    key = reading_key(reading)
    if action == "widen" and region == whole_box(item.grid):
        note_success("The editor shows the whole CT already.")
    elif action == "widen":
        seat().wider_mm[key] = seat().wider_mm.get(key, 0.0) + WIDER_MM
        seat().pending_reading = None
    elif action == "next":
        go_on(listed, reading)
    elif action in _VERDICTS:
        answer = Answer(kind=_VERDICTS[action], drops_drawing=told.get("dropping") is True)
        give_reading(here, listed, reading, answer)
    else:
        note_error(f"a reading is drawn, absent or unsure; the editor asked for {action[:40]!r}")


def _middle(box: Box) -> Voxel:
    i, j, k = ((low + high) // 2 for low, high in box)
    return (i, j, k)
