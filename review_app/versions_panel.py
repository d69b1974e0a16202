"""Two versions of a structure side by side: where they differ most, and by how much."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from configs.errors import AtlasLoopError
from configs.taxonomy import Structure, load_taxonomy
from model.metrics import Agreement
from review_app.case_images import ct_of
from review_app.restoration_panel import show_restoration
from review_app.session import Desk, go_to, utc_now
from review_app.style import legend, swatch
from review_app.version_choices import VersionChoice, default_pair, version_choices
from review_app.version_pair import ADDED_RGB, REMOVED_RGB, VersionPair, pair_pngs, version_pair
from review_app.view_models import WINDOWS_HU
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
    st.html(
        f'<h2 class="item">{swatch(structure.rgb)}{html.escape(structure.display)}: versions</h2>'
        f'<p class="soft">case <code>{html.escape(case_id)}</code></p>'
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
    """Draw the two choices, what they differ in, and the way back to each of them."""
    chosen: list[VersionChoice] = []
    columns = st.columns(2, gap="medium")
    for column, side, start in zip(columns, _SIDES, default_pair(choices), strict=True):
        with column:
            chosen.append(_choose(side, start, f"{case.case.case_id}-{structure.name}", choices))
    try:
        pair = version_pair(here.store.objects, case.grid, chosen[0].mask, chosen[1].mask)
        _figures(pair)
        _pictures(here, case, structure, pair, key="-".join(one.label_id for one in chosen))
    except AtlasLoopError as error:
        st.error(str(error))
        return
    wanted = chosen if chosen[0] != chosen[1] else chosen[:1]
    for column, choice in zip(st.columns(2, gap="medium"), wanted, strict=False):
        with column:
            show_restoration(here, case, structure, choice)


def _choose(side: str, start: str, item: str, choices: Sequence[VersionChoice]) -> VersionChoice:
    by_id = {choice.label_id: choice for choice in choices}
    ids = list(by_id)
    label_id = st.selectbox(
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
    facts = (
        f"{found.first_ml:.1f} mL on {found.first_slices} slices",
        f"{found.second_ml:.1f} mL on {found.second_slices} slices",
        f"added {found.added_ml:.2f} mL",
        f"removed {found.removed_ml:.2f} mL",
        f"DSC {dsc}",
        f"{found.changed_slices} slices differ",
    )
    st.html(
        f'<p class="why"><b>Left</b> {facts[0]}, <b>right</b> {facts[1]}: '
        f"{html.escape(', '.join(facts[2:]))}.</p>"
    )


def _pictures(
    here: Desk, case: ReviewCase, structure: Structure, pair: VersionPair, *, key: str
) -> None:
    image = ct_of(here.store, case.case)
    count = image.grid.ras_shape[2]
    with st.container(horizontal=True, vertical_alignment="bottom", key="version-controls"):
        window = st.segmented_control(
            "Window",
            list(WINDOWS_HU),
            default="Abdomen",
            required=True,
            key="version-window",
            label_visibility="collapsed",
        )
        number = st.slider(
            f"Axial slice of {count}, at first where most differs",
            1,
            count,
            value=pair.start_slice + 1,
            key=f"version-slice-{key}",
        )
    entries = [
        (structure.rgb, structure.display),
        (REMOVED_RGB, "on the left alone"),
        (ADDED_RGB, "on the right alone"),
    ]
    st.html(legend(entries))
    pngs = pair_pngs(
        pair,
        image,
        rgb=structure.rgb,
        slice_index=number - 1,
        window_hu=WINDOWS_HU[window or "Abdomen"],
        margin_mm=here.settings.region_margin_mm,
    )
    for column, png, side in zip(st.columns(2, gap="medium"), pngs, _SIDES, strict=True):
        column.image(png, width="stretch", alt=f"{side} version, axial slice {number}")
