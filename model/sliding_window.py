"""Sliding-window inference that finishes slices as it goes along the last axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import CaseError, Reason
from model.grid import Shape
from model.network_options import Blending, NetworkOptions
from model.working_levels import Levels, levels_in_place

Predictor = Callable[[Tensor], Tensor]

_SIGMA = 0.125
_LEAST_WEIGHT = 1e-3

# A processor adds logits up while they are in its cache: half the time of all structures at once.
_CACHED_VOXELS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowing:
    """How a volume is cut into windows.

    Attributes:
        patch: Window size in working voxels.
        overlap: Share of a window that its neighbour covers too, in [0, 1).
    """

    patch: Shape
    overlap: float = 0.5


def predict_probabilities(
    image: Tensor,
    body: npt.NDArray[np.bool_],
    predict: Predictor,
    *,
    structures: int,
    windowing: Windowing,
    options: NetworkOptions | None = None,
) -> Levels:
    """Return every structure's probability in every voxel of a working volume.

    Windows are visited slice layer by slice layer. Weighted logits are summed over one window's
    thickness; slices that no later window touches are divided by their weights, passed through the
    sigmoid and stored, and the sums move on. Windows without body are skipped; what no window
    touches is 0.

    Peak memory in bytes, for Q structures, a (padded) volume I x J x K, a patch a x b x c, batch B:
    the sums ``4 * (Q + 1) * I * J * c`` on the image's device, or on the host with
    ``options.host_sums``; on the image's device the image ``4 * I * J * K`` (twice when it must be
    padded) and the network's own use with its logits ``4 * B * Q * a * b * c``; and the result ``2
    * Q * I * J * K`` on the host. Only the image and the result grow with K.

    Args:
        image: Network input, shape (I, J, K), float32.
        body: Where there is body, same shape.
        predict: Images (B, 1, a, b, c) to logits (B, Q, a, b, c).
        structures: Q, the number of logits.
        windowing: Size and overlap.
        options: How the network runs; the defaults when None.

    Returns:
        Levels as of ``model.working_levels``, shape (Q, I, J, K).

    Raises:
        CaseError: A logit is not finite.

    Source:
        Averaging logits with a Gaussian of sigma = patch / 8: the reference's inference
        (reference-model 5.1) through MONAI's sliding window; moving on is ours.
    """
    chosen = options or NetworkOptions()
    everywhere = body if chosen.body_only else np.ones(image.shape, np.bool_)
    before, padded_image, padded_body = _pad_to_patch(image, everywhere, windowing.patch)
    summed_on = torch.device("cpu") if chosen.host_sums else image.device
    front = _Front(structures, _shape3(padded_image), windowing.patch[2], summed_on)
    result = np.zeros((structures, *image.shape), np.int16)
    weight = window_weight(windowing.patch, chosen.blending).to(summed_on)
    with torch.inference_mode():
        for layer in _layers(padded_body, windowing):
            for corners in _batches(layer.corners, chosen.batch_size):
                with chosen.autocast(image.device):
                    logits = predict(_windows(padded_image, corners, windowing.patch))
                for corner, window in zip(corners, logits, strict=True):
                    front.add_in_place(window.to(summed_on), weight, corner)
            for index, values in front.finish_in_place(layer.stop - layer.start):
                _store_in_place(result[index], values, before, layer.start, layer.stop)
    return result


def window_starts(size: int, patch: int, overlap: float) -> tuple[int, ...]:
    """Return where windows start along one axis; the last one ends with the axis.

    An axis shorter than the patch has one window, at 0 of the padded axis.
    """
    if size <= patch:
        return (0,)
    step = max(1, int(patch * (1 - overlap)))
    return (*range(0, size - patch, step), size - patch)


def window_count(shape: Shape, windowing: Windowing) -> int:
    """Return how many windows a volume has before those without body are skipped."""
    axes = zip(shape, windowing.patch, strict=True)
    i, j, k = (len(window_starts(size, patch, windowing.overlap)) for size, patch in axes)
    return i * j * k


def window_weight(patch: Shape, blending: Blending = "gaussian") -> Tensor:
    """Return a window's weights: 1, or a Gaussian of sigma = patch / 8, with a floor."""
    if blending == "uniform":
        return torch.ones(patch)
    weight = torch.ones(())
    for size in patch:
        offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        weight = weight.unsqueeze(-1) * torch.exp(-(offset**2) / (2 * (_SIGMA * size) ** 2))
    return weight.clamp_min(_LEAST_WEIGHT)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Windows that share their first slice, and the slices that are finished once they have run."""

    start: int
    stop: int
    corners: tuple[Shape, ...]


class _Front:
    """Weighted logits of one window's thickness of slices, from the layer's first slice on."""

    def __init__(self, structures: int, shape: Shape, depth: int, device: torch.device) -> None:
        self._sums = torch.zeros((structures, *shape[:2], depth), device=device)
        self._weights = torch.zeros((*shape[:2], depth), device=device)

    def add_in_place(self, logits: Tensor, weight: Tensor, corner: Shape) -> None:
        """Add logits (Q, a, b, depth) of a window of this layer; its first voxel is ``corner``."""
        i, j, _ = corner
        rows, columns = slice(i, i + weight.shape[0]), slice(j, j + weight.shape[1])
        sums = self._sums[:, rows, columns]
        at_once = max(1, _CACHED_VOXELS // weight.numel()) if sums.is_cpu else len(sums)
        for some, total in zip(logits.split(at_once), sums.split(at_once), strict=True):
            total.addcmul_(some.float(), weight)
        self._weights[rows, columns] += weight

    def finish_in_place(self, slices: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (structure, levels (I, J, slices)) of the first slices; then go on behind them."""
        weights = self._weights[..., :slices]
        touched = weights > 0
        # No window has begun earlier, so there is none that reaches into later slices either.
        if not bool(touched.any()):
            return
        everywhere = bool(touched.all())
        # Where no window was, the smallest float keeps 0 / 0 out of the check.
        weights = weights.clamp_min(torch.finfo(torch.float32).tiny)
        for index, sums in enumerate(self._sums):
            levels = _finite_levels_in_place(sums[..., :slices] / weights)
            yield index, levels if everywhere else levels.mul_(touched)
            _move_on_in_place(sums, slices)
        _move_on_in_place(self._weights, slices)


