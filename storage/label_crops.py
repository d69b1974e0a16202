"""Two labels of one structure as crops of one box, whatever axis order each was stored in."""

from __future__ import annotations

import json
from collections.abc import Collection

import duckdb
import numpy as np
import numpy.typing as npt

from storage.grid import Grid, affine_tuple, box_slices
from storage.label_masks import read_label_crop
from storage.labels import LabelMask
from storage.objects import ObjectStore

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
    objects: ObjectStore, first: LabelMask, second: LabelMask, ras_shape: tuple[int, int, int]
) -> tuple[Mask, Mask]:
    """Return both masks on the smallest box that holds their crops, RAS order.

    Everything outside that box is background of both.

    Args:
        objects: Where the masks lie.
        first: A mask, or ``ABSENT``.
        second: Another, of the same case.
        ras_shape: Shape (I, J, K) of the case's whole volume in RAS order.

    Returns:
        Two arrays of one shape; (0, 0, 0) where both are absent.

    Raises:
        StorageError: A mask is missing or damaged, or does not lie in the volume.
    """
    crops = [read_label_crop(objects, mask, ras_shape) for mask in (first, second)]
    boxes = [crop[0] for crop in crops if crop is not None]
    if not boxes:
        return np.zeros((0, 0, 0), np.bool_), np.zeros((0, 0, 0), np.bool_)
    lows = [min(box[axis][0] for box in boxes) for axis in range(3)]
    highs = [max(box[axis][1] for box in boxes) for axis in range(3)]
    placed = [
        np.zeros([high - low for low, high in zip(lows, highs, strict=True)], np.bool_)
        for _ in crops
    ]
    for array, crop in zip(placed, crops, strict=True):
        if crop is not None:
            box, voxels = crop
            i, j, k = ((a - low, b - low) for (a, b), low in zip(box, lows, strict=True))
            array[box_slices((i, j, k))] = voxels
    return placed[0], placed[1]
