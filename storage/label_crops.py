"""Two labels of one structure as crops of one box, whatever axis order each was stored in."""

from __future__ import annotations

import io
import json
from collections.abc import Collection

import duckdb
import numpy as np
import numpy.typing as npt

from configs.errors import StorageError
from storage.grid import Box, Grid, affine_tuple, box_shape, box_slices
from storage.image_stream import ImageStream
from storage.labels import LabelMask
from storage.masks import decode_crop
from storage.nifti_header import NIFTI2_BYTES, grid_of, parse_header
from storage.objects import ObjectStore
from storage.predictions import nested_box

Mask = npt.NDArray[np.bool_]


def case_grids(connection: duckdb.DuckDBPyConnection, case_ids: Collection[str]) -> dict[str, Grid]:
    """Return the grid of each case, as the first file that held it lies."""
    rows = connection.execute(
        """SELECT case_id, to_json(shape), to_json(affine) FROM cases
           WHERE list_contains($cases, case_id)""",
        {"cases": list(case_ids)},
    ).fetchall()
    return {
        case_id: Grid(
            shape=tuple(json.loads(shape)),
            affine=affine_tuple(np.array(json.loads(affine), np.float64).reshape(4, 4)),
        )
        for case_id, shape, affine in rows
    }


def paired_crops(
    objects: ObjectStore, first: LabelMask, second: LabelMask, case: Grid
) -> tuple[Mask, Mask]:
    """Return both masks on the smallest box that holds their crops, RAS order.

    Everything outside that box is background of both. A label may have been drawn on another copy
    of the scan than ``case``, with other axes: the stored crop tells its own.

    Args:
        objects: Where the masks lie.
        first: A mask, or ``ABSENT``.
        second: Another, of the same case.
        case: The case's grid.

    Returns:
        Two arrays of one shape (I, J, K); (0, 0, 0) where both are absent.

    Raises:
        StorageError: A mask is missing or damaged, or does not lie in the volume.
    """
    crops = [_crop(objects, mask, case) for mask in (first, second)]
    boxes = [crop[1] for crop in crops if crop is not None]
    if not boxes:
        nothing = np.zeros((0, 0, 0), np.bool_)
        return nothing, nothing.copy()
    lows = [min(box[axis][0] for box in boxes) for axis in range(3)]
    highs = [max(box[axis][1] for box in boxes) for axis in range(3)]
    shape = tuple(high - low for low, high in zip(lows, highs, strict=True))
    placed = []
    for crop in crops:
        array = np.zeros(shape, np.bool_)
        if crop is not None:
            voxels, box = crop
            i, j, k = ((a - low, b - low) for (a, b), low in zip(box, lows, strict=True))
            array[box_slices((i, j, k))] = voxels
        placed.append(array)
    return placed[0], placed[1]


def _crop(
    objects: ObjectStore, mask: LabelMask, case: Grid
) -> tuple[npt.NDArray[np.uint8], Box] | None:
    """Return a mask's voxels and their box, both in RAS order; None where it is absent."""
    if mask.object is None or mask.box is None:
        return None
    data = objects.read(mask.object)
    box = nested_box(mask.box)
    grid = _drawn_on(data, box, case)
    box_ras = grid.box_to_ras(box)
    inside = all(0 <= a < b <= n for (a, b), n in zip(box_ras, case.ras_shape, strict=True))
    if not inside:
        raise StorageError(
            f"a label must lie in its case's volume {case.ras_shape}, got the box {box_ras}; run "
            "`atlasloop verify`"
        )
    return decode_crop(data, box, grid), box_ras


def _drawn_on(data: bytes, box: Box, case: Grid) -> Grid:
    """Return the whole volume's grid in the axis order that a stored crop has.

    Only the directions of its axes count, not its place: files of one case may differ in origin.
    """
    name = "a stored mask"
    header = parse_header(ImageStream(io.BytesIO(data), name).read_up_to(NIFTI2_BYTES), name)
    crop = grid_of(box_shape(box), header)
    shape = [0, 0, 0]
    for axis, length in zip(crop.ras_axes, case.ras_shape, strict=True):
        shape[axis] = length
    return Grid(shape=(shape[0], shape[1], shape[2]), affine=crop.affine)