def _move_on_in_place(values: Tensor, slices: int) -> None:
    """Drop the first slices along the last axis, move the others there and put 0 behind them."""
    kept = values.shape[-1] - slices
    if kept:
        values[..., :kept] = values[..., slices:].clone()
    values[..., kept:] = 0


def _finite_levels_in_place(logits: Tensor) -> Tensor:
    """Return the levels of logits, which are used up."""
    # What is not finite stays so in the sum, which costs one pass less than asking every voxel.
    if not bool(torch.isfinite(logits.sum())):
        raise CaseError(
            Reason.NON_FINITE_LOGITS,
            "logits must be finite, the network gave NaN or infinity; check its weights, or run it "
            "without reduced precision",
        )
    return levels_in_place(logits.sigmoid_())


def _layers(body: npt.NDArray[np.bool_], windowing: Windowing) -> Iterator[_Layer]:
    patch, overlap = windowing.patch, windowing.overlap
    starts = [window_starts(n, p, overlap) for n, p in zip(body.shape, patch, strict=True)]
    for k, stop in pairwise((*starts[2], body.shape[2])):
        slices = np.asarray(body[:, :, k : k + patch[2]].any(axis=2))
        corners = tuple(
            (i, j, k)
            for i, j in product(starts[0], starts[1])
            if slices[i : i + patch[0], j : j + patch[1]].any()
        )
        yield _Layer(k, stop, corners)


def _windows(image: Tensor, corners: Sequence[Shape], patch: Shape) -> Tensor:
    a, b, c = patch
    return torch.stack([image[i : i + a, j : j + b, k : k + c] for i, j, k in corners])[:, None]


def _pad_to_patch(
    image: Tensor, body: npt.NDArray[np.bool_], patch: Shape
) -> tuple[Shape, Tensor, npt.NDArray[np.bool_]]:
    missing = [max(0, p - n) for n, p in zip(image.shape, patch, strict=True)]
    i, j, k = (m // 2 for m in missing)
    if not any(missing):
        return (i, j, k), image, body
    pairs = [(low, m - low) for low, m in zip((i, j, k), missing, strict=True)]
    flat = [amount for pair in reversed(pairs) for amount in pair]
    return (i, j, k), functional.pad(image, flat), np.pad(body, pairs)


def _store_in_place(result: Levels, values: Tensor, before: Shape, start: int, stop: int) -> None:
    """Write finished slices of the padded volume into one structure's unpadded result (I, J, K)."""
    i, j, k = before
    first, last = max(start, k), min(stop, k + result.shape[2])
    if first >= last:
        return
    inside = values[i : i + result.shape[0], j : j + result.shape[1], first - start : last - start]
    result[:, :, first - k : last - k] = inside.cpu().numpy()


def _batches(corners: Sequence[Shape], size: int) -> Iterator[Sequence[Shape]]:
    for start in range(0, len(corners), size):
        yield corners[start : start + size]


def _shape3(image: Tensor) -> Shape:
    i, j, k = image.shape
    return i, j, k
