"""Resampling between grids that share the outer edge, one interpolation matrix per axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.grid import Shape, Triple

_SLAB_VOXELS = 8_000_000


@dataclass(frozen=True, slots=True)
class AxisMap:
    """The part of one axis' interpolation matrix that a range of target voxels needs.

    Attributes:
        weights: Rows are target voxels, columns are source voxels; float32, rows sum to 1.
        first: Source voxel of the first column.
        identity: Both grids are one; the values are taken as they are.
    """

    weights: Tensor
    first: int
    identity: bool = False

    @property
    def columns(self) -> slice:
        """Source voxels that the columns stand for."""
        return slice(self.first, self.first + self.weights.shape[1])

    @property
    def growth(self) -> float:
        """Rows per column: below 1 the axis shrinks."""
        return self.weights.shape[0] / self.weights.shape[1]

    def part(self, start: int, stop: int) -> AxisMap:
        """Return the map of some of its rows, and of no column that they do not need."""
        rows = self.weights[start:stop]
        used = rows.any(dim=0).nonzero()
        first, last = int(used[0]), int(used[-1])
        return AxisMap(rows[:, first : last + 1], self.first + first, self.identity)


def working_shape(shape: Shape, spacing_mm: Triple, working_spacing_mm: Triple) -> Shape:
    """Return the shape of the working grid that covers a native grid.

    Both grids start at the same outer edge: the centre of voxel ``n`` lies at ``(n + 0.5) *
        spacing``.
    """
    i, j, k = (
        max(1, round(n * s / w))
        for n, s, w in zip(shape, spacing_mm, working_spacing_mm, strict=True)
    )
    return i, j, k


def axis_map(
    source_size: int,
    source_spacing_mm: float,
    target_spacing_mm: float,
    *,
    rows: tuple[int, int],
) -> AxisMap:
    """Return the weights that give the target voxels ``rows[0] <= j < rows[1]`` of one axis.

    A triangle kernel, centred on the target voxel, whose half width is the larger of both spacings:
    linear interpolation towards a finer grid, an antialiased average towards a coarser one. Past
    the edge the outermost voxel repeats.
    """
    reach = max(source_spacing_mm, target_spacing_mm)
    centres = (np.arange(*rows) + 0.5) * target_spacing_mm
    taps = 2 * math.ceil(reach / source_spacing_mm) + 2
    nearest = np.floor(centres / source_spacing_mm - 0.5).astype(np.int64)
    index = nearest[:, None] + np.arange(taps) - (taps // 2 - 1)
    distance = np.abs(centres[:, None] - (index + 0.5) * source_spacing_mm)
    weight = np.maximum(0.0, 1.0 - distance / reach)
    weight /= weight.sum(axis=1, keepdims=True)
    column = index.clip(0, source_size - 1)
    used = column[weight > 0]
    first, last = int(used.min()), int(used.max())
    matrix = np.zeros((len(centres), last - first + 1))
    row = np.broadcast_to(np.arange(len(centres))[:, None], column.shape)
    np.add.at(matrix, (row, (column - first).clip(0, last - first)), weight)
    weights = torch.from_numpy(matrix.astype(np.float32))
    return AxisMap(weights, first, identity=source_spacing_mm == target_spacing_mm)


def apply_maps(volume: Tensor, maps: tuple[AxisMap, AxisMap, AxisMap]) -> Tensor:
    """Resample the box of a volume that three axis maps address.

    Args:
        volume: Any real dtype, shape (I, J, K).
        maps: One for each axis.

    Returns:
        float32, shape (rows of I, rows of J, rows of K), on the volume's device. Axes that shrink
        go first, so no intermediate is larger than input or output.
    """
    box = volume[maps[0].columns, maps[1].columns, maps[2].columns].float()
    for axis in sorted(range(3), key=lambda a: maps[a].growth):
        if not maps[axis].identity:
            box = _apply_along(box, maps[axis].weights.to(box.device), axis)
    return box


def to_working(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    working_spacing_mm: Triple,
    *,
    device: torch.device,
) -> Tensor:
    """Resample a native volume to its working grid.

    The two in-plane axes are done slab by slab, so that the native volume never exists in float:
    the peak is the working volume, the volume with working I and J and native K, and one slab.

    Args:
        hu: Native volume, shape (I, J, K).
        spacing_mm: Of the native grid.
        working_spacing_mm: Of the working grid.
        device: Where the result shall lie.

    Returns:
        HU as float32 on the working grid, see ``working_shape``.
    """
    rows_i, rows_j, rows_k = working_shape(_shape(hu), spacing_mm, working_spacing_mm)
    sizes, spacings = hu.shape, list(zip(spacing_mm, working_spacing_mm, strict=True))
    map_i = axis_map(sizes[0], *spacings[0], rows=(0, rows_i))
    map_j = axis_map(sizes[1], *spacings[1], rows=(0, rows_j))
    map_k = axis_map(sizes[2], *spacings[2], rows=(0, rows_k))
    planes = torch.empty((rows_i, rows_j, sizes[2]), dtype=torch.float32, device=device)
    depth = max(1, _SLAB_VOXELS // (sizes[0] * sizes[1]))
    for start in range(0, sizes[2], depth):
        slab = np.ascontiguousarray(hu[:, :, start : start + depth])
        whole = AxisMap(torch.eye(slab.shape[2]), 0, identity=True)
        values = torch.from_numpy(slab).to(device)
        planes[:, :, start : start + depth] = apply_maps(values, (map_i, map_j, whole))
    if map_k.identity:
        return planes
    return _apply_along(planes[:, :, map_k.columns], map_k.weights.to(device), 2)


def _apply_along(volume: Tensor, weights: Tensor, axis: int) -> Tensor:
    if axis == 0:
        flat = weights @ volume.reshape(volume.shape[0], -1)
        return flat.reshape(weights.shape[0], *volume.shape[1:])
    if axis == 1:
        return torch.matmul(weights, volume)
    return volume @ weights.T


def _shape(volume: npt.NDArray[np.int16]) -> Shape:
    i, j, k = volume.shape
    return i, j, k
