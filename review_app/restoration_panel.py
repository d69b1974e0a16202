"""Bringing an older version back: what it changes, overlaps to settle, and the new version."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from configs.errors import AtlasLoopError, ConflictError
from configs.taxonomy import Structure
from review_app.item_words import changed_voxels
from review_app.overlap_panel import chosen_transfer, voxel_volume_ml
from review_app.session import Desk, go_to, note_error, note_success, seat, utc_now
from review_app.version_choices import VersionChoice
from review_app.view_models import exclusive_neighbours
from storage.claims import claim_items, release_claims
from storage.corrections import Correction
from storage.labels import ABSENT
from storage.restoration import restoration, store_neighbours
from storage.review_case import ReviewCase
from storage.verdicts import Verdict, give_verdict

_CHOSEN = "restoring"


def show_restoration(
    here: Desk, case: ReviewCase, structure: Structure, choice: VersionChoice, *, side: str
) -> None:
    """Draw the way back to one version; nothing is worked out before the reader asks for it."""
    item = (case.case.case_id, structure.name, choice.label_id, side)
    if choice.mask == case.bases[structure.name][1]:
        st.html(f'<p class="soft">{side}: the label now.</p>')
        return
    if st.session_state.get(_CHOSEN) != item:
        st.button(
            f"Bring the {side.lower()} one back",
            key=f"restore-{side}-{choice.label_id}",
            on_click=st.session_state.update,
            kwargs={_CHOSEN: item},
        )
        return
    with st.container(border=True, key="restoration"):
        try:
            correction = _worked_out(here, case, structure, choice)
        except AtlasLoopError as error:
            st.error(str(error))
            return
        _offer(here, case, structure, choice, correction)


def _worked_out(
    here: Desk, case: ReviewCase, structure: Structure, choice: VersionChoice
) -> Correction | None:
    neighbours = {name: case.bases[name] for name in exclusive_neighbours(case, structure)}
    base = case.bases[structure.name][1]
    objects = here.store.objects
    return restoration(objects, case.grid, choice.mask, base=base, neighbours=neighbours)


def _offer(
    here: Desk,
    case: ReviewCase,
    structure: Structure,
    choice: VersionChoice,
    correction: Correction | None,
) -> None:
    voxel_ml = voxel_volume_ml(case)
    words = (
        f"{structure.display} becomes absent."
        if correction is None
        else f"{changed_voxels(correction.voxels_changed)} "
        f"({correction.voxels_changed * voxel_ml:.2f} mL)."
    )
    st.html(f'<p class="why">{html.escape(words)} It becomes a new version; none is lost.</p>')
    overlaps = () if correction is None else correction.overlaps
    if overlaps:
        st.warning("It overlaps a neighbour's present label, which may not share its voxels.")
    transfer = chosen_transfer(case, overlaps, key=f"take-{choice.label_id}")
    _display(here, case, structure)
    with st.container(horizontal=True, key="restoration-buttons"):
        st.button(
            "Record it",
            key=f"record-restore-{choice.label_id}",
            type="primary",
            on_click=_record,
            args=(here, case, structure, choice, correction, transfer),
        )
        st.button(
            "Leave it", key="leave-restore", on_click=st.session_state.pop, args=(_CHOSEN, None)
        )


def _display(here: Desk, case: ReviewCase, structure: Structure) -> None:
    """Remember what is offered: against the newest label, which this page has just read."""
    item, base = _item(case, structure), case.bases[structure.name][0]
    known = seat().displays.get(item)
    if known is not None and known.base_version != base:
        seat().forget(item)
    seat().display(item, base, idle_s=_idle_s(here))


def _record(
    here: Desk,
    case: ReviewCase,
    structure: Structure,
    choice: VersionChoice,
    correction: Correction | None,
    transfer: Sequence[str],
) -> None:
    """Claim the structure, commit the verdict on what was displayed, and go back to the case."""
    case_id, name = case.case.case_id, structure.name
    try:
        _give(here, case, structure, choice, correction, transfer)
    except AtlasLoopError as error:
        if name not in case.held_until:
            release_claims(here.store, case_id, reader=here.reader, structures=[name])
        note_error(f"Nothing was written: {error}")
        return
    st.session_state.pop(_CHOSEN, None)
    note_success(f"{structure.display}: an older version is the label again.")
    for changed in (name, *transfer):
        seat().forget((case_id, changed))
    seat().forget(_item(case, structure))
    go_to("case", case=case_id, structure=name)


def _give(
    here: Desk,
    case: ReviewCase,
    structure: Structure,
    choice: VersionChoice,
    correction: Correction | None,
    transfer: Sequence[str],
) -> None:
    case_id, name, now = case.case.case_id, structure.name, utc_now()
    seat().touch(now, idle_s=_idle_s(here))
    display = seat().displays.get(_item(case, structure))
    if display is None:
        raise ConflictError(f"{structure.display} was not open in this tab; open it again")
    held = claim_items(here.store, case_id, [name], reader=here.reader, now=now, lease=here.lease)
    if name not in held:
        raise ConflictError(f"{structure.display} is held by another reader; try again later")
    objects = here.store.objects
    linked = {} if correction is None else store_neighbours(objects, correction, transfer)
    verdict = Verdict(
        case_id=case_id,
        structure=name,
        verdict="absent" if choice.mask == ABSENT else "correct",
        reader=here.reader,
        base_version=display.base_version,
        request_id=display.request_id,
        opened_at=display.opened_at,
        active_s=display.clock.active_s,
        mask=None if choice.mask == ABSENT else choice.mask,
        linked=linked,
        voxels_changed=0 if correction is None else correction.voxels_changed,
        verified=here.verified,
        restores=choice.label_id,
    )
    give_verdict(here.store, verdict, now=now)


def _item(case: ReviewCase, structure: Structure) -> tuple[str, str]:
    return (case.case.case_id, f"restoring {structure.name}")


def _idle_s(here: Desk) -> float:
    return here.settings.idle_s
