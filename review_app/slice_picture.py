"""One slice of a CT as a PNG: window, contours, heat map and marks of the sides."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from model.rendering import Outline, Picture, render_plane
from review_app.view_models import PLANE_AXES, Box, Plane

_MARKS: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
"""What lies on the left, right, top and bottom of the picture."""

_MARK_COLOUR = (255, 214, 102)
_TICK_COLOUR = (120, 200, 255)


@dataclass(frozen=True, slots=True, eq=False)
class MaskCrop:
    """A mask or map as the crop that is stored.

    Attributes:
        values: uint8, RAS order, the shape of ``box_ras``.
        box_ras: Where it lies in the CT.
    """

    values: npt.NDArray[np.uint8]
    box_ras: Box


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """A mask crop to be outlined."""

    crop: MaskCrop
    rgb: tuple[int, int, int]
    width_px: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceView:
    """What one picture shows.

    Attributes:
        hu_ras: The CT, RAS order, shape (I, J, K).
        spacing_mm: Along R, A, S.
        view_ras: The part of the CT that fills the picture.
        cursor: Voxel (i, j, k) where the three planes meet.
        heat: Drawn as a transparent shade; None for none.
        frame: A box round the cursor whose sides are drawn; None for none.
    """

    hu_ras: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    view_ras: Box
    cursor: tuple[int, int, int]
    window_hu: tuple[float, float]
    contours: Sequence[Contour] = field(default_factory=tuple)
    heat: MaskCrop | None = None
    frame: Box | None = None


def slice_png(view: SliceView, plane: Plane, *, panel_px: int) -> bytes:
    """Return a slice through the cursor as a square PNG, in radiological convention.

    The patient's right is on the left, anterior is up in axial and left in sagittal slices, and a
    millimetre is as long in both directions.
    """
    axis = PLANE_AXES[plane]
    index = view.cursor[axis]
    slab = list(view.view_ras)
    slab[axis] = (index, index + 1)
    box: Box = (slab[0], slab[1], slab[2])
    i, j, k = (slice(lo, hi) for lo, hi in box)
    picture = Picture(
        hu=view.hu_ras[i, j, k],
        spacing_mm=view.spacing_mm,
        uncertainty=None if view.heat is None else part_of(view.heat, box),
        outlines=[
            Outline(part_of(one.crop, box) > 0, one.rgb, one.width_px) for one in view.contours
        ],
    )
    rgb = render_plane(picture, axis, 0, window_hu=view.window_hu, panel_px=panel_px)
    image = Image.fromarray(rgb)
    if view.frame is not None:
        _frame_in_place(image, view, plane, view.frame)
    _mark_in_place(image, plane)
    _tick_in_place(image, view, plane)
    buffer = io.BytesIO()
    # Level 1: a page waits for this, and localhost is not short of bandwidth.
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def part_of(crop: MaskCrop, box: Box) -> npt.NDArray[np.uint8]:
    """Return what a crop says about a box of the CT, 0 where it says nothing."""
    result = np.zeros([hi - lo for lo, hi in box], np.uint8)
    into: list[slice] = []
    out_of: list[slice] = []
    for (lo, hi), (start, stop) in zip(box, crop.box_ras, strict=True):
        first, last = max(lo, start), min(hi, stop)
        if first >= last:
            return result
        into.append(slice(first - lo, last - lo))
        out_of.append(slice(first - start, last - start))
    result[tuple(into)] = crop.values[tuple(out_of)]
    return result


def best_cursor(crops: Sequence[MaskCrop], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the slices that show most of the first crop that holds anything, else the middle."""
    for crop in crops:
        if crop.values.any():
            best = [
                int(np.argmax(crop.values.sum(axis=_others(axis), dtype=np.int64)))
                + crop.box_ras[axis][0]
                for axis in range(3)
            ]
            return (best[0], best[1], best[2])
    return (shape[0] // 2, shape[1] // 2, shape[2] // 2)


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return (first, second)


def _mark_in_place(image: Image.Image, plane: Plane) -> None:
    draw = ImageDraw.Draw(image)
    side = image.width
    font = ImageFont.load_default(size=max(18, side // 26))
    left, right, top, bottom = _MARKS[plane]
    places = (
        (left, (6, side // 2), "lm"),
        (right, (side - 6, side // 2), "rm"),
        (top, (side // 2, 5), "ma"),
        (bottom, (side // 2, side - 5), "md"),
    )
    for letter, place, anchor in places:
        draw.text(
            place,
            letter,
            fill=_MARK_COLOUR,
            font=font,
            anchor=anchor,
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )


def _tick_in_place(image: Image.Image, view: SliceView, plane: Plane) -> None:
    """Draw, at the picture's edges, where the other two planes cut this one."""
    side = image.width
    draw = ImageDraw.Draw(image)
    tick = max(6, side // 40)
    columns, rows = _others(PLANE_AXES[plane])
    for along, is_column in ((columns, True), (rows, False)):
        lo, hi = view.view_ras[along]
        if not lo <= view.cursor[along] < hi:
            continue
        place = round(_pixel(view, plane, side, along, view.cursor[along] + 0.5))
        for start, stop in ((0, tick), (side - tick, side)):
            line = (place, start, place, stop) if is_column else (start, place, stop, place)
            draw.line(line, fill=_TICK_COLOUR, width=1)


def _frame_in_place(image: Image.Image, view: SliceView, plane: Plane, frame: Box) -> None:
    """Draw the sides of a box that the slice goes through."""
    columns, rows = _others(PLANE_AXES[plane])
    left, right, top, bottom = (
        round(_pixel(view, plane, image.width, along, edge))
        for along in (columns, rows)
        for edge in reversed(frame[along])
    )
    # A side on the picture's own edge would not be seen.
    last = image.width - 1
    corners = (max(left, 0), max(top, 0), min(right, last), min(bottom, last))
    ImageDraw.Draw(image).rectangle(corners, outline=_TICK_COLOUR, width=2)


def _pixel(view: SliceView, plane: Plane, side: int, along: int, edge: float) -> float:
    """Return where a place along an axis, in voxels from the first one's outer edge, is drawn.

    Right and anterior lie on the left, superior and anterior on top: both count downwards.
    """
    lengths = [(hi - lo) * s for (lo, hi), s in zip(view.view_ras, view.spacing_mm, strict=True)]
    columns, rows = _others(PLANE_AXES[plane])
    per_mm = side / max(lengths[columns], lengths[rows])
    from_end_mm = (view.view_ras[along][1] - edge) * view.spacing_mm[along]
    return (side - lengths[along] * per_mm) / 2 + from_end_mm * per_mm
