"""Training cases, brought to the working grid once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from configs.errors import ModelError
from model.inference_settings import InferenceSettings
from model.resample import apply_maps, axis_map, to_working, working_shape

PREPARATION = 1
"""Changes when a case is prepared otherwise, so that samples on disk are made again."""

_BITS = 8
_CENTRES = 512
_ARRAYS = {
    "image": ("float16", 3),
    "labels": ("uint8", 4),
    "annotated": ("int64", 1),
    "centres": ("int32", 2),
    "centre_counts": ("int64", 1),
}


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One partially labeled case, axes (I, J, K) in RAS.

    Attributes:
        hu: Radiodensity, shape (I, J, K).
        spacing_mm: Voxel size.
        masks: The annotated structures, shape (I, J, K) each. An annotated structure that is
            absent is all False; a structure that is not annotated is not a key. Each is read once
            and let go, so a mapping that reads on demand keeps one in memory.
        weight: How often it is drawn, relative to the other cases of its dataset; above 0.
        dataset: Where it comes from; datasets share the draws, see ``model.patch_aim``.
        case_id: What messages call the case; never a path or a patient.
    """

    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    weight: float = 1.0
    dataset: str = ""
    case_id: str = ""


@dataclass(frozen=True, slots=True)
class PreparedSample:
    """A case on the working grid, in memory or in a mapped file: its tensors do not tell.

    It takes two bytes a voxel for the image and one for every eight annotated structures.

    Attributes:
        image: Windowed intensities in [0, 1], float16, shape (I, J, K).
        labels: Bit n % 8 of plane n // 8 is the n-th annotated structure, uint8, shape
            (ceil(A / 8), I, J, K).
        annotated: Numbers of the annotated structures, ascending, int64, shape (A,).
        centres: Voxels inside each annotated structure that is present, by its number, int64, shape
            (n, 3).
        weight: How often the case is drawn, relative to the others of its dataset.
        dataset: Where it comes from.
        case_id: What messages call the case.
    """

    image: Tensor
    labels: Tensor
    annotated: Tensor
    centres: Mapping[int, Tensor]
    weight: float = 1.0
    dataset: str = ""
    case_id: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of image and labels."""
        return self.image.nbytes + self.labels.nbytes


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
    learned = {name for sample in samples for name in sample.masks}
    missing = [name for name in structures if name not in learned]
    if complete and missing:
        raise ModelError(f"every structure must be annotated in some case; {missing} are in none")
    return [
        prepare_sample(
            sample,
            structures,
            inference,
            generator=generator,
            device=device,
            name=f"case {number}",
        )
        for number, sample in enumerate(samples)
    ]


def prepare_sample(
    sample: TrainingSample,
    structures: Sequence[str],
    inference: InferenceSettings,
    *,
    generator: torch.Generator,
    device: torch.device,
    name: str = "the case",
) -> PreparedSample:
    """Resample, window and pack one case; the arguments are those of ``prepare_samples``.

    Args:
        sample: Its masks are read one at a time.
        structures: What the network learns, in order.
        inference: Working spacing and window.
        generator: Draws the candidate patch centres, on the CPU.
        device: Where the result shall lie.
        name: What errors call the case.

    Raises:
        ModelError: Shapes differ, or the weight is not positive.
    """
    _check(sample, name)
    working = to_working(
        sample.hu, sample.spacing_mm, inference.spacing_mm, device=torch.device("cpu")
    )
    annotated = [n for n, structure in enumerate(structures) if structure in sample.masks]
    labels = torch.zeros((math.ceil(len(annotated) / _BITS), *working.shape), dtype=torch.uint8)
    centres: dict[int, Tensor] = {}
    for position, number in enumerate(annotated):
        mask, corner = _working_mask(
            _native_mask(sample, structures[number], name),
            sample.spacing_mm,
            inference.spacing_mm,
        )
        if mask is None:
            continue
        box = tuple(slice(c, c + size) for c, size in zip(corner, mask.shape, strict=True))
        labels[(position // _BITS, *box)] |= mask.to(torch.uint8) << (position % _BITS)
        inside = torch.nonzero(mask) + torch.tensor(corner)
        order = torch.randperm(len(inside), generator=generator)[:_CENTRES]
        centres[number] = inside[order]
    return PreparedSample(
        image=inference.scale(working).to(device, torch.float16),
        labels=labels.to(device),
        annotated=torch.tensor(annotated, dtype=torch.int64),
        centres=centres,
        weight=sample.weight,
        dataset=sample.dataset,
        case_id=sample.case_id,
    )


def unpack_labels(planes: Tensor, positions: Tensor) -> Tensor:
    """Return the masks of some annotated structures.

    Args:
        planes: Packed labels, uint8, shape (P, ...).
        positions: Positions among the annotated structures, int64, shape (Q,).

    Returns:
        0 or 1, uint8, shape (Q, ...).
    """
    masks = planes.new_empty((len(positions), *planes.shape[1:]))
    for mask, position in zip(masks, positions.tolist(), strict=True):
        torch.bitwise_right_shift(planes[position // _BITS], position % _BITS, out=mask)
    return masks.bitwise_and_(1)


def sample_arrays(sample: PreparedSample) -> dict[str, npt.NDArray[Any]]:
    """Return a sample as arrays to be stored; weight and dataset are not part of them."""
    numbers = sample.annotated.tolist()
    empty = torch.zeros((0, 3), dtype=torch.int64)
    centres = [sample.centres.get(number, empty).cpu() for number in numbers]
    return {
        "image": sample.image.cpu().numpy(),
        "labels": sample.labels.cpu().numpy(),
        "annotated": np.array(numbers, np.int64),
        "centres": torch.cat([empty, *centres]).numpy().astype(np.int32),
        "centre_counts": np.array([len(voxels) for voxels in centres], np.int64),
    }


def sample_from_arrays(
    arrays: Mapping[str, npt.NDArray[Any]],
    *,
    weight: float = 1.0,
    dataset: str = "",
    case_id: str = "",
) -> PreparedSample:
    """Return the sample that ``sample_arrays`` took apart; image and labels are not copied.

    Raises:
        ModelError: An array is missing or of another type or shape.
    """
    _check_arrays(arrays)
    counts = arrays["centre_counts"].tolist()
    parts = torch.from_numpy(arrays["centres"].astype(np.int64)).split(counts)
    annotated = arrays["annotated"].tolist()
    return PreparedSample(
        image=torch.from_numpy(arrays["image"]),
        labels=torch.from_numpy(arrays["labels"]),
        annotated=torch.tensor(annotated, dtype=torch.int64),
        centres={n: voxels for n, voxels in zip(annotated, parts, strict=True) if len(voxels)},
        weight=weight,
        dataset=dataset,
        case_id=case_id,
    )


def _check(sample: TrainingSample, name: str) -> None:
    if sample.hu.ndim != 3 or min(sample.hu.shape) < 2:
        raise ModelError(f"{name} must be a volume (I, J, K), got shape {sample.hu.shape}")
    if not (math.isfinite(sample.weight) and sample.weight > 0):
        raise ModelError(f"a case's weight must be positive, {name} has {sample.weight}")


def _native_mask(sample: TrainingSample, structure: str, name: str) -> npt.NDArray[np.bool_]:
    mask = sample.masks[structure]
    if mask.shape != sample.hu.shape:
        raise ModelError(
            f"masks must have the image's shape {sample.hu.shape}; {structure} of {name} has "
            f"{mask.shape}"
        )
    return mask


def _check_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, (dtype, dimensions) in _ARRAYS.items():
        array = arrays.get(name)
        if array is None or array.dtype != dtype or array.ndim != dimensions:
            found = "none" if array is None else f"{array.dtype} with {array.ndim}"
            raise ModelError(
                f"a stored sample has {name} as {dtype} with {dimensions} axes, got {found}; make "
                "the sample again"
            )


def _working_mask(
    mask: npt.NDArray[np.bool_],
    native_mm: tuple[float, float, float],
    spacing_mm: tuple[float, float, float],
) -> tuple[Tensor | None, tuple[int, int, int]]:
    """Return one mask on the part of the working grid that it touches, and that part's corner.

    A working voxel is inside when the structure fills half of what it averages over. A structure
    so thin that no voxel is, keeps those that are filled most.
    """
    if not mask.any():
        return None, (0, 0, 0)
    shape = working_shape(_shape(mask), native_mm, spacing_mm)
    maps, corner = [], []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        ratio = native_mm[axis] / spacing_mm[axis]
        first = max(0, math.floor(hit[0] * ratio) - 1)
        last = min(shape[axis], math.ceil((hit[-1] + 1) * ratio) + 1)
        first = min(first, last - 1)
        corner.append(first)
        maps.append(
            axis_map(mask.shape[axis], native_mm[axis], spacing_mm[axis], rows=(first, last))
        )
    filled = apply_maps(torch.from_numpy(mask.view(np.uint8)), (maps[0], maps[1], maps[2]))
    threshold = min(0.5, float(filled.max()))
    return filled >= threshold, (corner[0], corner[1], corner[2])


def _shape(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int]:
    i, j, k = mask.shape
    return i, j, k
