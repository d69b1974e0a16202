"""Two versions of a structure side by side: where they differ most, and by how much."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from configs.errors import AtlasLoopError
from configs.taxonomy import Structure, load_taxonomy
from model.metrics import Agreement
from model.rendering import HEAT_COLOUR
from review_app.case_images import ct_of
from review_app.restoration_panel import show_restoration
from review_app.session import Desk, go_to, utc_now
from review_app.style import legend, swatch
from review_app.version_choices import VersionChoice, default_pair, version_choices
from review_app.version_pair import PairView, VersionPair, pair_pngs, version_pair
from review_app.view_models import PLANE_AXES, WINDOWS_HU, Plane
from storage.case_image import CaseImage
from storage.review_case import ReviewCase, read_case

_SIDES = ("Left", "Right")


def show_versions(here: Desk) -> None:
    """Draw the page; one read of the database."""
    case_id = st.query_params.get("case", "")
    name = st.query_params.get("structure", "")
    case = read_case(here.store, case_id, reader=here.reader, now=utc_now())
    if name not in case.bases:
        st.info("No structure of this CT is chosen; open it on the case page first.")
        return
    structure = load_taxonomy()[name]
    if any(item.is_blind for item in case.items if item.structure == name):
        st.info("This item is judged blind: its versions can be compared after your verdict.")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="version-title"):
        st.html(
            f'<h2 class="item">{swatch(structure.rgb)}{html.escape(structure.display)}: versions'
            f' <span class="soft">case <code>{html.escape(case_id)}</code></span></h2>'
        )
        st.button(
            "Back to the case",
            key="back-to-case",
            on_click=go_to,
            args=("case",),
            kwargs={"case": case_id, "structure": name},
        )
    choices = version_choices(case, name)
    if len(choices) < 2:
        st.info("There is nothing to compare: only the committee's mask so far.")
        return
    _compare(here, case, structure, choices)


def _compare(
    here: Desk, case: ReviewCase, structure: Structure, choices: Sequence[VersionChoice]
) -> None:
    """Draw the two choices with their pictures, what they differ in, and the way back to each."""
    item = f"{case.case.case_id}-{structure.name}"
    left, right, panel = st.columns([4.2, 4.2, 3.6], gap="medium")
    starts = zip((left, right), _SIDES, default_pair(choices), strict=True)
    chosen = [_choose(column, side, start, item, choices) for column, side, start in starts]
    try:
        pair = version_pair(here.store.objects, case.grid, chosen[0].mask, chosen[1].mask)
        image = ct_of(here.store, case.case)
        with panel:
            _figures(pair)
            names = "-".join(one.label_id for one in chosen)
            view = _controls(pair, image, names, margin_mm=here.settings.region_margin_mm)
            shade = "on this side alone"
            st.html(legend([(structure.rgb, structure.display), (HEAT_COLOUR, shade)]))
        pngs = pair_pngs(pair, image, view, rgb=structure.rgb)
    except AtlasLoopError as error:
        st.error(str(error))
        return
    for column, png, side in zip((left, right), pngs, _SIDES, strict=True):
        words = f"{side} version, {view.plane} slice {view.slice_index + 1}"
        column.image(png, width="stretch", alt=words)
    with panel:
        for side, choice in zip(_SIDES, chosen, strict=True):
            show_restoration(here, case, structure, choice, side=side)


def _choose(
    column: DeltaGenerator, side: str, start: str, item: str, choices: Sequence[VersionChoice]
) -> VersionChoice:
    by_id = {choice.label_id: choice for choice in choices}
    ids = list(by_id)
    label_id = column.selectbox(
        side,
        ids,
        index=ids.index(start),
        format_func=lambda one: by_id[one].words,
        key=f"version-{side}-{item}",
    )
    return by_id[label_id]


def _figures(pair: VersionPair) -> None:
    found = pair.difference
    dsc = "both absent" if isinstance(found.dsc, Agreement) else f"{found.dsc:.3f}"
    rows = (
        ("Left", f"{found.first_ml:.1f} mL on {found.first_slices} axial slices"),
        ("Right", f"{found.second_ml:.1f} mL on {found.second_slices} axial slices"),
        ("Added on the right", f"{found.added_ml:.2f} mL"),
        ("Removed on the right", f"{found.removed_ml:.2f} mL"),
        ("DSC of the two", dsc),
        ("Axial slices that differ", str(found.changed_slices)),
    )
    cells = "".join(f"<tr><td>{name}</td><td><b>{value}</b></td></tr>" for name, value in rows)
    st.html(f'<table class="figures">{cells}</table>')


def _controls(pair: VersionPair, image: CaseImage, key: str, *, margin_mm: float) -> PairView:
    """Draw window, plane and slice, and return what is to be shown."""
    window = st.segmented_control(
        "Window",
        list(WINDOWS_HU),
        default="Abdomen",
        required=True,
        key="version-window",
        label_visibility="collapsed",
    )
    plane = st.segmented_control(
        "Plane",
        list(PLANE_AXES),
        default="axial",
        required=True,
        key="version-plane",
        format_func=str.capitalize,
        label_visibility="collapsed",
    )
    plane = cast(Plane, plane or "axial")
    count = image.grid.ras_shape[PLANE_AXES[plane]]
    number = st.slider(
        f"{plane.capitalize()} slice of {count}, at first where most differs",
        1,
        count,
        value=pair.start_slice(plane) + 1,
        key=f"version-slice-{plane}-{key}",
    )
    return PairView(
        plane=plane,
        slice_index=number - 1,
        window_hu=WINDOWS_HU[window or "Abdomen"],
        margin_mm=margin_mm,
    )
