"""A label's mask in RAS order, whatever axis order the file had that it was made on."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, StorageError
from storage.grid import Box, Grid, box_slices
from storage.image_stream import ImageStream
from storage.labels import LabelMask
from storage.masks import decode_crop
from storage.nifti_header import NIFTI2_BYTES, grid_of, parse_header, shape_of
from storage.objects import ObjectStore
from storage.predictions import nested_box


def read_label_crop(
    objects: ObjectStore, mask: LabelMask, ras_shape: tuple[int, int, int]
) -> tuple[Box, npt.NDArray[np.uint8]] | None:
    """Return where a label's mask lies along R, A, S, and its voxels there, 0 or 1.

    A case can have several files in different axis orders, and a box counts along the axes of the
    file that its mask was made on. The mask object's own affine says which axes these are.

    Args:
        objects: Where the mask lies.
        mask: The label.
        ras_shape: Shape (I, J, K) of the whole volume in RAS order.

    Returns:
        None where the structure is absent.

    Raises:
        StorageError: The object is missing, altered, or does not fit the volume.
    """
    if mask.object is None or mask.box is None:
        return None
    data = objects.read(mask.object)
    box = nested_box(mask.box)
    grid = _whole_grid(data, mask.object, ras_shape)
    if any(stop > length for (_, stop), length in zip(box, grid.shape, strict=True)):
        raise StorageError(f"object {mask.object} lies at {box}, outside the volume {grid.shape}")
    return grid.box_to_ras(box), decode_crop(data, box, grid)


def read_label(
    objects: ObjectStore, mask: LabelMask, ras_shape: tuple[int, int, int]
) -> npt.NDArray[np.bool_]:
    """Return a label's mask on the whole volume, RAS order, shape ``ras_shape``.

    Raises:
        StorageError: As ``read_label_crop``.
    """
    full = np.zeros(ras_shape, np.bool_)
    found = read_label_crop(objects, mask, ras_shape)
    if found is not None:
        box, crop = found
        full[box_slices(box)] = crop
    return full


def _whole_grid(data: bytes, digest: str, ras_shape: tuple[int, int, int]) -> Grid:
    """Return a grid with the object's axes and the whole volume's shape."""
    try:
        start = ImageStream(io.BytesIO(data), digest).read_up_to(NIFTI2_BYTES)
        header = parse_header(start, digest)
        i, j, k = shape_of(header, digest)
    except (CaseError, ValueError) as error:
        raise StorageError(f"object {digest} is no mask; {error}") from error
    crop = grid_of((i, j, k), header)
    shape = [0, 0, 0]
    for ras_axis, file_axis in enumerate(crop.ras_axes):
        shape[file_axis] = ras_shape[ras_axis]
    return replace(crop, shape=(shape[0], shape[1], shape[2]))
