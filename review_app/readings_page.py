"""Independent reading: a CT without anything that a model said about it, drawn from scratch."""

from __future__ import annotations

import html
from functools import partial
from pathlib import Path

import streamlit as st

from configs.errors import AtlasLoopError
from configs.taxonomy import load_taxonomy
from review_app.case_images import ct_of
from review_app.downloads import GRANTS
from review_app.edit_document import Item
from review_app.edit_reading import reading_item, region_to_read
from review_app.editor_panel import is_built
from review_app.protocol_panel import show_protocol
from review_app.reading_actions import (
    checked_reading,
    choose,
    chosen_reading,
    give_reading,
    reading_key,
    record_reading,
    wanted_case,
)
from review_app.reading_editor import (
    drawn_so_far,
    has_reading_editor,
    region_of_reading,
    show_pending_reading,
    show_reading_editor,
    show_unsaved_reading,
    wants_to_draw,
)
from review_app.session import Answer, Desk, seat, utc_now
from review_app.slice_picture import Contour, MaskCrop, best_cursor
from review_app.style import swatch
from review_app.viewer import Layer, Scene, place_of, show_slices
from storage.case_image import open_case
from storage.cases import CaseRow, existing_file
from storage.corrections import whole_box
from storage.edited_mask import EditedMask
from storage.grid import Box, Grid
from storage.masks import encode_mask
from storage.open_readings import OpenReading, ReadingList, open_readings
from storage.region_file import empty_mask
from storage.uploaded_mask import read_uploaded_mask
from storage.verdicts import VerdictKind

_MIB = 1 << 20
_BACK = "Leave the editor; your drawing stays."


def show_readings(here: Desk) -> None:
    """Draw the page; one read of the database."""
    with here.store.read() as connection:
        listed = open_readings(connection, reader=here.reader, case_id=wanted_case())
    if listed.case is None:
        st.info(
            "No reading is assigned to you. `atlasloop assign` gives cases to a reader, who then "
            "draws without the AI's mask."
        )
        return
    reading, case = chosen_reading(listed), listed.case
    grid = open_case(case, here.store.settings.intake).grid
    drawn = drawn_so_far(here, case, grid, reading)
    region = region_of_reading(here, grid, reading, drawn)
    item = reading_item(case, grid, reading, place=seat().places.get(reading_key(reading)))
    in_editor = region if wants_to_draw(here) else None
    pictures, panel = st.columns([7.6, 4.4] if in_editor is None else [9.2, 2.8], gap="medium")
    with panel:
        is_drawing = in_editor is not None and has_reading_editor(here)
        _panel(here, listed, item, drawn, is_drawing=is_drawing)
    with pictures:
        if in_editor is None or not show_reading_editor(here, listed, item, in_editor):
            _pictures(here, case, item, drawn)


