"""Pictures of one structure of one case: arrays in, RGB uint8 arrays out.

Radiological convention: the patient's right is on the left of the picture, anterior is up in axial
    and left
in sagittal slices, superior is up. A millimetre is as long in every direction and in all three
planes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage import measure

from model.grid import Box, Grid, Shape, Triple

Scalar = TypeVar("Scalar", bound=np.generic)
Colour = tuple[int, int, int]
Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

# Okabe and Ito's palette: told apart with any kind of colour vision; black is the background.
MEMBER_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
CONSENSUS_COLOUR: Colour = (255, 255, 255)
HEAT_COLOUR: Colour = (204, 71, 167)

_HEAT_OPACITY = 0.6
_GAP_PX = 4
_DASH_PX = 4


@dataclass(frozen=True, slots=True)
class Outline:
    """A mask of shape (I, J, K) to be drawn as a contour."""

    mask: Mask
    colour: Colour
    width_px: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What to draw. All arrays have one shape (I, J, K), in RAS.

    Attributes:
        hu: CT in Hounsfield units.
        spacing_mm: Of the grid.
        members: Mask of each member, drawn as a contour.
        consensus: Mask of the committee, drawn as a contour.
        uncertainty: 0 to 255, drawn as a transparent heat map.
        disagreement: 0 to 255, chooses the slices.
        outlines: Further contours, drawn before the members' and the consensus'.
    """

    hu: npt.NDArray[np.int16]
    spacing_mm: Triple
    members: Mapping[str, Mask] = field(default_factory=dict)
    consensus: Mask | None = None
    uncertainty: Bytes | None = None
    disagreement: Bytes | None = None
    outlines: Sequence[Outline] = ()


def render_item(
    picture: Picture, *, window_hu: tuple[float, float] = (-160.0, 240.0), panel_px: int = 320
) -> Rgb:
    """Return the best axial, coronal and sagittal slice side by side.

    Args:
        picture: What to draw.
        window_hu: Intensities drawn black and white.
        panel_px: Side of each panel; the longest edge of the crop fills it.

    Returns:
        RGB of shape (panel_px, 3 * panel_px + 2 gaps, 3).
    """
    panels = [
        render_plane(
            picture, axis, best_slice(picture, axis), window_hu=window_hu, panel_px=panel_px
        )
        for axis in (2, 1, 0)
    ]
    gap = np.zeros((panel_px, _GAP_PX, 3), np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)


def render_plane(
    picture: Picture, axis: int, index: int, *, window_hu: tuple[float, float], panel_px: int
) -> Rgb:
    """Return one slice across ``axis`` (0 sagittal, 1 coronal, 2 axial), RGB, panel_px square."""
    frame = _frame(picture, axis, panel_px)
    grey = _resized(window(_slice(picture.hu, axis, index), window_hu), frame)
    canvas = np.repeat(grey[:, :, None].astype(np.float32), 3, axis=2)
    if picture.uncertainty is not None:
        heat = _resized(_slice(picture.uncertainty, axis, index), frame)[:, :, None]
        opacity = heat.astype(np.float32) / 255.0 * _HEAT_OPACITY
        canvas = canvas * (1 - opacity) + np.array(HEAT_COLOUR, np.float32) * opacity
    image = np.rint(canvas).astype(np.uint8)
    outlines = [
        (one.colour, _widened(_outline(_slice(one.mask, axis, index), frame), one.width_px))
        for one in picture.outlines
    ]
    outlines += [
        (colour, _outline(_slice(picture.members[name], axis, index), frame))
        for name, colour in member_colours(tuple(picture.members)).items()
    ]
    if picture.consensus is not None:
        outline = _outline(_slice(picture.consensus, axis, index), frame)
        outlines.append((CONSENSUS_COLOUR, outline))
    _draw_in_place(image, outlines)
    return image


def best_slice(picture: Picture, axis: int) -> int:
    """Return the slice of most disagreement, else of the largest mask area, else the middle one."""
    others = tuple(other for other in range(3) if other != axis)
    masks = [mask for mask in (picture.consensus, *picture.members.values()) if mask is not None]
    for values in (picture.disagreement, *masks):
        if values is not None and values.any():
            return int(np.argmax(values.sum(axis=others, dtype=np.int64)))
    return picture.hu.shape[axis] // 2


def window(hu: npt.NDArray[np.generic], window_hu: tuple[float, float]) -> Bytes:
    """Return intensities from black to white, any shape."""
    low, high = window_hu
    scaled = (hu.astype(np.float32) - low) / (high - low)
    return np.rint(255 * scaled.clip(0, 1)).astype(np.uint8)


def member_colours(names: Sequence[str]) -> dict[str, Colour]:
    """Return each member's contour colour, in order; for the caller's legend."""
    palette = MEMBER_COLOURS
    return {name: palette[index % len(palette)] for index, name in enumerate(names)}


