"""What the editor shows of a document: its facts, the CT, masks and maps, in the region alone."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import numpy as np
import numpy.typing as npt

from model.disputed_places import disputed_places
from review_app.case_images import crop_of, regions_of
from review_app.edit_document import EditDocument
from review_app.edit_request import Refused
from review_app.protocol_panel import picture_address, protocol_text
from review_app.slice_picture import MaskCrop, best_cursor, part_of
from review_app.view_models import WINDOWS_HU
from storage.drafts import Drafts
from storage.edited_mask import EditedMask, common_box, inside, label_in, part_in
from storage.grid import Box, box_shape
from storage.labels import LabelMask
from storage.protocols import protocol_of

Voxels = npt.NDArray[np.generic]


def document_facts(document: EditDocument) -> dict[str, object]:
    """Return the document as the page reads it; a blind one says nothing of a model or version.

    Raises:
        StorageError: A draft or a stored mask is damaged.
    """
    item, region, settings = document.item, document.region_ras, document.here.settings
    draft = Drafts(document.here.store.workspace.drafts_path).get(document.draft_key)
    if draft is not None and not document.is_changed_by(draft.edited):
        draft = None
    start, disputed = _places(document, None if draft is None else draft.edited)
    shape = box_shape(region)
    return {
        "id": document.document_id,
        "xsrf": document.xsrf,
        "case_id": item.case.case_id,
        "structure": item.structure,
        "display": item.display,
        "rgb": list(item.rgb),
        "base_version": document.shown_base,
        "shape": list(shape),
        "spacing_mm": list(item.grid.ras_spacing_mm),
        "origin_voxel": [low for low, _ in region],
        "full_shape": list(item.grid.ras_shape),
        "has_draft": draft is not None,
        "edited_elsewhere": draft is not None and _is_edited_elsewhere(document, draft.edited),
        "draft_saved_at": None if draft is None else f"{draft.saved_at.isoformat()}Z",
        "at_ct_border": [
            [low == 0, high == length]
            for (low, high), length in zip(region, item.grid.ras_shape, strict=True)
        ],
        "layers": [
            {
                "id": layer.layer_id,
                "kind": layer.kind,
                "name": layer.name,
                "rgb": list(layer.rgb),
                "exclusive": layer.exclusive,
                "kept": layer.kept,
            }
            for layer in item.layers
        ],
        "windows": {name: list(ends) for name, ends in WINDOWS_HU.items()},
        "start_voxel": list(start),
        "disputed": [list(place) for place in disputed],
        "protocol": _protocol_facts(document),
        "keys": dict(settings.editor_keys),
        "limits": {"max_bytes": 2 * int(np.prod(shape)), "autosave_s": settings.autosave_s},
        "body": _body_facts(document),
        "blind": item.blind,
        "verdicts": list(item.verdicts),
    }


def region_hu(document: EditDocument) -> npt.NDArray[np.int16]:
    """Return the region's CT, shape (I, J, K).

    Raises:
        CaseError: The CT is gone, was changed or is damaged.
        StorageError: What is kept of it is damaged.
    """
    blocks = regions_of(document.here.store).blocks(document.item.case)
    return blocks.region(document.region_ras)


def layer_voxels(document: EditDocument, layer_id: str) -> Voxels:
    """Return a layer on the region's grid: 0 and 1, or 0 to 255 for a map.

    Raises:
        Refused: There is no such layer.
        StorageError: It is missing or damaged.
    """
    item = document.item
    layer = next((one for one in item.layers if one.layer_id == layer_id), None)
    if layer is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"this item has no layer {layer_id[:40]!r}")
    if layer.kind == "heat":
        crop = _crop(document, layer.stored)
        return (
            np.zeros(box_shape(document.region_ras), np.uint8)
            if crop is None
            else part_of(crop, document.region_ras)
        )
    return label_in(document.here.store.objects, layer.stored, item.grid, document.region_ras).view(
        np.uint8
    )


def draft_voxels(document: EditDocument) -> Voxels:
    """Return the region of the mask as the draft left it.

    Raises:
        Refused: There is no draft.
        StorageError: It is damaged.
    """
    draft = Drafts(document.here.store.workspace.drafts_path).get(document.draft_key)
    if draft is None:
        raise Refused(HTTPStatus.NOT_FOUND, "this item has no draft")
    return drafted(document, draft.edited).view(np.uint8)


def drafted(document: EditDocument, edited: EditedMask) -> npt.NDArray[np.bool_]:
    """Return the region of the base with an edit laid over it."""
    region = document.region_ras
    mask = part_in(document.base_mask(), region)
    shared = common_box(edited.box_ras, region)
    if shared is not None:
        mask[inside(shared, region)] = edited.mask_ras[inside(shared, edited.box_ras)]
    return mask


def _is_edited_elsewhere(document: EditDocument, edited: EditedMask) -> bool:
    """Whether a draft changes something outside of the region that is open."""
    changed = part_in(document.base_mask(), edited.box_ras) != edited.mask_ras
    shared = common_box(edited.box_ras, document.region_ras)
    if shared is not None:
        changed[inside(shared, edited.box_ras)] = False
    return bool(changed.any())


def _places(
    document: EditDocument, drawn: EditedMask | None
) -> tuple[tuple[int, int, int], list[tuple[int, int, int]]]:
    """Return where to start, and findings and where members disagree, in voxels of the region."""
    item, region = document.item, document.region_ras
    shape = box_shape(region)
    if item.place is not None:
        return _within(item.place, region), []
    found = [] if item.blind else _findings_in(item.findings, region)
    if item.disagreement is not None and not item.blind:
        crop = _crop(document, item.disagreement)
        if crop is not None:
            found += disputed_places(part_of(crop, region), item.grid.ras_spacing_mm)
    if found:
        return found[0], found
    if item.reading is not None and drawn is not None:
        mask = part_in(drawn, region)
    else:
        mask = label_in(document.here.store.objects, item.base, item.grid, region)
    whole = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    return best_cursor([MaskCrop(mask.view(np.uint8), whole)], shape), []


def _within(voxel: tuple[int, int, int], region: Box) -> tuple[int, int, int]:
    """Return the voxel of a region that is nearest to one of the CT."""
    i, j, k = (
        min(max(at, low), high - 1) - low for at, (low, high) in zip(voxel, region, strict=True)
    )
    return (i, j, k)


def _findings_in(places: Sequence[tuple[int, int, int]], region: Box) -> list[tuple[int, int, int]]:
    (i0, i1), (j0, j1), (k0, k1) = region
    return [
        (i - i0, j - j0, k - k0)
        for i, j, k in places
        if i0 <= i < i1 and j0 <= j < j1 and k0 <= k < k1
    ]


def _body_facts(document: EditDocument) -> dict[str, object]:
    """Return where the coronal picture of the whole CT is, and the region's box on it.

    Left and top of the picture are the patient's right and head, so both axes run against RAS.
    """
    (i0, i1), _, (k0, k1) = document.region_ras
    columns, _, rows = document.item.grid.ras_shape
    return {
        "image_url": f"/edit/{document.token}/body",
        # Left, top, right, bottom.
        "box": [1 - i1 / columns, 1 - k1 / rows, 1 - i0 / columns, 1 - k0 / rows],
    }


def _crop(document: EditDocument, stored: LabelMask) -> MaskCrop | None:
    if stored.object is None or stored.box is None:
        return None
    return crop_of(document.here.store, stored.object, stored.box, document.item.grid)


def _protocol_facts(document: EditDocument) -> dict[str, object] | None:
    found = protocol_of(document.here.store, document.item.structure)
    if found is None:
        return None
    return {
        "version": found.version,
        "text": protocol_text(found),
        "picture_url": picture_address(found),
    }
