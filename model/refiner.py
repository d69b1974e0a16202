"""The interface of everything that turns a mask and a reader's marks into a better mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from configs.errors import UsageError
from model.grid import Triple

Mask = npt.NDArray[np.bool_]

INSIDE, OUTSIDE = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marks:
    """What a reader asks for, on the region that is being edited.

    A click is a scribble of one voxel.

    Attributes:
        hu: int16, shape (I, J, K).
        mask: As it is now, same shape.
        scribbles: uint8, same shape: 0 nothing, 1 this belongs to it, 2 this does not.
        spacing_mm: Voxel size.
        structure: Name of the structure, for a method that knows it.
    """

    hu: npt.NDArray[np.int16]
    mask: Mask
    scribbles: npt.NDArray[np.uint8]
    spacing_mm: Triple
    structure: str

    def __post_init__(self) -> None:
        if not self.hu.shape == self.mask.shape == self.scribbles.shape:
            raise UsageError(
                f"CT {self.hu.shape}, mask {self.mask.shape} and scribbles "
                f"{self.scribbles.shape} must share one shape"
            )
        if not self.scribbles.any():
            raise UsageError("refining needs a click or a scribble, got none; draw one first")
        if self.scribbles.max() > OUTSIDE:
            raise UsageError(f"scribbles are 0, 1 and 2, got {int(self.scribbles.max())}")


class Refiner(Protocol):
    """A method; one may compute here, another may ask a network on a server."""

    @property
    def name(self) -> str:
        """What a request calls it."""
        ...

    def refine(self, marks: Marks) -> Mask:
        """Return the new mask, shape (I, J, K); every scribble is as the reader says.

        Raises:
            UsageError: The marks cannot be used.
            ModelError: The method fails or does not answer.
        """
        ...
