"""Two labels of one structure in the box that holds both, and pictures of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.mask_difference import MaskDifference, mask_difference
from review_app.slice_picture import Contour, MaskCrop, SliceView, part_of, slice_png
from review_app.view_models import PLANE_AXES, Box, Plane, region_box
from storage.case_image import CaseImage
from storage.grid import Grid
from storage.label_masks import read_label_crop
from storage.labels import LabelMask
from storage.objects import ObjectStore

_LINE_PX = 2
_SHADE = 200
_PANEL_PX = 560

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

    def start_slice(self, plane: Plane) -> int:
        """Return the CT's slice that differs most, else the middle one of what is there."""
        axis = PLANE_AXES[plane]
        low, high = self.box_ras[axis]
        most = self.difference.most_changed
        return (low + high) // 2 if most is None else low + most[axis]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairView:
    """Which slice of two masks is shown, and how.

    Attributes:
        slice_index: Of the CT along the plane's axis, from 0.
        window_hu: Lower and upper end of the grey values.
        margin_mm: Shown round both masks.
    """

    plane: Plane
    slice_index: int
    window_hu: tuple[float, float]
    margin_mm: float


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
    pair: VersionPair, image: CaseImage, view: PairView, *, rgb: Colour
) -> tuple[bytes, bytes]:
    """Return one slice twice, each with one mask, shaded where the other lacks it.

    Args:
        pair: The masks.
        image: The CT.
        view: The slice.
        rgb: Of the structure.
    """
    grid = image.grid
    region = region_box(
        [pair.box_ras], grid.ras_shape, spacing_mm=grid.ras_spacing_mm, margin_mm=view.margin_mm
    )
    i, j, k = (
        view.slice_index if axis == PLANE_AXES[view.plane] else (low + high) // 2
        for axis, (low, high) in enumerate(region)
    )
    pngs = []
    for mask, other in ((pair.first, pair.second), (pair.second, pair.first)):
        alone = (mask & ~other).astype(np.uint8) * np.uint8(_SHADE)
        shown = SliceView(
            hu_ras=image.hu_ras,
            spacing_mm=grid.ras_spacing_mm,
            view_ras=region,
            cursor=(i, j, k),
            window_hu=view.window_hu,
            contours=[Contour(MaskCrop(mask.astype(np.uint8), pair.box_ras), rgb, _LINE_PX)],
            heat=MaskCrop(alone, pair.box_ras),
        )
        pngs.append(slice_png(shown, view.plane, panel_px=_PANEL_PX))
    return pngs[0], pngs[1]
