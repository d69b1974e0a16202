"""Independent reading: a CT without anything that a model said about it, drawn from scratch."""

from __future__ import annotations

import html
from pathlib import Path

import streamlit as st

from configs.errors import AtlasLoopError, UsageError
from configs.taxonomy import load_taxonomy
from review_app.case_images import ct_of
from review_app.downloads import GRANTS
from review_app.protocol_panel import show_protocol, shown_protocol
from review_app.session import Desk, note_error, note_success, seat, utc_now
from review_app.style import swatch
from review_app.view_models import VERDICT_WORDS
from review_app.viewer import Scene, show_slices
from storage.case_image import open_case
from storage.cases import CaseRow, existing_file
from storage.corrections import put_mask, whole_box
from storage.grid import Grid
from storage.labels import LabelMask
from storage.masks import encode_mask
from storage.open_readings import OpenReading, ReadingList, open_readings
from storage.region_file import empty_mask
from storage.uploaded_mask import read_uploaded_mask
from storage.verdicts import Verdict, VerdictKind, give_verdict

_MIB = 1 << 20


def show_readings(here: Desk) -> None:
    """Draw the page; one read of the database."""
    wanted = st.session_state.get("reading")
    listed = _listed(here, wanted.case_id if isinstance(wanted, OpenReading) else None)
    if listed.case is None:
        st.info(
            "No reading is assigned to you. `atlasloop assign` gives cases to a reader, who then "
            "draws without the AI's mask."
        )
        return
    chosen = _chosen(listed)
    pictures, panel = st.columns([7.6, 4.4], gap="medium")
    with panel:
        _panel(here, listed, chosen, listed.case)
    with pictures:
        _pictures(here, listed.case)


def _listed(here: Desk, case_id: str | None) -> ReadingList:
    with here.store.read() as connection:
        return open_readings(connection, reader=here.reader, case_id=case_id)


def _chosen(listed: ReadingList) -> OpenReading:
    wanted = st.session_state.get("reading")
    return wanted if wanted in listed.readings else listed.readings[0]


def _pictures(here: Desk, case: CaseRow) -> None:
    try:
        image = ct_of(here.store, case)
    except AtlasLoopError as error:
        st.error(str(error))
        return
    i, j, k = image.grid.ras_shape
    scene = Scene(key=f"{case.case_id}-reading", image=image, start=(i // 2, j // 2, k // 2))
    show_slices(scene, here.settings.keys, lambda: _touch(here))


def _touch(here: Desk) -> None:
    seat().touch(utc_now(), idle_s=here.settings.idle_s)


def _panel(here: Desk, listed: ReadingList, chosen: OpenReading, case: CaseRow) -> None:
    structure = load_taxonomy()[chosen.structure]
    seat().display(_item(chosen), None, idle_s=here.settings.idle_s)
    st.html(
        f'<h2 class="item">{swatch(structure.rgb)}{html.escape(structure.display)}</h2>'
        f'<p class="soft">case <code>{html.escape(case.case_id)}</code>. Draw it from scratch; '
        "nothing of the AI is shown, so that your reading can be compared with it.</p>"
    )
    show_protocol(here, chosen.case_id, chosen.structure)
    _list(listed, chosen)
    grid = open_case(case, here.store.settings.intake).grid
    st.html(_links(here, case, chosen, grid))
    upload = st.file_uploader(
        "Your mask, as .nii.gz on the grid of the whole CT",
        key=f"reading-{seat().uploads}",
        max_upload_size=here.settings.max_upload_mb,
    )
    if upload is not None:
        _offer(here, chosen, grid, upload.getvalue())
    keys = here.settings.keys
    with st.container(horizontal=True, key="reading-verdicts"):
        for kind, words, key in (
            ("absent", "Absent", keys.absent),
            ("defer", "Unsure", keys.defer),
        ):
            st.button(
                words,
                key=f"{kind}-reading-{chosen.case_id}-{chosen.structure}",
                shortcut=key,
                on_click=_give,
                args=(here, chosen, kind, None),
            )


def _list(listed: ReadingList, chosen: OpenReading) -> None:
    taxonomy = load_taxonomy()
    st.html(f'<p class="soft">{len(listed.readings)} readings to do</p>')
    with st.container(height=180, key="readings"):
        for one in listed.readings:
            st.button(
                f"{taxonomy[one.structure].display}, {one.case_id}",
                key=f"reading-{one.case_id}-{one.structure}",
                type="primary" if one == chosen else "tertiary",
                on_click=_choose,
                args=(one,),
            )


def _choose(reading: OpenReading) -> None:
    st.session_state["reading"] = reading
    seat().uploads += 1


def _links(here: Desk, case: CaseRow, chosen: OpenReading, grid: Grid) -> str:
    file = existing_file(case).path
    suffix = ".nii.gz" if file.name.endswith(".gz") else ".nii"

    def ct() -> Path:
        return file

    def template() -> bytes:
        return empty_mask(grid)

    ct_name = f"{case.case_id}_ct{suffix}"
    mask_name = f"{case.case_id}_{chosen.structure}_empty.nii.gz"
    ct_address = GRANTS.offer(reader=here.reader, case_id=case.case_id, file_name=ct_name, make=ct)
    mask_address = GRANTS.offer(
        reader=here.reader, case_id=case.case_id, file_name=mask_name, make=template
    )
    return (
        f'<div class="links">Download: <a href="{ct_address}" download>CT</a>'
        f'<a href="{mask_address}" download>empty mask on its grid</a></div>'
    )


def _offer(here: Desk, chosen: OpenReading, grid: Grid, data: bytes) -> None:
    try:
        upload = read_uploaded_mask(
            data, grid, region_ras=None, max_bytes=here.settings.max_upload_mb * _MIB
        )
        encoded = encode_mask(upload.mask_ras, whole_box(grid), grid)
        if encoded.is_empty:
            raise UsageError(
                "a reading by mask needs at least one voxel, the uploaded mask is empty; choose "
                "`absent` when the structure is not there"
            )
    except AtlasLoopError as error:
        st.error(f"Refused, nothing was written: {error}")
        return
    i, j, k = grid.spacing_mm
    st.html(f'<p class="why">{encoded.voxels * i * j * k / 1000:.1f} mL drawn.</p>')
    st.button(
        "Record the reading",
        key=f"record-reading-{chosen.case_id}-{chosen.structure}",
        type="primary",
        on_click=lambda: _give(here, chosen, "correct", put_mask(here.store.objects, encoded)),
    )


def _give(here: Desk, chosen: OpenReading, kind: VerdictKind, mask: LabelMask | None) -> None:
    now = utc_now()
    seat().touch(now, idle_s=here.settings.idle_s)
    display = seat().displays[_item(chosen)]
    verdict = Verdict(
        case_id=chosen.case_id,
        structure=chosen.structure,
        verdict=kind,
        reader=here.reader,
        base_version=None,
        request_id=display.request_id,
        opened_at=display.opened_at,
        active_s=display.clock.active_s,
        reading="independent",
        mask=mask,
        verified=here.verified,
        protocol=shown_protocol(here, chosen.case_id, chosen.structure),
    )
    try:
        give_verdict(here.store, verdict, now=now)
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    words = "read" if kind == "correct" else VERDICT_WORDS[kind]
    note_success(f"{load_taxonomy()[chosen.structure].display} {words}.")
    seat().forget(_item(chosen))


def _item(chosen: OpenReading) -> tuple[str, str]:
    return (chosen.case_id, f"reading {chosen.structure}")