def context_box(box: Box, grid: Grid, context_mm: float) -> Box:
    """Return a box widened by some context on every side, inside the grid."""
    steps = [round(context_mm / size) for size in grid.spacing_mm]
    start = [max(0, low - step) for low, step in zip(box.start, steps, strict=True)]
    ends = zip(box.stop, steps, grid.shape, strict=True)
    stop = [min(size, high + step) for high, step, size in ends]
    return Box(_shape(start), _shape(stop))


def placed(crop: npt.NDArray[Scalar], box: Box, outer: Box) -> npt.NDArray[Scalar]:
    """Return a crop of ``box`` with zeros round it, in the shape of a box that holds ``box``."""
    result = np.zeros(outer.shape, crop.dtype)
    offset = [low - first for low, first in zip(box.start, outer.start, strict=True)]
    inside = tuple(slice(o, o + n) for o, n in zip(offset, crop.shape, strict=True))
    result[inside] = crop
    return result


def to_png(rgb: Rgb) -> bytes:
    """Return an RGB picture as a PNG file's bytes."""
    buffer = io.BytesIO()
    # Level 9, which `optimize` takes, is 13 times slower for files 13 % smaller.
    Image.fromarray(rgb).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a slice lies in its panel: pixels per voxel and first pixel, for rows and columns."""

    scale: tuple[float, float]
    origin: tuple[int, int]
    size: tuple[int, int]
    panel_px: int

    def pixels(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn voxel coordinates (n, 2) of the displayed slice into pixel coordinates."""
        return (points + 0.5) * self.scale + self.origin - 0.5


def _frame(picture: Picture, axis: int, panel_px: int) -> _Frame:
    shape, spacing = picture.hu.shape, picture.spacing_mm
    per_mm = panel_px / max(n * s for n, s in zip(shape, spacing, strict=True))
    columns, rows = (other for other in range(3) if other != axis)
    size = [max(1, round(shape[one] * spacing[one] * per_mm)) for one in (rows, columns)]
    scale = (size[0] / shape[rows], size[1] / shape[columns])
    origin = ((panel_px - size[0]) // 2, (panel_px - size[1]) // 2)
    return _Frame(scale, origin, (size[0], size[1]), panel_px)


def _slice(volume: npt.NDArray[np.generic], axis: int, index: int) -> npt.NDArray[np.generic]:
    """Return a slice as it is displayed: superior or anterior up, right or anterior on the left."""
    return np.take(volume, index, axis=axis).T[::-1, ::-1]


def _resized(plane: npt.NDArray[np.generic], frame: _Frame) -> Bytes:
    """Interpolate a displayed slice linearly and put it in the middle of a black panel."""
    rows, columns = (
        (np.arange(size) + 0.5) / scale - 0.5
        for size, scale in zip(frame.size, frame.scale, strict=True)
    )
    places = np.meshgrid(rows, columns, indexing="ij")
    values = ndimage.map_coordinates(plane.astype(np.float32), places, order=1, mode="nearest")
    panel = np.zeros((frame.panel_px, frame.panel_px), np.uint8)
    (top, left), (height, width) = frame.origin, frame.size
    panel[top : top + height, left : left + width] = np.rint(values).astype(np.uint8)
    return panel


def _outline(mask: npt.NDArray[np.generic], frame: _Frame) -> Mask:
    """Return the pixels of a mask's outline; where the crop ends, the mask has an edge too."""
    panel = Image.new("L", (frame.panel_px, frame.panel_px))
    draw = ImageDraw.Draw(panel)
    for line in measure.find_contours(np.pad(mask.astype(np.float32), 1), 0.5):
        points = np.rint(frame.pixels(line - 1)).astype(int)
        draw.line(points[:, ::-1].ravel().tolist(), fill=1)
    return np.asarray(panel).view(np.bool_)


def _widened(outline: Mask, width_px: int) -> Mask:
    if width_px <= 1:
        return outline
    return np.asarray(ndimage.binary_dilation(outline, iterations=width_px - 1), np.bool_)


def _draw_in_place(image: Rgb, outlines: Sequence[tuple[Colour, Mask]]) -> None:
    """Draw outlines; where several share pixels they take turns, so that none hides another."""
    if not outlines:
        return
    layers = np.stack([outline for _, outline in outlines])
    rows, columns = np.nonzero(layers.any(axis=0))
    there = layers[:, rows, columns]
    turn = (rows + columns) // _DASH_PX % there.sum(axis=0)
    place = np.cumsum(there, axis=0) - 1
    for inside, own, (colour, _) in zip(there, place, outlines, strict=True):
        shown = inside & (own == turn)
        image[rows[shown], columns[shown]] = colour


def _shape(values: Sequence[int]) -> Shape:
    i, j, k = values
    return i, j, k
