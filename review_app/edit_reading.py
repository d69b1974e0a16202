"""From an independent reading to what the editor opens of it: the CT, and nothing of a model."""

from __future__ import annotations

from configs.taxonomy import load_taxonomy
from review_app.edit_document import BASE_LAYER, EditLayer, Item
from storage.cases import CaseRow
from storage.corrections import whole_box
from storage.edit_region import widened
from storage.grid import Box, Grid
from storage.labels import ABSENT
from storage.open_readings import OpenReading

Voxel = tuple[int, int, int]


def reading_item(
    case: CaseRow, grid: Grid, reading: OpenReading, *, place: Voxel | None = None
) -> Item:
    """Return a reading as the editor opens it: an empty mask, no other layer, no version.

    Args:
        case: The CT.
        grid: Its grid.
        reading: What is to be read.
        place: Where the reader looks first.
    """
    structure = load_taxonomy()[reading.structure]
    layer = EditLayer(
        layer_id=BASE_LAYER,
        kind="mask",
        name=structure.display,
        rgb=structure.rgb,
        stored=ABSENT,
    )
    return Item(
        case=case,
        grid=grid,
        structure=structure.name,
        display=structure.display,
        rgb=structure.rgb,
        base_version=f"reading {reading.number + 1}",
        base=ABSENT,
        layers=(layer,),
        neighbours={},
        blind=True,
        reading=reading,
        place=place,
    )


def region_to_read(
    grid: Grid, place: Voxel | None, *, wider_mm: float, most_side: int
) -> Box | None:
    """Return where a reading is drawn: the whole CT, or a part; None until the reader places it.

    Args:
        grid: The CT's grid.
        place: Voxel that the region is laid round; None for none yet.
        wider_mm: What the reader asked for beyond that.
        most_side: Longest side of a region that nobody widened, in voxels.
    """
    shape = grid.ras_shape
    if max(shape) <= most_side:
        return whole_box(grid)
    if place is None:
        return None
    i, j, k = (_span(at, length, most_side) for at, length in zip(place, shape, strict=True))
    return widened((i, j, k), shape, spacing_mm=grid.ras_spacing_mm, by_mm=wider_mm)


def _span(at: int, length: int, side: int) -> tuple[int, int]:
    """Return a range of a side round a voxel, moved into the CT where it would leave it."""
    start = min(max(0, at - side // 2), max(0, length - side))
    return start, min(length, start + side)
