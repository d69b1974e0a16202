"""Copying between two memory orders at the speed of the memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BLOCK = 16


def copy_in_blocks(target: npt.NDArray[np.generic], source: npt.NDArray[np.generic]) -> None:
    """Fill ``target`` from ``source``, both of shape (I, J, K), a few rows along J at a time.

    One assignment walks the whole of one array in steps of the other's longest stride and misses
    the cache at every voxel; in blocks it was 2 to 6 times faster on 512 x 512 x 300.
    """
    for start in range(0, source.shape[1], _BLOCK):
        target[:, start : start + _BLOCK] = source[:, start : start + _BLOCK]
