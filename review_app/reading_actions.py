"""What a reader does with an independent reading: chooses it, gives it, goes on to the next."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from configs.errors import AtlasLoopError, UsageError
from configs.taxonomy import load_taxonomy
from review_app.item_words import VERDICT_WORDS
from review_app.protocol_panel import shown_protocol
from review_app.session import (
    Answer,
    Desk,
    UnsavedStrokes,
    note_error,
    note_success,
    seat,
    utc_now,
)
from review_app.unsaved_strokes import unsaved_reading
from storage.case_image import open_case
from storage.corrections import put_mask
from storage.drafts import Drafts
from storage.masks import EncodedMask
from storage.open_readings import OpenReading, ReadingList
from storage.verdicts import Verdict, give_verdict

_CHOSEN = "reading"


def chosen_reading(listed: ReadingList) -> OpenReading:
    """Return the reading that the reader chose, else the first of the CT that was read.

    Raises:
        UsageError: Nothing is to be read.
    """
    wanted = st.session_state.get(_CHOSEN)
    for reading in listed.readings:
        if reading == wanted:
            return reading
    for reading in listed.readings:
        if listed.case is not None and reading.case_id == listed.case.case_id:
            return reading
    raise UsageError("no reading is open; `atlasloop assign` gives cases to a reader")


def wanted_case() -> str | None:
    """Return the case of the reading that was chosen last; None at first."""
    wanted = st.session_state.get(_CHOSEN)
    return wanted.case_id if isinstance(wanted, OpenReading) else None


def reading_key(reading: OpenReading) -> tuple[str, str]:
    """Return what a tab remembers a reading by; no item of the queue has this name."""
    return (reading.case_id, f"reading {reading.structure}")


def choose(reading: OpenReading) -> None:
    """Open a reading."""
    st.session_state[_CHOSEN] = reading
    seat().drawing = None
    seat().pending_reading = None
    seat().unsaved = None
    seat().uploads += 1


def go_on(listed: ReadingList, reading: OpenReading) -> None:
    """Open the reading behind this one, or the first behind the last."""
    at = listed.readings.index(reading)
    choose(listed.readings[(at + 1) % len(listed.readings)])


def next_case(listed: ReadingList, reading: OpenReading) -> str | None:
    """Return the CT of the next reading on another CT; None where there is none."""
    at = listed.readings.index(reading)
    behind = [*listed.readings[at + 1 :], *listed.readings[:at]]
    return next((one.case_id for one in behind if one.case_id != reading.case_id), None)


def checked_reading(encoded: EncodedMask) -> EncodedMask:
    """Return a mask that can be a reading.

    Raises:
        UsageError: It is empty.
    """
    if encoded.is_empty:
        raise UsageError(
            "a reading by mask needs at least one voxel, this mask is empty; choose `absent` when "
            "the structure is not there"
        )
    return encoded


def record_reading(
    here: Desk, listed: ReadingList, reading: OpenReading, encoded: EncodedMask
) -> None:
    """Store a mask that was drawn and give it as the reading."""
    try:
        mask = put_mask(here.store.objects, encoded)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    give_reading(here, listed, reading, Answer(kind="correct", mask=mask))


def give_reading(here: Desk, listed: ReadingList, reading: OpenReading, answer: Answer) -> None:
    """Commit what the reader says; it never enters the chain of reviews.

    A drawing stays when the reader is unsure, since the reading stays open; what else would drop
    strokes is asked about first.
    """
    kind = answer.kind
    item, now = reading_key(reading), utc_now()
    seat().touch(now, idle_s=here.settings.idle_s)
    display = seat().displays.get(item)
    structure = load_taxonomy()[reading.structure]
    if display is None:
        note_error(f"{structure.display} was not open in this tab; open it again")
        return
    if kind != "defer" and not answer.drops_drawing and _is_asked(here, listed, item, answer):
        return
    verdict = Verdict(
        case_id=reading.case_id,
        structure=reading.structure,
        verdict=kind,
        reader=here.reader,
        base_version=None,
        request_id=display.request_id,
        opened_at=display.opened_at,
        active_s=display.clock.active_s,
        reading="independent",
        mask=answer.mask,
        verified=here.verified,
        protocol=shown_protocol(here, reading.case_id, reading.structure),
    )
    try:
        give_verdict(here.store, verdict, now=now)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    words = "read" if kind == "correct" else VERDICT_WORDS[kind]
    note_success(f"{structure.display} {words}.")
    if kind != "defer":
        drafts = Drafts(here.store.workspace.drafts_path)
        drafts.drop_item(reader=here.reader, case_id=item[0], structure=item[1])
    seat().forget(item)
    go_on(listed, reading)


def drop_drawing(
    here: Desk, listed: ReadingList, reading: OpenReading, unsaved: UnsavedStrokes
) -> None:
    """Give a reading that drops what the reader was asked about, unless more was drawn since."""
    seat().unsaved = None
    is_asked = _is_asked(here, listed, unsaved.item, unsaved.answer)
    again = seat().unsaved
    if is_asked and (again is None or (again.voxels or 0) > (unsaved.voxels or 0)):
        return
    seat().unsaved = None
    give_reading(here, listed, reading, replace(unsaved.answer, drops_drawing=True))


def _is_asked(here: Desk, listed: ReadingList, item: tuple[str, str], answer: Answer) -> bool:
    """Whether strokes are not in the reading; then the page asks what is to become of them."""
    case = listed.case
    if case is None or case.case_id != item[0]:
        note_error("Nothing was written: the reading is not open here; open it again")
        return True
    try:
        grid = open_case(case, here.store.settings.intake).grid
        voxels = unsaved_reading(here, item, grid, answer.mask)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return True
    if voxels == 0:
        return False
    seat().unsaved = UnsavedStrokes(item, answer, voxels)
    return True
