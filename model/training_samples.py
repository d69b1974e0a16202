"""Training cases, brought to the working grid once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from configs.errors import ModelError
from model.inference_settings import InferenceSettings
from model.resample import apply_maps, axis_map, to_working, working_shape

_BITS = 63
_CENTRES = 512


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One partially labeled case, axes (I, J, K) in RAS.

    Attributes:
        hu: Radiodensity, shape (I, J, K).
        spacing_mm: Voxel size.
        masks: The annotated structures, shape (I, J, K) each. An annotated structure that is
            absent is all False; a structure that is not annotated is not a key.
        weight: How often it is drawn, relative to the other cases; above 0.
        case_id: What messages call the case; never a path or a patient.
    """

    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    weight: float = 1.0
    case_id: str = ""


@dataclass(frozen=True, slots=True)
class PreparedSample:
    """A case on the working grid.

    Attributes:
        image: Windowed intensities in [0, 1], float16, shape (I, J, K).
        labels: Bit n % 63 of word n // 63 is structure n, int64, shape (W, I, J, K).
        annotated: Positions of the annotated structures, ascending, int64, shape (A,).
        centres: Voxels inside each annotated structure that is present, int64, shape (n, 3).
        weight: How often the case is drawn, relative to the others.
        case_id: What messages call the case.
    """

    image: Tensor
    labels: Tensor
    annotated: Tensor
    centres: Mapping[int, Tensor]
    weight: float = 1.0
    case_id: str = ""


def prepare_samples(
    samples: Sequence[TrainingSample],
    structures: Sequence[str],
    inference: InferenceSettings,
    *,
    generator: torch.Generator,
    device: torch.device,
    complete: bool = True,
) -> list[PreparedSample]:
    """Resample, window and pack all cases.

    Args:
        samples: Annotated structures outside ``structures`` are left out.
        structures: What the network learns, in order.
        inference: Working spacing and window.
        generator: Draws the candidate patch centres, on the CPU.
        device: Where the results shall lie.
        complete: Whether each structure must be annotated in some case.

    Raises:
        ModelError: There is no sample, shapes differ, or a structure is annotated nowhere.
    """
    if not samples:
        raise ModelError("training needs at least one case, got none")
    for number, sample in enumerate(samples):
        _check(sample, number)
    learned = {name for sample in samples for name in sample.masks}
    missing = [name for name in structures if name not in learned]
    if complete and missing:
        raise ModelError(f"every structure must be annotated in some case; {missing} are in none")
    return [_prepare(sample, structures, inference, generator, device) for sample in samples]


def unpack_labels(words: Tensor, index: Tensor) -> Tensor:
    """Return the masks of some structures.

    Args:
        words: Packed labels, int64, shape (W, ...).
        index: Positions of the structures, int64, shape (Q,).

    Returns:
        0 or 1, uint8, shape (Q, ...).
    """
    shape = (-1, *([1] * (words.dim() - 1)))
    return ((words[index // _BITS] >> (index % _BITS).reshape(shape)) & 1).to(torch.uint8)


def _check(sample: TrainingSample, number: int) -> None:
    if sample.hu.ndim != 3 or min(sample.hu.shape) < 2:
        raise ModelError(f"case {number} must be a volume (I, J, K), got shape {sample.hu.shape}")
    if not (math.isfinite(sample.weight) and sample.weight > 0):
        raise ModelError(f"a case's weight must be positive, case {number} has {sample.weight}")
    for name, mask in sample.masks.items():
        if mask.shape != sample.hu.shape:
            raise ModelError(
                f"masks must have the image's shape {sample.hu.shape}; {name} of case {number} has "
                f"{mask.shape}"
            )


def _prepare(
    sample: TrainingSample,
    structures: Sequence[str],
    inference: InferenceSettings,
    generator: torch.Generator,
    device: torch.device,
) -> PreparedSample:
    working = to_working(
        sample.hu, sample.spacing_mm, inference.spacing_mm, device=torch.device("cpu")
    )
    annotated = [n for n, name in enumerate(structures) if name in sample.masks]
    labels = torch.zeros((math.ceil(len(structures) / _BITS), *working.shape), dtype=torch.int64)
    centres: dict[int, Tensor] = {}
    for number in annotated:
        mask, corner = _working_mask(sample, structures[number], inference.spacing_mm)
        if mask is None:
            continue
        box = tuple(slice(c, c + size) for c, size in zip(corner, mask.shape, strict=True))
        labels[(number // _BITS, *box)] |= mask.to(torch.int64) << (number % _BITS)
        inside = torch.nonzero(mask) + torch.tensor(corner)
        order = torch.randperm(len(inside), generator=generator)[:_CENTRES]
        centres[number] = inside[order]
    return PreparedSample(
        image=inference.scale(working).to(device, torch.float16),
        labels=labels.to(device),
        annotated=torch.tensor(annotated, dtype=torch.int64),
        centres=centres,
        weight=sample.weight,
        case_id=sample.case_id,
    )


def _working_mask(
    sample: TrainingSample, name: str, spacing_mm: tuple[float, float, float]
) -> tuple[Tensor | None, tuple[int, int, int]]:
    """Return one mask on the part of the working grid that it touches, and that part's corner.

    A working voxel is inside when the structure fills half of what it averages over. A structure
    so thin that no voxel is, keeps those that are filled most.
    """
    mask = sample.masks[name]
    if not mask.any():
        return None, (0, 0, 0)
    shape = working_shape(_shape(mask), sample.spacing_mm, spacing_mm)
    maps, corner = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        ratio = sample.spacing_mm[axis] / spacing_mm[axis]
        first = max(0, math.floor(hit[0] * ratio) - 1)
        last = min(shape[axis], math.ceil((hit[-1] + 1) * ratio) + 1)
        first = min(first, last - 1)
        corner.append(first)
        maps.append(
            axis_map(
                mask.shape[axis], sample.spacing_mm[axis], spacing_mm[axis], rows=(first, last)
            )
        )
    filled = apply_maps(torch.from_numpy(mask.view(np.uint8)), (maps[0], maps[1], maps[2]))
    threshold = min(0.5, float(filled.max()))
    return filled >= threshold, (corner[0], corner[1], corner[2])


def _shape(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int]:
    i, j, k = mask.shape
    return i, j, k
