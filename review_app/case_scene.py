"""From one structure of a case to what the viewer shows of it."""

from __future__ import annotations

from collections.abc import Sequence

from configs.taxonomy import load_taxonomy
from model.rendering import CONSENSUS_COLOUR, member_colours
from review_app.case_images import crop_of, ct_of
from review_app.slice_picture import Contour, MaskCrop, best_cursor
from review_app.view_models import Box, StructureLine, region_box
from review_app.viewer import Layer, Scene
from storage.labels import LabelMask
from storage.predictions import CONSENSUS, StoredMap, StoredMask, nested_box
from storage.review_case import ReviewCase
from storage.store import Store

_OWN_WIDTH_PX = 2


def scene_of(store: Store, case: ReviewCase, line: StructureLine, *, region_ras: Box) -> Scene:
    """Return the scene of one structure: its label, the members' masks, and the neighbours.

    Raises:
        CaseError: The CT is gone or was changed.
        StorageError: A mask is missing or damaged.
    """
    name = line.structure
    own = _label_crop(store, case, case.bases[name][1])
    is_consensus = any(
        mask.member == CONSENSUS and mask.object == case.bases[name][1].object
        for mask in case.masks.get(name, ())
    )
    drawn = {mask.member: _crop(store, case, mask) for mask in case.masks.get(name, ())}
    maps = {one.kind: _crop(store, case, one) for one in case.maps.get(name, ())}
    consensus = drawn.pop(CONSENSUS, None)
    best = [maps.get("disagreement"), own, consensus, *drawn.values(), maps.get("uncertainty")]
    colours = member_colours(tuple(drawn))
    layers = [
        Layer("", _label(own, line, is_consensus=is_consensus)),
        Layer(
            "Consensus",
            [("consensus", Contour(consensus, CONSENSUS_COLOUR))]
            if consensus is not None and not is_consensus
            else [],
        ),
        Layer("Members", [(key, Contour(crop, colours[key])) for key, crop in drawn.items()]),
        Layer("Neighbours", _neighbours(store, case, name), is_on=False),
    ]
    return Scene(
        key=scene_key(case.case.case_id, name),
        image=ct_of(store, case.case),
        start=best_cursor([crop for crop in best if crop is not None], case.grid.ras_shape),
        region_ras=region_ras,
        layers=layers,
        heat=maps.get("uncertainty"),
    )


def scene_key(case_id: str, structure: str) -> str:
    """Return what names the scene of an item."""
    return f"{case_id}-{structure}"


def region_of(case: ReviewCase, structure: str, *, margin_mm: float) -> Box:
    """Return the region that is handed out for correction: all masks and maps, and a margin.

    Where there is none of them it lies round the likeliest place of a lesion, or is the whole CT.
    """
    stored: Sequence[StoredMask | StoredMap] = [
        *case.masks.get(structure, ()),
        *case.maps.get(structure, ()),
    ]
    boxes = [one.box for one in stored]
    base = case.bases[structure][1]
    if base.box is not None:
        boxes.append(base.box)
    known = [case.grid.box_to_ras(nested_box(box)) for box in boxes]
    if not known:
        places = (one.centre for one in case.candidates.get(structure, ())[:1])
        known = [case.grid.box_to_ras(((i, i + 1), (j, j + 1), (k, k + 1))) for i, j, k in places]
    return region_box(
        known,
        case.grid.ras_shape,
        spacing_mm=case.grid.ras_spacing_mm,
        margin_mm=margin_mm,
    )


def _label(
    own: MaskCrop | None, line: StructureLine, *, is_consensus: bool
) -> list[tuple[str, Contour]]:
    """Return the contour that a verdict is about."""
    if own is None:
        return []
    words = f"{line.display}: consensus" if is_consensus else f"{line.display}: label now"
    return [(words, Contour(own, line.rgb, _OWN_WIDTH_PX))]


def _neighbours(store: Store, case: ReviewCase, name: str) -> list[tuple[str, Contour]]:
    found: list[tuple[str, Contour]] = []
    for structure in load_taxonomy().structures:
        label = case.bases.get(structure.name)
        crop = None if label is None else _label_crop(store, case, label[1])
        if structure.name != name and crop is not None:
            found.append((structure.display, Contour(crop, structure.rgb)))
    return found


def _label_crop(store: Store, case: ReviewCase, label: LabelMask) -> MaskCrop | None:
    if label.object is None or label.box is None:
        return None
    return crop_of(store, label.object, label.box, case.grid)


def _crop(store: Store, case: ReviewCase, part: StoredMask | StoredMap) -> MaskCrop:
    return crop_of(store, part.object, part.box, case.grid)
