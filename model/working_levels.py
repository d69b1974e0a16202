"""Probabilities in 16 bits, as they are kept on a working grid.

A level is 127 * 255 = 32385 times the probability: 127 steps to each of the 256 levels of stored
maps, and an odd number, so that no level is one half and p > 0.5 is exactly a level above ``HALF``.
Interpolated from bytes, a structure of 7 mL lost 0.003 of its Dice with full floats. Signed, since
torch knows unsigned 16-bit numbers in a few operations only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Levels = npt.NDArray[np.int16]

STEPS = 127
"""Levels to one of a stored map's."""

LEVEL_BYTES = np.dtype(np.int16).itemsize

TOP = 255 * STEPS
HALF = TOP // 2
"""The highest level of a probability that is not above 0.5."""


def levels_in_place(probability: Tensor) -> Tensor:
    """Return the levels of probabilities in [0, 1], int16; float32 ones are used up.

    Exact halves of a level go to the even one, so 0.5 goes to ``HALF`` and what is above it higher.
    """
    return probability.mul_(TOP).round_().to(torch.int16)


def highest_level(stored: int) -> int:
    """Return the highest level that a stored map shows as a level that is not above ``stored``."""
    return (2 * stored + 1) * STEPS // 2