def _pictures(here: Desk, case: CaseRow, item: Item, drawn: EditedMask | None) -> None:
    """Draw the slices, on which the reader finds the place to draw at."""
    try:
        image = ct_of(here.store, case)
    except AtlasLoopError as error:
        st.error(str(error))
        return
    key = f"{case.case_id}-reading-{item.structure}"
    if is_built():
        _place_to_draw(here, item, key)
    i, j, k = image.grid.ras_shape
    start, layers = (i // 2, j // 2, k // 2), []
    if drawn is not None:
        crop = MaskCrop(drawn.mask_ras.view("u1"), drawn.box_ras)
        layers = [Layer("", [("your drawing so far", Contour(crop, item.rgb, 2))])]
        start = best_cursor([crop], image.grid.ras_shape)
    scene = Scene(
        key=key,
        image=image,
        start=item.place or start,
        layers=layers,
        frame_at=partial(_frame, here, image.grid) if is_built() else None,
    )
    idle_s = here.settings.idle_s
    show_slices(scene, here.settings.keys, lambda: seat().touch(utc_now(), idle_s=idle_s))


def _frame(here: Desk, grid: Grid, place: tuple[int, int, int]) -> Box | None:
    """Return what the editor would open round a place; None where that is the whole CT."""
    region = region_to_read(grid, place, wider_mm=0.0, most_side=here.settings.region_side)
    return None if region == whole_box(grid) else region


def _place_to_draw(here: Desk, item: Item, key: str) -> None:
    side = here.settings.region_side
    is_large = max(item.grid.ras_shape) > side
    words = (
        f"Move the sliders until the blue frame holds the {html.escape(item.display.lower())}: "
        "the editor opens what lies in it. Where the frame is too small, leave the editor and "
        "draw the rest elsewhere: what is drawn stays."
        if is_large
        else "Draw in the editor, on the whole CT."
    )
    with st.container(horizontal=True, vertical_alignment="center", key="place-to-draw"):
        st.button(
            "Draw here" if is_large else "Draw",
            key=f"draw-{key}",
            type="primary",
            shortcut=here.settings.keys.correct,
            on_click=_draw_here,
            args=(item, key),
        )
        st.html(f'<p class="why">{words}</p>')


def _draw_here(item: Item, key: str) -> None:
    place = place_of(key)
    if item.reading is not None and place is not None:
        seat().places[reading_key(item.reading)] = place
    seat().drawing = True


def _stop_drawing() -> None:
    seat().drawing = False


def _panel(
    here: Desk, listed: ReadingList, item: Item, drawn: EditedMask | None, *, is_drawing: bool
) -> None:
    reading = chosen_reading(listed)
    seat().display(reading_key(reading), None, idle_s=here.settings.idle_s)
    st.html(
        f'<h2 class="item">{swatch(item.rgb)}{html.escape(item.display)}</h2>'
        f'<p class="soft">case <code>{html.escape(reading.case_id)}</code>. Draw it from scratch; '
        "nothing of the AI is shown, so that your reading can be compared with it.</p>"
    )
    if drawn is not None:
        st.html(f'<p class="why">{_ml(drawn, item.grid):.1f} mL drawn, not given yet.</p>')
    show_pending_reading(here, listed, reading)
    show_unsaved_reading(here, listed, item)
    if is_drawing:
        # The verdicts stand in the editor; the way back is here too, should it not load.
        st.button("Back to slices", key="leave-reading", help=_BACK, on_click=_stop_drawing)
    else:
        _verdicts(here, listed, reading, has_drawn=drawn is not None)
    show_protocol(here, reading.case_id, reading.structure)
    if is_drawing:
        with st.expander("Draw in another program"):
            _upload(here, listed, item)
    else:
        _upload(here, listed, item)
    _list(listed, reading)


def _ml(drawn: EditedMask, grid: Grid) -> float:
    i, j, k = grid.spacing_mm
    return int(drawn.mask_ras.sum()) * i * j * k / 1000


def _verdicts(here: Desk, listed: ReadingList, reading: OpenReading, *, has_drawn: bool) -> None:
    """Draw what can be said without a mask; a key does not throw a drawing away."""
    keys = here.settings.keys
    choices: tuple[tuple[VerdictKind, str, str | None, str], ...] = (
        (
            "absent",
            "Absent, drop my drawing" if has_drawn else "Absent",
            None if has_drawn else keys.absent,
            "The structure is not in this CT.",
        ),
        ("defer", "Unsure", keys.defer, "The reading stays open; what is drawn stays."),
    )
    with st.container(horizontal=True, key="reading-verdicts"):
        for kind, words, key, help_text in choices:
            st.button(
                words,
                key=f"{kind}-reading-{reading.case_id}-{reading.structure}",
                help=help_text,
                shortcut=key,
                on_click=give_reading,
                args=(here, listed, reading, Answer(kind=kind, drops_drawing=has_drawn)),
            )


def _upload(here: Desk, listed: ReadingList, item: Item) -> None:
    """Draw the other way: the CT and an empty mask to download, the mask to bring back."""
    st.html(_links(here, item))
    upload = st.file_uploader(
        "Your mask, as .nii.gz on the grid of the whole CT",
        key=f"reading-{seat().uploads}",
        max_upload_size=here.settings.max_upload_mb,
    )
    if upload is not None:
        _offer(here, listed, item, upload.getvalue())


def _list(listed: ReadingList, chosen: OpenReading) -> None:
    taxonomy = load_taxonomy()
    count = len(listed.readings)
    st.html(f'<p class="soft">{count} reading{"" if count == 1 else "s"} to do</p>')
    with st.container(height=180, key="readings"):
        for one in listed.readings:
            st.button(
                f"{taxonomy[one.structure].display}, {one.case_id}",
                key=f"reading-{one.case_id}-{one.structure}",
                type="secondary" if one == chosen else "tertiary",
                on_click=choose,
                args=(one,),
            )


def _links(here: Desk, item: Item) -> str:
    case, grid = item.case, item.grid
    file = existing_file(case).path
    suffix = ".nii.gz" if file.name.endswith(".gz") else ".nii"

    def ct() -> Path:
        return file

    def template() -> bytes:
        return empty_mask(grid)

    ct_name = f"{case.case_id}_ct{suffix}"
    mask_name = f"{case.case_id}_{item.structure}_empty.nii.gz"
    ct_address = GRANTS.offer(reader=here.reader, case_id=case.case_id, file_name=ct_name, make=ct)
    mask_address = GRANTS.offer(
        reader=here.reader, case_id=case.case_id, file_name=mask_name, make=template
    )
    return (
        f'<div class="links">Download: <a href="{ct_address}" download>CT</a>'
        f'<a href="{mask_address}" download>empty mask on its grid</a></div>'
    )


def _offer(here: Desk, listed: ReadingList, item: Item, data: bytes) -> None:
    grid, reading = item.grid, chosen_reading(listed)
    try:
        upload = read_uploaded_mask(
            data, grid, region_ras=None, max_bytes=here.settings.max_upload_mb * _MIB
        )
        encoded = checked_reading(encode_mask(upload.mask_ras, whole_box(grid), grid))
    except AtlasLoopError as error:
        st.error(f"Refused, nothing was written: {error}")
        return
    i, j, k = grid.spacing_mm
    st.html(f'<p class="why">{encoded.voxels * i * j * k / 1000:.1f} mL drawn.</p>')
    st.button(
        "Record the reading",
        key=f"record-reading-{reading.case_id}-{reading.structure}",
        type="primary",
        on_click=record_reading,
        args=(here, listed, reading, encoded),
    )
