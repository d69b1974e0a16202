"""A mask at a bit a voxel that can be grown and worn off where it is, 64 voxels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.grid import Shape

Mask = npt.NDArray[np.bool_]
_Words = npt.NDArray[np.uint64]
_Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class PackedVolume:
    """A mask of shape (I, J, K) as rows of bits along K; every row ends in bits that are 0.

    Since these set rows apart, a shift along K is one of the whole array. No voxel is outside of
    the array: growing never comes in from there, and wearing off starts there.

    Attributes:
        bits: Shape (I, J, bytes of a row), lowest bit first.
        shape: The mask's.
        reach: How many bits at least every row ends in: the farthest that K is grown by.
    """

    bits: _Bits
    shape: Shape
    reach: int

    def unpacked(self) -> Mask:
        """Return the mask."""
        return np.unpackbits(self.bits, axis=-1, count=self.shape[2], bitorder="little").view(
            np.bool_
        )

    def count(self) -> int:
        """Return how many voxels it has."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    def __or__(self, other: PackedVolume) -> PackedVolume:
        """Return the union with a mask of the same layout."""
        return PackedVolume(self.bits | other.bits, self.shape, self.reach)

    def __and__(self, other: PackedVolume) -> PackedVolume:
        """Return the intersection with a mask of the same layout."""
        return PackedVolume(self.bits & other.bits, self.shape, self.reach)

    def __invert__(self) -> PackedVolume:
        """Return all other voxels of the array."""
        return PackedVolume(~self.bits & _row(self), self.shape, self.reach)

    def dilated(self, radii: Sequence[int]) -> PackedVolume:
        """Return the mask grown by a box of the given radii.

        Raises:
            ValueError: The last radius is above ``reach``.
        """
        _check_reach(self, radii)
        words = _grown(_words(self.bits), radii[2])
        bits = _as_bits(words, self.bits.shape) & _row(self)
        for axis in (0, 1):
            bits = _spread(bits, axis, radii[axis])
        return PackedVolume(bits, self.shape, self.reach)

    def eroded(self, radii: Sequence[int]) -> PackedVolume:
        """Return the mask worn off by a box of the given radii, at the array's edge too.

        Raises:
            ValueError: The last radius is above ``reach``.
        """
        _check_reach(self, radii)
        words = _worn(_words(self.bits), radii[2])
        bits = _as_bits(words, self.bits.shape)
        for axis in (0, 1):
            bits = _shrunk(bits, axis, radii[axis])
        return PackedVolume(bits, self.shape, self.reach)

    def opened(self, radii: Sequence[int]) -> PackedVolume:
        """Return what a box of the given radii fits into."""
        return self.eroded(radii).dilated(radii)


def packed_volume(mask: Mask, *, reach: int) -> PackedVolume:
    """Pack a mask of shape (I, J, K).

    Args:
        mask: What to pack.
        reach: The largest radius along K that it will be grown or worn off by.
    """
    bits = np.packbits(mask, axis=-1, bitorder="little")
    missing = -(-(mask.shape[2] + reach) // 8) - bits.shape[2]
    if missing > 0:
        bits = np.pad(bits, ((0, 0), (0, 0), (0, missing)))
    i, j, k = mask.shape
    return PackedVolume(bits, (i, j, k), reach)


def _check_reach(volume: PackedVolume, radii: Sequence[int]) -> None:
    if radii[2] > volume.reach:
        raise ValueError(f"a volume packed with reach {volume.reach} has none for {radii[2]}")


def _row(volume: PackedVolume) -> _Bits:
    """Return the bits of a row that are voxels."""
    voxels = np.zeros(8 * volume.bits.shape[2], np.bool_)
    voxels[: volume.shape[2]] = True
    return np.packbits(voxels, bitorder="little")


def _words(bits: _Bits) -> _Words:
    """Return all bits in a row, with a word of zeros at either end."""
    flat = np.zeros(-(-bits.size // 8) * 8 + 16, np.uint8)
    flat[8 : 8 + bits.size] = bits.reshape(-1)
    return flat.view("<u8")


def _as_bits(words: _Words, shape: tuple[int, ...]) -> _Bits:
    size = int(np.prod(shape))
    return words.view(np.uint8)[8 : 8 + size].reshape(shape)


def _grown(words: _Words, radius: int) -> _Words:
    reach = 0
    while reach < radius:
        step = min(2 * reach + 1, radius - reach)
        words = words | _shifted(words, step) | _shifted(words, -step)
        reach += step
    return words


def _worn(words: _Words, radius: int) -> _Words:
    reach = 0
    while reach < radius:
        step = min(2 * reach + 1, radius - reach)
        words = words & _shifted(words, step) & _shifted(words, -step)
        reach += step
    return words


def _shifted(words: _Words, voxels: int) -> _Words:
    """Return the bits moved up by so many places, or down by a negative number; 0 comes in."""
    whole, part = divmod(abs(voxels), 64)
    result = np.zeros_like(words)
    low, high = np.uint64(part), np.uint64(64 - part)
    if voxels > 0:
        result[whole:] = words[: len(words) - whole] << low
        if part:
            result[whole + 1 :] |= words[: len(words) - whole - 1] >> high
    else:
        result[: len(words) - whole] = words[whole:] >> low
        if part:
            result[: len(words) - whole - 1] |= words[whole + 1 :] << high
    return result


def _spread(bits: _Bits, axis: int, radius: int) -> _Bits:
    reach = 0
    while reach < radius:
        step = min(2 * reach + 1, radius - reach)
        low, high = _part(axis, None, -step), _part(axis, step, None)
        wider = bits.copy()
        wider[high] |= bits[low]
        wider[low] |= bits[high]
        bits = wider
        reach += step
    return bits


def _shrunk(bits: _Bits, axis: int, radius: int) -> _Bits:
    """Wear off along an axis; what a step cannot look at, at the array's ends, goes."""
    reach = 0
    while reach < radius:
        step = min(2 * reach + 1, radius - reach)
        inner = np.zeros_like(bits)
        end = bits.shape[axis]
        if end > 2 * step:
            middle, above = _part(axis, step, end - step), _part(axis, 2 * step, end)
            inner[middle] = bits[middle] & bits[_part(axis, 0, end - 2 * step)] & bits[above]
        bits = inner
        reach += step
    return bits


def _part(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    whole = [slice(None)] * 3
    whole[axis] = slice(start, stop)
    return tuple(whole)
