"""The voxel grid of an image file, and the way from the file's axes to RAS and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TypeAlias

import nibabel
import numpy as np
import numpy.typing as npt

from configs.errors import StorageError

Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open voxel range per axis: ((start, stop), (start, stop), (start, stop))."""

Affine: TypeAlias = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QForm:
    """The quaternion form of a NIfTI header, kept as read so that it can be written back unchanged.

    Attributes:
        code: ``qform_code``; above 0.
        quaternion: ``quatern_b``, ``quatern_c``, ``quatern_d``.
        offset_mm: ``qoffset_x``, ``qoffset_y``, ``qoffset_z``.
        qfac_and_spacing_mm: ``pixdim[0..3]``: the handedness, then the voxel size.
    """

    code: int
    quaternion: tuple[float, float, float]
    offset_mm: tuple[float, float, float]
    qfac_and_spacing_mm: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A voxel grid in the file's own axis order; equal grids compare equal, bit by bit.

    Attributes:
        shape: Voxels along the file's axes.
        affine: File voxel index to RAS mm, 4 x 4; holds the sform, or the qform where the file has
            no sform.
        sform_code: ``sform_code`` of the file; 0 when the affine came from the qform.
        qform: The file's qform; None where it has none.
    """

    shape: tuple[int, int, int]
    affine: Affine
    sform_code: int = 2
    qform: QForm | None = None

    @classmethod
    def from_affine(cls, shape: Sequence[int], affine: npt.ArrayLike) -> Grid:
        """Return the grid of a volume made here (not read from a file).

        Args:
            shape: Voxels along the three axes.
            affine: Voxel index to RAS mm, 4 x 4. Rounded to float32, which is what a NIfTI-1 header
                holds, so that the grid equals what is read back.
        """
        rounded = np.asarray(affine, np.float32).astype(np.float64)
        return cls(shape=_three_ints(shape), affine=affine_tuple(rounded))

    @property
    def affine_matrix(self) -> npt.NDArray[np.float64]:
        """The affine as a new float64 array, shape (4, 4)."""
        return np.array(self.affine, np.float64)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along the file's axes: the lengths of the affine's columns."""
        lengths = np.sqrt((self.affine_matrix[:3, :3] ** 2).sum(axis=0))
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @property
    def orientation(self) -> str:
        """Where the file's axes point, such as "RAS" or "LPS"; the nearest for an oblique grid."""
        return "".join(nibabel.orientations.aff2axcodes(self.affine_matrix))

    @property
    def ras_axes(self) -> tuple[int, int, int]:
        """The file axis that runs along right, anterior and superior, in this order."""
        pairs = self._orientation_pairs()
        return _three_ints(int(np.flatnonzero(pairs[:, 0] == axis)[0]) for axis in range(3))

    @property
    def ras_flips(self) -> tuple[bool, bool, bool]:
        """Whether the axis of ``ras_axes`` runs against R, A, S."""
        pairs = self._orientation_pairs()
        right, anterior, superior = (bool(pairs[axis, 1] < 0) for axis in self.ras_axes)
        return (right, anterior, superior)

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """Voxels along R, A, S: the shape (I, J, K) of every array that storage hands out."""
        return _three_ints(self.shape[axis] for axis in self.ras_axes)

    @property
    def ras_spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along R, A, S."""
        spacing = self.spacing_mm
        i, j, k = self.ras_axes
        return (spacing[i], spacing[j], spacing[k])

    @property
    def ras_affine(self) -> Affine:
        """RAS voxel index to RAS mm, 4 x 4: positive along the diagonal unless strongly oblique."""
        columns = self.affine_matrix
        result = np.eye(4)
        origin = columns[:3, 3].copy()
        for ras_axis, (axis, flip) in enumerate(zip(self.ras_axes, self.ras_flips, strict=True)):
            result[:3, ras_axis] = -columns[:3, axis] if flip else columns[:3, axis]
            if flip:
                origin += columns[:3, axis] * (self.shape[axis] - 1)
        result[:3, 3] = origin
        return affine_tuple(result)

    @property
    def full_box(self) -> Box:
        """The box of the whole volume, in the file's axis order."""
        return _box((0, length) for length in self.shape)

    def array_to_ras(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return a view in RAS order of an array in file order; works for a crop as well."""
        turned = array.transpose(self.ras_axes)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.ras_flips)]

    def array_from_ras(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return a view in file order of an array (I, J, K) in RAS order; works for a crop too."""
        unflipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.ras_flips)]
        return unflipped.transpose(np.argsort(self.ras_axes))

    def box_to_ras(self, box: Box) -> Box:
        """Return the same region counted along R, A, S."""
        turned = []
        for axis, flip in zip(self.ras_axes, self.ras_flips, strict=True):
            turned.append(_mirrored(box[axis], self.shape[axis]) if flip else box[axis])
        return _box(turned)

    def box_from_ras(self, box: Box) -> Box:
        """Return the same region counted along the file's axes."""
        turned: list[tuple[int, int]] = [(0, 0)] * 3
        for ras_axis, (axis, flip) in enumerate(zip(self.ras_axes, self.ras_flips, strict=True)):
            extent = box[ras_axis]
            turned[axis] = _mirrored(extent, self.shape[axis]) if flip else extent
        return _box(turned)

    def voxel_to_ras(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return a voxel of the file counted along R, A, S."""
        i, j, k = voxel
        (a, _), (b, _), (c, _) = self.box_to_ras(((i, i + 1), (j, j + 1), (k, k + 1)))
        return (a, b, c)

    def voxel_from_ras(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return a voxel of the array in RAS order counted along the file's axes."""
        i, j, k = voxel
        (a, _), (b, _), (c, _) = self.box_from_ras(((i, i + 1), (j, j + 1), (k, k + 1)))
        return (a, b, c)

    def to_json(self) -> str:
        """Return the grid as canonical JSON; ``from_json`` gives back the same floats."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Grid:
        """Return the grid that ``to_json`` wrote.

        Raises:
            StorageError: The text does not describe a grid.
        """
        try:
            fields = json.loads(text)
            return cls(
                shape=_three_ints(fields["shape"]),
                affine=affine_tuple(np.array(fields["affine"], np.float64)),
                sform_code=int(fields["sform_code"]),
                qform=_qform_from_json(fields["qform"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"a stored grid must be the JSON of Grid.to_json, got {text[:80]!r}"
            ) from error

    def _orientation_pairs(self) -> npt.NDArray[np.float64]:
        return _orientation_pairs(self.affine)


@lru_cache(maxsize=64)
def _orientation_pairs(affine: Affine) -> npt.NDArray[np.float64]:
    """Return nibabel's answer, which takes a decomposition that each mask would ask for anew."""
    pairs = np.asarray(nibabel.orientations.io_orientation(np.asarray(affine)), np.float64)
    pairs.setflags(write=False)
    return pairs


def box_shape(box: Box) -> tuple[int, int, int]:
    """Return the number of voxels of a box along each axis."""
    return _three_ints(stop - start for start, stop in box)


def box_slices(box: Box) -> tuple[slice, slice, slice]:
    """Return the slices that cut a box out of an array with the same axes."""
    first, second, third = (slice(start, stop) for start, stop in box)
    return (first, second, third)


def affine_tuple(matrix: npt.NDArray[np.float64]) -> Affine:
    """Return a 4 x 4 array as tuples of floats, bit by bit the same.

    Raises:
        ValueError: The array is not 4 x 4.
    """
    if matrix.shape != (4, 4):
        raise ValueError(f"an affine must have shape (4, 4), got {matrix.shape}")
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)


def _three_ints(values: Iterable[int]) -> tuple[int, int, int]:
    i, j, k = (int(value) for value in values)
    return (i, j, k)


def _box(extents: Iterable[tuple[int, int]]) -> Box:
    (i0, i1), (j0, j1), (k0, k1) = extents
    return ((i0, i1), (j0, j1), (k0, k1))


def _mirrored(extent: tuple[int, int], length: int) -> tuple[int, int]:
    return (length - extent[1], length - extent[0])


def _qform_from_json(fields: dict[str, object] | None) -> QForm | None:
    if fields is None:
        return None
    b, c, d = _floats(fields["quaternion"])
    x, y, z = _floats(fields["offset_mm"])
    qfac, di, dj, dk = _floats(fields["qfac_and_spacing_mm"])
    return QForm(
        code=int(str(fields["code"])),
        quaternion=(b, c, d),
        offset_mm=(x, y, z),
        qfac_and_spacing_mm=(qfac, di, dj, dk),
    )


def _floats(values: object) -> list[float]:
    return np.asarray(values, np.float64).tolist()
