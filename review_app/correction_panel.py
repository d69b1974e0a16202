"""Correcting in another program: files to download, an upload that is checked, overlaps to settle.

Uploads go through Streamlit's own upload field and not through a route of ours: it brings the
cross-site check, ties the file to the tab and stops a request at the size limit while it streams;
a route of our own would have to do all three again. Downloads need an address that a browser can
save from, so they have a route.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import streamlit as st

from configs.errors import AtlasLoopError, UsageError
from configs.taxonomy import load_taxonomy
from review_app.case_actions import give
from review_app.case_images import ct_of
from review_app.case_scene import region_of
from review_app.downloads import GRANTS
from review_app.item_words import changed_voxels
from review_app.overlap_panel import chosen_transfer, voxel_volume_ml
from review_app.session import Answer, CheckedUpload, Desk, Display, seat
from review_app.view_models import Box, StructureLine, exclusive_neighbours
from storage.corrections import Correction, correct, store_correction, stored_mask
from storage.grid import box_slices
from storage.region_file import region_ct, region_mask
from storage.review_case import ReviewCase
from storage.uploaded_mask import read_uploaded_mask

_MIB = 1 << 20


def show_correction(
    here: Desk,
    case: ReviewCase,
    line: StructureLine,
    display: Display,
    lines: Sequence[StructureLine],
) -> None:
    """Draw the panel; an upload is checked once, and recorded when the reader says so."""
    region = region_of(case, line.structure, margin_mm=here.settings.region_margin_mm)
    with st.container(border=True, key="correction"):
        st.html('<p class="why"><b>Correct in another program</b> (Slicer, ITK-SNAP)</p>')
        st.html(_links(here, case, line, region))
        upload = st.file_uploader(
            "The corrected mask, as .nii.gz on the grid of the region or of the whole CT",
            key=f"upload-{seat().uploads}",
            max_upload_size=here.settings.max_upload_mb,
        )
        if upload is None:
            return
        item = (case.case.case_id, line.structure)
        checked = seat().checked
        if checked is None or checked.upload_id != upload.file_id or checked.item != item:
            outcome = _checked(here, case, line, display, upload.getvalue())
            checked = CheckedUpload(upload.file_id, item, outcome)
            seat().checked = checked
        if isinstance(checked.outcome, str):
            st.error(f"Refused, nothing was written: {checked.outcome}")
            return
        offer_correction(here, case, line, checked.outcome, lines=lines)


def offer_correction(
    here: Desk,
    case: ReviewCase,
    line: StructureLine,
    correction: Correction,
    *,
    lines: Sequence[StructureLine],
) -> None:
    """Say what a correction changes, let the reader settle overlaps, and record it when told to."""
    voxel_ml = voxel_volume_ml(case)
    st.html(
        f'<p class="why">{changed_voxels(correction.voxels_changed)} '
        f"({correction.voxels_changed * voxel_ml:.2f} mL); "
        f"{correction.encoded.voxels * voxel_ml:.1f} mL afterwards.</p>"
    )
    if correction.reaches_border:
        st.warning("The mask touches the border of the region: it may be cut off there.")
    transfer = chosen_transfer(case, correction.overlaps, key=f"transfer-{seat().uploads}")
    st.button(
        "Record the correction",
        key=f"record-{case.case.case_id}-{line.structure}",
        type="primary" if seat().unsaved is None else "secondary",
        on_click=record_correction,
        args=(here, case.case.case_id, line, correction),
        kwargs={"transfer": transfer, "lines": lines},
    )


def record_correction(
    here: Desk,
    case_id: str,
    line: StructureLine,
    correction: Correction,
    *,
    transfer: Sequence[str],
    lines: Sequence[StructureLine],
) -> None:
    """Store a correction and give the verdict that it is."""
    mask, linked = store_correction(here.store.objects, correction, transfer=transfer)
    answer = Answer(
        kind="correct",
        mask=mask,
        linked=linked,
        voxels_changed=correction.voxels_changed,
    )
    give(here, case_id, line, answer, lines=lines)


def _links(here: Desk, case: ReviewCase, line: StructureLine, region: Box) -> str:
    case_id, name = case.case.case_id, line.structure

    def ct() -> bytes:
        voxels = ct_of(here.store, case.case).hu_ras[box_slices(region)]
        return region_ct(voxels, region, case.grid)

    def mask() -> bytes:
        whole = stored_mask(here.store.objects, case.bases[name][1], case.grid)
        return region_mask(whole[box_slices(region)], region, case.grid)

    offers = {
        "CT of the region": (f"{case_id}_{name}_ct.nii.gz", ct),
        "mask of the region": (f"{case_id}_{name}_mask.nii.gz", mask),
    }
    links = "".join(
        f'<a href="{_address(here, case_id, file, make)}" download>{html.escape(words)}</a>'
        for words, (file, make) in offers.items()
    )
    return f'<div class="links">Download: {links}</div>'


def _address(here: Desk, case_id: str, file_name: str, make: Callable[[], bytes]) -> str:
    return GRANTS.offer(reader=here.reader, case_id=case_id, file_name=file_name, make=make)


def _checked(
    here: Desk, case: ReviewCase, line: StructureLine, display: Display, data: bytes
) -> Correction | str:
    taxonomy = load_taxonomy()
    region = region_of(case, line.structure, margin_mm=here.settings.region_margin_mm)
    try:
        if display.base_version != line.base_version:
            raise UsageError(
                f"{line.display} was changed meanwhile; show the new version and correct that"
            )
        upload = read_uploaded_mask(
            data,
            case.grid,
            region_ras=region,
            max_bytes=here.settings.max_upload_mb * _MIB,
        )
        return correct(
            here.store.objects,
            case.grid,
            upload,
            base=case.bases[line.structure][1],
            neighbours={
                name: case.bases[name]
                for name in exclusive_neighbours(case, taxonomy[line.structure])
            },
        )
    except AtlasLoopError as error:
        return str(error)
