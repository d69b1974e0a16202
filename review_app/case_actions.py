"""What the buttons of the case page do; each runs before the page is drawn again."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from configs.errors import AtlasLoopError
from configs.taxonomy import load_taxonomy
from review_app.item_words import VERDICT_WORDS
from review_app.protocol_panel import shown_protocol
from review_app.session import (
    Answer,
    Desk,
    UnsavedStrokes,
    go_to,
    note_error,
    note_success,
    seat,
    tags_key,
    utc_now,
)
from review_app.unsaved_strokes import unsaved_voxels
from review_app.view_models import StructureLine, needs_renewal, next_line
from storage.claims import claim_items, release_claims
from storage.drafts import Drafts
from storage.review_case import ReviewCase
from storage.review_queue import next_open_case
from storage.verdicts import Verdict, give_verdict


def give(
    here: Desk,
    case_id: str,
    line: StructureLine,
    answer: Answer,
    *,
    lines: Sequence[StructureLine],
) -> None:
    """Commit a verdict on the item as it was displayed, then choose the next one.

    A conflict (a newer version, an expired claim) is shown and writes nothing. Strokes that are not
    in what the verdict leaves are asked about first, whatever pressed the button.
    """
    item = (case_id, line.structure)
    now = utc_now()
    seat().touch(now, idle_s=here.settings.idle_s)
    display = seat().displays.get(item)
    if display is None:
        note_error(f"{line.display} was not open in this tab; open it again")
        return
    if not answer.drops_drawing and _is_asked(here, item, answer):
        return
    verdict = Verdict(
        case_id=case_id,
        structure=line.structure,
        verdict=answer.kind,
        reader=here.reader,
        base_version=display.base_version,
        request_id=display.request_id,
        opened_at=display.opened_at,
        active_s=display.clock.active_s,
        tags=tuple(st.session_state.get(tags_key(item)) or ()),
        mask=answer.mask,
        linked=answer.linked,
        voxels_changed=answer.voxels_changed,
        verified=here.verified,
        restores=answer.restores,
        protocol=shown_protocol(here, case_id, line.structure),
    )
    try:
        give_verdict(here.store, verdict, now=now)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    note_success(f"{line.display} {VERDICT_WORDS[answer.kind]}.")
    drafts = Drafts(here.store.workspace.drafts_path)
    drafts.drop_item(reader=here.reader, case_id=case_id, structure=line.structure)
    seat().forget(item)
    for changed in answer.linked:
        seat().forget((case_id, changed))
    following = next_line(lines, line.structure)
    if following is not None:
        select(case_id, following.structure)


def _is_asked(here: Desk, item: tuple[str, str], answer: Answer) -> bool:
    """Whether strokes stand against the answer; then the page asks what is to become of them."""
    case_id, structure = item
    try:
        voxels = unsaved_voxels(here, case_id, structure, kind=answer.kind, mask=answer.mask)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return True
    if voxels == 0:
        return False
    if seat().shown != item:
        name = load_taxonomy()[structure].display
        note_error(f"Nothing was written: strokes in {name} are not saved; open it again")
        return True
    seat().unsaved = UnsavedStrokes(item, answer, voxels)
    return True


def select(case_id: str, structure: str) -> None:
    """Choose a structure of the case."""
    st.session_state[f"structure-{case_id}"] = structure
    seat().correcting = None
    seat().pending = None
    seat().unsaved = None
    st.query_params["structure"] = structure


def move_on(here: Desk, case_id: str, lines: Sequence[StructureLine], line: StructureLine) -> None:
    """Go to the next structure that waits, here or in the next CT, without a verdict."""
    following = next_line(lines, line.structure)
    if following is not None:
        select(case_id, following.structure)
        return
    with here.store.read() as connection:
        next_case = next_open_case(connection, reader=here.reader, now=utc_now(), after=case_id)
    if next_case is None:
        note_success("Nothing else waits for you in the queue.")
        go_to("queue")
        return
    leave_case(here)
    go_to("case", case=next_case)


def open_again(here: Desk, case_id: str, line: StructureLine) -> None:
    """Claim a structure, and display its newest version."""
    held = claim_items(
        here.store,
        case_id,
        [line.structure],
        reader=here.reader,
        now=utc_now(),
        lease=here.lease,
    )
    if line.structure not in held:
        note_error(f"{line.display} is held by another reader; try again later")
    seat().forget((case_id, line.structure))


def renew(here: Desk, case: ReviewCase) -> None:
    """Count the reader's action, and prolong the claims when half of the lease is gone."""
    now = utc_now()
    seat().touch(now, idle_s=here.settings.idle_s)
    wanted = needs_renewal(case, now=now, lease=here.lease)
    if wanted:
        claim_items(
            here.store,
            case.case.case_id,
            wanted,
            reader=here.reader,
            now=now,
            lease=here.lease,
        )


def leave_case(here: Desk) -> None:
    """Give back what is held of the case that was open in this tab."""
    if seat().claimed is not None:
        release_claims(here.store, str(seat().claimed), reader=here.reader)
        seat().claimed = None
        seat().shown = None
        seat().unsaved = None
