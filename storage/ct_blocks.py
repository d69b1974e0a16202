"""A CT cut into packed blocks on disk, so that a region is read without the rest of it.

A file is: 8 bytes of magic, the blocks one after the other as zlib streams (which carry a checksum
of their own), an overview of every nth voxel as one more stream, where each of them starts (int64),
a header in JSON, and a footer with the lengths of both, their CRC-32 and the magic again. Blocks
are cut in the axis order of the CT's own file, so that it is written slab by slab while the CT is
read, in the memory of one slab. Nothing leans on a file being there: whoever misses one makes it
again from the CT.
"""

from __future__ import annotations

import itertools
import json
import math
import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from configs.errors import StorageError, UsageError
from storage.blocked_copy import copy_in_blocks
from storage.canonical_json import to_bytes
from storage.durable_file import UNFINISHED
from storage.grid import Box, Grid, box_shape
from storage.volume import Volume

_MAGIC = b"ALBLOCK1"
_FOOTER = struct.Struct("<QQI8s")
_SIDE = 32
_LEVEL = 1
_OVERVIEW_MM = 4.0

Voxels = npt.NDArray[np.int16]
Slabs = Iterable[tuple[int, Voxels]]
"""Index of each slab's first slice, and its voxels in the file's axis order, 32 slices at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """A CT at about 4 mm: every nth voxel along each axis, nothing averaged.

    Attributes:
        hu_ras: int16, RAS order.
        steps: n along R, A, S.
        first: RAS index in the CT of its first voxel.
    """

    hu_ras: Voxels
    steps: tuple[int, int, int]
    first: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class CtBlocks:
    """A file of blocks whose index was read; holds no voxel and no open file.

    Attributes:
        path: The file.
        grid: Of the CT's file that it was made from.
        starts: Byte where each block begins, then the overview, then the end of both.
        steps: Of the overview, in the file's axis order.
    """

    path: Path
    grid: Grid
    starts: npt.NDArray[np.int64] = field(repr=False)
    steps: tuple[int, int, int]

    @classmethod
    def open(cls, path: Path) -> CtBlocks:
        """Read the index.

        Raises:
            StorageError: The file is missing, cut short or altered; make it again.
        """
        try:
            with path.open("rb") as file:
                starts, header = _read_index(file, path.stat().st_size)
            i, j, k = (int(step) for step in header["steps"])
            return cls(path, Grid.from_json(header["grid"]), starts, (i, j, k))
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise StorageError(
                f"the blocks of a CT must be whole and readable: {error}; delete the workspace's "
                "folder `cache`, which is made again"
            ) from error

    def region(self, box_ras: Box) -> Voxels:
        """Return a region as int16 HU in RAS order, C-contiguous.

        Args:
            box_ras: Half-open voxel ranges along R, A, S, inside the volume.

        Raises:
            UsageError: The box is empty or reaches out of the volume.
            StorageError: A block is damaged.
        """
        for (start, stop), length in zip(box_ras, self.grid.ras_shape, strict=True):
            if not 0 <= start < stop <= length:
                raise UsageError(
                    f"a region must lie inside the volume {self.grid.ras_shape}, got {box_ras}"
                )
        box = self.grid.box_from_ras(box_ras)
        native = np.empty(box_shape(box), np.int16)
        with self._opened() as file:
            for number, where in _blocks_of(self.grid.shape, box):
                _paste_in_place(native, box, self._block(file, number, where), where)
        hu_ras = np.empty(box_shape(box_ras), np.int16)
        copy_in_blocks(hu_ras, self.grid.array_to_ras(native))
        return hu_ras

    def overview(self) -> Overview:
        """Return the CT at about 4 mm.

        Raises:
            StorageError: It is damaged.
        """
        shape = _strided_shape(self.grid.shape, self.steps)
        with self._opened() as file:
            native = self._unpacked(file, len(self.starts) - 2, shape)
        axes, flips = self.grid.ras_axes, self.grid.ras_flips
        steps = tuple(self.steps[axis] for axis in axes)
        last = [(shape[axis] - 1) * self.steps[axis] for axis in axes]
        first = [
            self.grid.shape[axis] - 1 - end if flip else 0
            for axis, flip, end in zip(axes, flips, last, strict=True)
        ]
        hu_ras = np.ascontiguousarray(self.grid.array_to_ras(native), np.int16)
        return Overview(hu_ras, _triple(steps), _triple(first))

    def _opened(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise StorageError(f"the blocks of a CT are gone: {error.strerror}") from error

    def _block(self, file: BinaryIO, number: int, where: Box) -> Voxels:
        return self._unpacked(file, number, box_shape(where))

    def _unpacked(self, file: BinaryIO, number: int, shape: tuple[int, int, int]) -> Voxels:
        start, stop = (int(place) for place in self.starts[number : number + 2])
        file.seek(start)
        try:
            content = isal_zlib.decompress(file.read(stop - start))
            return np.frombuffer(content, "<i2").reshape(shape, order="F")
        # isal's stub declares its exception as an instance.
        except (isal_zlib.error, ValueError) as error:  # pyright: ignore[reportGeneralTypeIssues]
            raise StorageError(
                f"block {number} of a CT is damaged: {error}; delete the workspace's folder "
                "`cache`, which is made again"
            ) from error


def write_ct_blocks(path: Path, volume: Volume, *, expected_sha256: str) -> CtBlocks:
    """Read a CT once, slab by slab, and write its blocks; the file appears whole or not at all.

    Memory: one slab of 32 slices of the file, and the overview.

    Args:
        path: Where the blocks go; replaced when it exists.
        volume: The opened CT.
        expected_sha256: The file's hash at intake.

    Raises:
        CaseError: The CT is damaged, or not the file that intake saw.
        StorageError: The disk is full or the folder cannot be written to.
    """
    slabs = volume.read_slabs(_SIDE, expected_sha256=expected_sha256)
    return _written(path, volume.grid, slabs)


def write_voxel_blocks(path: Path, hu_ras: Voxels, grid: Grid) -> CtBlocks:
    """Write the blocks of a CT that is in memory, the same bytes as ``write_ct_blocks``.

    Args:
        path: Where the blocks go; replaced when it exists.
        hu_ras: The CT, RAS order, shape ``grid.ras_shape``.
        grid: Of its file.

    Raises:
        StorageError: The disk is full or the folder cannot be written to.
    """
    native: Voxels = grid.array_from_ras(hu_ras).view(np.int16)
    starts = range(0, grid.shape[2], _SIDE)
    return _written(path, grid, ((start, native[:, :, start : start + _SIDE]) for start in starts))


def most_bytes_of_blocks(grid: Grid) -> int:
    """Return what the blocks of a CT cannot exceed, as if nothing in it could be packed."""
    voxels = math.prod(grid.shape) + math.prod(_strided_shape(grid.shape, _steps(grid)))
    # zlib adds some bytes to each stream that it cannot pack.
    return int(2.02 * voxels) + (1 << 16)


def _written(path: Path, grid: Grid, slabs: Slabs) -> CtBlocks:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            _write(file, grid, slabs)
        # Not flushed to the disk: what a power cut leaves is found by its checksums and made again.
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"the blocks of a CT could not be written: {error.strerror}; free some disk or make "
            "the workspace's folder `cache` writable"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return CtBlocks.open(path)


def _write(file: BinaryIO, grid: Grid, slabs: Slabs) -> None:
    steps = _steps(grid)
    overview = np.empty(_strided_shape(grid.shape, steps), np.int16, order="F")
    starts = [len(_MAGIC)]
    file.write(_MAGIC)
    for start, slab in slabs:
        stop = start + slab.shape[2]
        planes = np.arange(-(-start // steps[2]) * steps[2], stop, steps[2])
        if len(planes):
            picked = slab[:: steps[0], :: steps[1], planes - start]
            overview[:, :, planes // steps[2]] = picked
        for block in _cut(slab):
            starts.append(starts[-1] + file.write(_packed(block)))
    starts.append(starts[-1] + file.write(_packed(overview)))
    index = np.array(starts, "<i8").tobytes()
    header = to_bytes({"grid": grid.to_json(), "steps": list(steps)})
    file.write(index + header)
    checksum = isal_zlib.crc32(index + header)
    file.write(_FOOTER.pack(len(index), len(header), checksum, _MAGIC))


def _cut(slab: Voxels) -> Iterator[Voxels]:
    """Yield the blocks of a slab, the first axis fastest."""
    for j, i in itertools.product(range(0, slab.shape[1], _SIDE), range(0, slab.shape[0], _SIDE)):
        yield slab[i : i + _SIDE, j : j + _SIDE]


def _packed(block: Voxels) -> bytes:
    return isal_zlib.compress(block.astype("<i2").tobytes(order="F"), _LEVEL)


def _read_index(file: BinaryIO, size: int) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    file.seek(max(0, size - _FOOTER.size))
    index_bytes, header_bytes, checksum, magic = _FOOTER.unpack(file.read(_FOOTER.size))
    length = index_bytes + header_bytes
    if magic != _MAGIC or not 0 < length < size:
        raise ValueError("it is no file of blocks, or was cut short")
    file.seek(size - _FOOTER.size - length)
    content = file.read(length)
    if isal_zlib.crc32(content) != checksum:
        raise ValueError("its index was altered")
    starts = np.frombuffer(content[:index_bytes], "<i8")
    return starts, json.loads(content[index_bytes:])


def _blocks_of(shape: tuple[int, int, int], box: Box) -> Iterator[tuple[int, Box]]:
    """Yield number and place of every block that a box touches, in the order of the file."""
    columns, rows, _ = (-(-length // _SIDE) for length in shape)
    touched = [range(start // _SIDE, -(-stop // _SIDE)) for start, stop in box]
    for k, j, i in itertools.product(touched[2], touched[1], touched[0]):
        where = [
            (place * _SIDE, min((place + 1) * _SIDE, length))
            for place, length in zip((i, j, k), shape, strict=True)
        ]
        yield (k * rows + j) * columns + i, (where[0], where[1], where[2])


def _paste_in_place(target: Voxels, box: Box, block: Voxels, where: Box) -> None:
    into, out_of = [], []
    for (low, high), (start, stop) in zip(box, where, strict=True):
        first, last = max(low, start), min(high, stop)
        into.append(slice(first - low, last - low))
        out_of.append(slice(first - start, last - start))
    target[tuple(into)] = block[tuple(out_of)]


def _steps(grid: Grid) -> tuple[int, int, int]:
    return _triple(max(1, round(_OVERVIEW_MM / size)) for size in grid.spacing_mm)


def _strided_shape(
    shape: tuple[int, int, int], steps: tuple[int, int, int]
) -> tuple[int, int, int]:
    return _triple(math.ceil(length / step) for length, step in zip(shape, steps, strict=True))


def _triple(values: Any) -> tuple[int, int, int]:  # noqa: ANN401 any iterable of three whole numbers
    i, j, k = (int(value) for value in values)
    return (i, j, k)
