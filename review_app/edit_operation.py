"""Operations on the whole mask of the region that the server does for the editor, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from configs.errors import UsageError
from model.mask_operation import (
    component_at,
    grown_by,
    shrunk_by,
    smoothed,
    with_holes_filled,
    without_islands,
)
from model.random_walk import RandomWalkRefiner
from model.refiner import Marks, Refiner
from review_app.edit_content import region_hu
from review_app.edit_document import EditDocument
from review_app.view_models import PLANE_AXES

Mask = npt.NDArray[np.bool_]
Parameters = Mapping[str, str]
Spacing = tuple[float, float, float]

REFINE = "refine"

_AXES: Mapping[str, int | None] = {"0": 0, "1": 1, "2": 2, "3d": None, **PLANE_AXES}

_WALK = RandomWalkRefiner()
REFINERS: Mapping[str, Refiner] = {_WALK.name: _WALK}
"""Methods of refining; a network on a server is one more."""


def operated(mask: Mask, spacing_mm: Spacing, name: str, parameters: Parameters) -> Mask:
    """Return the mask after an operation; see ``model.mask_operation``.

    Raises:
        UsageError: There is no such operation, or a parameter is missing or not right.
    """
    operation = _OPERATIONS.get(name)
    if operation is None:
        raise UsageError(
            f"an operation is one of {', '.join((*_OPERATIONS, REFINE))}, got {name[:40]!r}"
        )
    return operation(mask, spacing_mm, parameters)


def refined(
    document: EditDocument, mask: Mask, scribbles: npt.NDArray[np.uint8], parameters: Parameters
) -> Mask:
    """Return the mask as a method of refining makes it of the reader's scribbles.

    Raises:
        UsageError: There is no such method, or it has nothing to go by.
        CaseError: The CT is gone or damaged.
    """
    method = parameters.get("method", _WALK.name)
    refiner = REFINERS.get(method)
    if refiner is None:
        raise UsageError(f"a method is one of {', '.join(REFINERS)}, got {method[:40]!r}")
    marks = Marks(
        hu=region_hu(document),
        mask=mask,
        scribbles=scribbles,
        spacing_mm=document.item.grid.ras_spacing_mm,
        structure=document.item.structure,
    )
    return refiner.refine(marks)


def _islands(mask: Mask, spacing_mm: Spacing, parameters: Parameters) -> Mask:
    return without_islands(mask, spacing_mm, least_ml=_number(parameters, "min_ml"))


def _keep(mask: Mask, spacing_mm: Spacing, parameters: Parameters) -> Mask:
    del spacing_mm
    return component_at(mask, _voxel(parameters))


def _remove(mask: Mask, spacing_mm: Spacing, parameters: Parameters) -> Mask:
    del spacing_mm
    return mask & ~component_at(mask, _voxel(parameters))


def _holes(mask: Mask, spacing_mm: Spacing, parameters: Parameters) -> Mask:
    del spacing_mm
    axis = parameters.get("axis", "3d")
    if axis not in _AXES:
        raise UsageError(f"axis is one of {', '.join(_AXES)}, got {axis[:40]!r}")
    return with_holes_filled(mask, axis=_AXES[axis])


def _smooth(mask: Mask, spacing_mm: Spacing, parameters: Parameters) -> Mask:
    return smoothed(mask, spacing_mm, sigma_mm=_number(parameters, "mm"))


def _grow(mask: Mask, spacing_mm: Spacing, parameters: Parameters) -> Mask:
    return grown_by(mask, spacing_mm, reach_mm=_number(parameters, "mm"))


def _shrink(mask: Mask, spacing_mm: Spacing, parameters: Parameters) -> Mask:
    return shrunk_by(mask, spacing_mm, reach_mm=_number(parameters, "mm"))


_OPERATIONS: Mapping[str, Callable[[Mask, Spacing, Parameters], Mask]] = {
    "remove_islands": _islands,
    "keep_component": _keep,
    "remove_component": _remove,
    "fill_holes": _holes,
    "smooth": _smooth,
    "grow": _grow,
    "shrink": _shrink,
}


def _number(parameters: Parameters, name: str) -> float:
    text = parameters.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"{name} must be a number of 0 or more, got {text[:40]!r}")
    return value


def _voxel(parameters: Parameters) -> tuple[int, int, int]:
    texts = [parameters.get(name, "") for name in "xyz"]
    if not all(text.isascii() and text.isdigit() for text in texts):
        raise UsageError(f"x, y and z must be whole numbers, got {[text[:20] for text in texts]}")
    x, y, z = (int(text) for text in texts)
    return (x, y, z)
