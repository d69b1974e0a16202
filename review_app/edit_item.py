"""From one structure of a case to what the editor opens of it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from configs.taxonomy import load_taxonomy
from model.rendering import CONSENSUS_COLOUR, member_colours
from review_app.case_scene import region_of
from review_app.edit_document import BASE_LAYER, EditLayer, Item
from review_app.view_models import StructureLine, exclusive_neighbours, findings_on
from storage.edit_region import part_with, parts_of, widened
from storage.edited_mask import common_box, hull, label_box
from storage.grid import Box
from storage.labels import LabelMask
from storage.predictions import CONSENSUS, StoredMap, StoredMask
from storage.review_case import ReviewCase

_MOST_CANDIDATES = 10
_HEAT_RGB = (255, 140, 0)
_BLIND_RGB = ((90, 170, 255), (255, 190, 60), (160, 220, 120), (230, 130, 220))


def item_of(case: ReviewCase, line: StructureLine, *, blind: bool = False) -> Item:
    """Return a structure as the editor opens it.

    Args:
        case: As it stands in the index.
        line: The structure.
        blind: Members are letters in an order that says nothing, and no map is shown.
    """
    name, taxonomy = line.structure, load_taxonomy()
    base_version, base = case.bases[name]
    maps = {one.kind: _of_map(one) for one in case.maps.get(name, ())}
    exclusive = exclusive_neighbours(case, taxonomy[name])
    heat = [] if blind else _heat(maps.get("uncertainty"))
    return Item(
        case=case.case,
        grid=case.grid,
        structure=name,
        display=line.display,
        rgb=line.rgb,
        base_version=base_version,
        base=base,
        layers=(
            EditLayer(
                layer_id=BASE_LAYER, kind="mask", name=line.display, rgb=line.rgb, stored=base
            ),
            *_members(case, name, base, blind=blind),
            *_neighbours(case, name, exclusive),
            *heat,
        ),
        neighbours={one: case.bases[one] for one in exclusive},
        disagreement=maps.get("disagreement"),
        blind=blind,
        findings=() if blind else (*_faults(case, name), *candidate_places(case, name)),
    )


def _faults(case: ReviewCase, structure: str) -> tuple[tuple[int, int, int], ...]:
    """Return where the plausibility rules see a fault, each place once."""
    places = (
        case.grid.voxel_to_ras(one.place)
        for one in findings_on(case, structure)
        if one.severity == "fault" and one.place is not None
    )
    return tuple(dict.fromkeys(places))


def candidate_places(case: ReviewCase, structure: str) -> tuple[tuple[int, int, int], ...]:
    """Return the most likely places of a lesion outside its mask, as voxels in RAS."""
    places = (
        case.grid.voxel_to_ras(one.centre)
        for one in case.candidates.get(structure, ())[:_MOST_CANDIDATES]
    )
    return tuple(dict.fromkeys(places))


def regions_to_edit(
    case: ReviewCase, structure: str, *, margin_mm: float, wider_mm: float, most_side: int
) -> tuple[Box, ...]:
    """Return the parts in which a structure is edited, with all that is known of it in them.

    Args:
        case: The case.
        structure: The structure.
        margin_mm: Round its masks and maps.
        wider_mm: What the reader asked for beyond that.
        most_side: Longest side of a part, in voxels.
    """
    wanted = region_of(case, structure, margin_mm=margin_mm)
    if wider_mm > 0:
        spacing_mm = case.grid.ras_spacing_mm
        wanted = widened(wanted, case.grid.ras_shape, spacing_mm=spacing_mm, by_mm=wider_mm)
    return parts_of(wanted, most_side=most_side)


def first_part(parts: Sequence[Box], item: Item) -> int:
    """Return the part that the middle of the base, or of all parts, lies in."""
    box = label_box(item.base, item.grid) or hull(list(parts))
    i, j, k = ((low + high) // 2 for low, high in box)
    return part_with(parts, (i, j, k))


def _members(case: ReviewCase, name: str, base: LabelMask, *, blind: bool) -> list[EditLayer]:
    stored = [one for one in case.masks.get(name, ()) if one.object != base.object]
    if blind:
        return _nameless(case, name, [one for one in stored if one.member != CONSENSUS])
    colours = member_colours(tuple(one.member for one in stored if one.member != CONSENSUS))
    return [
        EditLayer(
            layer_id=f"member-{number}",
            kind="member",
            name="consensus" if one.member == CONSENSUS else one.member,
            rgb=colours.get(one.member, CONSENSUS_COLOUR),
            stored=_of_mask(one),
        )
        for number, one in enumerate(stored)
    ]


def _nameless(case: ReviewCase, name: str, stored: Sequence[StoredMask]) -> list[EditLayer]:
    """Return the members as letters, in an order drawn from the item and not from the members."""

    def draw(one: StoredMask) -> str:
        return sha256(f"{case.case.case_id} {name} {one.object}".encode()).hexdigest()

    return [
        EditLayer(
            layer_id=f"member-{letter}",
            kind="member",
            name=letter,
            rgb=_BLIND_RGB[number % len(_BLIND_RGB)],
            stored=_of_mask(one),
        )
        for number, (letter, one) in enumerate(
            zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", sorted(stored, key=draw), strict=False)
        )
    ]


def _neighbours(case: ReviewCase, name: str, exclusive: Sequence[str]) -> list[EditLayer]:
    """Return the other structures that come near; exclusive ones whether near or not."""
    around = region_of(case, name, margin_mm=0.0)
    found = []
    for structure in load_taxonomy().structures:
        if structure.name == name or structure.name not in case.bases:
            continue
        label = case.bases[structure.name][1]
        box = label_box(label, case.grid)
        is_exclusive = structure.name in exclusive
        if box is not None and (is_exclusive or common_box(box, around) is not None):
            layer = EditLayer(
                layer_id=f"neighbour-{structure.name}",
                kind="neighbour",
                name=structure.display,
                rgb=structure.rgb,
                stored=label,
                exclusive=is_exclusive,
                kept=structure.name in case.waiting_blind,
            )
            found.append(layer)
    return found


def _heat(stored: LabelMask | None) -> list[EditLayer]:
    if stored is None:
        return []
    return [
        EditLayer(layer_id="heat", kind="heat", name="Uncertainty", rgb=_HEAT_RGB, stored=stored)
    ]


def _of_mask(one: StoredMask) -> LabelMask:
    return LabelMask(one.object, one.box, one.voxels)


def _of_map(one: StoredMap) -> LabelMask:
    return LabelMask(one.object, one.box, 0)
