"""Two labels of one structure in the box that holds both, and pictures of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.mask_difference import MaskDifference, mask_difference
from review_app.slice_picture import Contour, MaskCrop, SliceView, part_of, slice_png
from review_app.view_models import Box, region_box
from storage.case_image import CaseImage
from storage.grid import Grid
from storage.label_masks import read_label_crop
from storage.labels import LabelMask
from storage.objects import ObjectStore

_LINE_PX = 2
_SHADE = 200
_PANEL_PX = 560
_AXIAL = 2

Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class VersionPair:
    """Two masks and what they differ in.

    Attributes:
        first: Shape of the box, RAS order.
        second: The same shape.
        box_ras: Where both lie in the CT; everything outside is background of both.
    """

    first: Mask
    second: Mask
    box_ras: Box
    difference: MaskDifference

    @property
    def start_slice(self) -> int:
        """The axial slice of the CT that differs most, else the middle one of what is there."""
        low, high = self.box_ras[_AXIAL]
        most = self.difference.most_changed
        return (low + high) // 2 if most is None else low + most


def version_pair(
    objects: ObjectStore, grid: Grid, first: LabelMask, second: LabelMask
) -> VersionPair:
    """Read two labels of a case and compare them.

    Raises:
        StorageError: A mask is missing or damaged.
    """
    crops = [
        None if found is None else MaskCrop(found[1], found[0])
        for found in (read_label_crop(objects, label, grid.ras_shape) for label in (first, second))
    ]
    boxes = [crop.box_ras for crop in crops if crop is not None]
    box = region_box(boxes, grid.ras_shape, spacing_mm=grid.ras_spacing_mm, margin_mm=0.0)
    masks = [
        np.zeros([high - low for low, high in box], np.bool_)
        if crop is None
        else part_of(crop, box) > 0
        for crop in crops
    ]
    return VersionPair(
        masks[0], masks[1], box, mask_difference(masks[0], masks[1], grid.ras_spacing_mm)
    )


def pair_pngs(
    pair: VersionPair,
    image: CaseImage,
    *,
    rgb: Colour,
    slice_index: int,
    window_hu: tuple[float, float],
    margin_mm: float,
) -> tuple[bytes, bytes]:
    """Return one axial slice twice, each with one mask, shaded where the other lacks it.

    Args:
        pair: The masks.
        image: The CT.
        rgb: Of the structure.
        slice_index: Of the CT, from 0.
        window_hu: Lower and upper end of the grey values.
        margin_mm: Shown round both masks.
    """
    grid = image.grid
    region = region_box(
        [pair.box_ras], grid.ras_shape, spacing_mm=grid.ras_spacing_mm, margin_mm=margin_mm
    )
    i, j = ((low + high) // 2 for low, high in region[:2])
    pngs = []
    for mask, other in ((pair.first, pair.second), (pair.second, pair.first)):
        alone = (mask & ~other).astype(np.uint8) * np.uint8(_SHADE)
        view = SliceView(
            hu_ras=image.hu_ras,
            spacing_mm=grid.ras_spacing_mm,
            view_ras=region,
            cursor=(i, j, slice_index),
            window_hu=window_hu,
            contours=[Contour(MaskCrop(mask.astype(np.uint8), pair.box_ras), rgb, _LINE_PX)],
            heat=MaskCrop(alone, pair.box_ras),
        )
        pngs.append(slice_png(view, "axial", panel_px=_PANEL_PX))
    return pngs[0], pngs[1]
