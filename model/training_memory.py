"""How much memory a training step takes, and what would take less."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import ModelError
from model.activation_checkpointing import blocks_of
from model.build_backbone import build_backbone
from model.training_settings import TrainingSettings

# Weight, gradient and two moments of Adam, four bytes each; the running mean is one more.
_BYTES_A_WEIGHT = 16
_BYTES_OF_MEAN = 4
# Fitted to benchmarks/train_memory.py: what autocast leaves of the activations' bytes, what head
# and loss take for each voxel of a structure, and what libraries and convolutions put aside.
# Gradients of activations need no share of their own: they come while activations go.
_AUTOCAST_SHARE = 0.6
_BYTES_A_VOXEL_AND_STRUCTURE = 144
_BUFFERS = 400_000_000
# Annotated in one case, at most.
_STRUCTURES = 32
_GIB = 2**30
# More than any backbone keeps, in float32: Swin UNETR keeps 7,000.
_MOST_BYTES_A_VOXEL = 20_000


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a step takes at its peak, beside the training set and the libraries.

    Attributes:
        settings: What was asked about.
        weight_bytes: Weights, gradients and the optimiser's state; does not depend on the patch.
        activation_bytes: What is kept for the backward pass, and the head's and the loss's share.
    """

    settings: TrainingSettings
    weight_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it, with what libraries and convolutions put aside."""
        return self.weight_bytes + self.activation_bytes + _BUFFERS


@dataclass(frozen=True, slots=True)
class KeptBytes:
    """What autograd holds of one patch for the backward pass.

    Attributes:
        everything: All of it.
        outside: What blocks take in, and what lies between them.
        largest_block: What the largest block holds inside.
    """

    everything: int
    outside: int
    largest_block: int


class TrainingMemoryError(ModelError):
    """Memory did not suffice for a step; the weights are those before it.

    Attributes:
        step: Step, from 1, that could not be taken.
    """

    def __init__(self, step: int, settings: TrainingSettings, free_bytes: int | None) -> None:
        super().__init__(
            f"a step must fit into memory, step {step} did not; the state before it is kept. "
            f"{advice(settings, free_bytes)}"
        )
        self.step = step


def surely_fits(settings: TrainingSettings, free_bytes: int) -> bool:
    """Whether a training is so small that nothing need be estimated."""
    i, j, k = settings.inference.patch
    return settings.batch_size * i * j * k * _MOST_BYTES_A_VOXEL < free_bytes


class MemoryEstimator:
    """Says what a step takes, from dry runs of a backbone that compute and hold nothing."""

    def __init__(self, settings: TrainingSettings) -> None:
        """Build the backbone of some settings, without memory for its weights.

        Raises:
            ModelError: The backbone cannot be built.
        """
        with torch.random.fork_rng(devices=[]):
            backbone = build_backbone(settings.backbone, **settings.backbone_options)
        self._backbone = backbone.to("meta")
        self._kept: dict[tuple[int, int, int], KeptBytes] = {}

    @property
    def stride(self) -> int:
        """Axes of a patch are multiples of it."""
        return self._backbone.stride

    def estimate(self, settings: TrainingSettings) -> MemoryEstimate:
        """Return what a step takes with other settings of the same backbone.

        Raises:
            ModelError: The patch does not fit the backbone.
        """
        patch = settings.inference.patch
        if patch not in self._kept:
            self._kept[patch] = kept_for_backward(self._backbone, patch)
        kept = self._kept[patch]
        each = kept.everything
        if settings.activation_checkpointing:
            each = kept.outside + kept.largest_block
        share = 1.0 if settings.autocast is None else _AUTOCAST_SHARE
        per_weight = _BYTES_A_WEIGHT + (0 if settings.average_decay is None else _BYTES_OF_MEAN)
        weights = sum(weight.numel() for weight in self._backbone.parameters())
        pairs = _STRUCTURES * settings.background_share * math.prod(patch)
        each_patch = share * each + _BYTES_A_VOXEL_AND_STRUCTURE * pairs
        return MemoryEstimate(
            settings, weights * per_weight, round(settings.batch_size * each_patch)
        )


def advice(settings: TrainingSettings, free_bytes: int | None = None) -> str:
    """Return a table, as text, of this training and of ones that take less.

    Args:
        settings: What did not fit.
        free_bytes: Memory that there is; None when it is not known.
    """
    estimator = MemoryEstimator(settings)
    lines = [f"Estimated: {_described(estimator.estimate(settings))}. What takes less:"]
    if free_bytes is not None:
        lines.insert(1, f"  (free: {free_bytes / _GIB:.2f} GiB)")
    for smaller in smaller_settings(settings, estimator.stride):
        guess = estimator.estimate(smaller)
        fits = free_bytes is not None and guess.total_bytes <= free_bytes
        lines.append(f"  {_described(guess)}{' - fits' if fits else ''}")
    return "\n".join(lines)


def smaller_settings(settings: TrainingSettings, stride: int) -> Sequence[TrainingSettings]:
    """Return changes that save memory, the ones that change the result least first.

    Args:
        settings: What to change.
        stride: Axes of a patch are multiples of it.
    """
    found: list[TrainingSettings] = []
    smaller = settings
    if not smaller.activation_checkpointing:
        smaller = replace(smaller, activation_checkpointing=True)
        found.append(smaller)
    if smaller.autocast is None:
        smaller = replace(smaller, autocast="bfloat16")
        found.append(smaller)
    while smaller.batch_size > 1:
        size = smaller.batch_size // 2
        times = -(-smaller.batch_size // size)
        smaller = replace(smaller, batch_size=size, accumulation=smaller.accumulation * times)
        found.append(smaller)
    patch = settings.inference.patch
    for share in (0.75, 0.5):
        # Two voxels an axis must be left at the bottleneck, where norms take their mean.
        cut = tuple(
            min(size, max(2 * stride, int(share * size) // stride * stride)) for size in patch
        )
        if cut != patch and (not found or cut != found[-1].inference.patch):
            inference = replace(settings.inference, patch=(cut[0], cut[1], cut[2]))
            smaller = replace(smaller, inference=inference)
            found.append(smaller)
    return found


def _described(guess: MemoryEstimate) -> str:
    settings = guess.settings
    patch = "x".join(str(size) for size in settings.inference.patch)
    parts = [f"batch {settings.batch_size}"]
    if settings.accumulation > 1:
        parts.append(f"accumulation {settings.accumulation}")
    parts += [f"patch {patch}", settings.autocast or "float32"]
    if settings.activation_checkpointing:
        parts.append("activation checkpointing")
    return f"{', '.join(parts)}: {guess.total_bytes / _GIB:.2f} GiB"


def kept_for_backward(backbone: nn.Module, patch: tuple[int, int, int]) -> KeptBytes:
    """Run a backbone on the device ``meta``, without data, and count what autograd would hold."""
    counter = _Counter(backbone)
    with counter.counting():
        backbone(torch.empty(1, 1, *patch, device="meta"))
    return counter.result()


class _Counter:
    """Counts the bytes of distinct tensors that autograd saves, inside and outside of blocks."""

    def __init__(self, backbone: nn.Module) -> None:
        self._blocks = blocks_of(backbone)
        self._weights = {_key(weight) for weight in backbone.parameters()}
        self._held: list[Tensor] = []
        self._saved: dict[int, int] = {}
        self._inside: dict[int, set[int]] = {number: set() for number in range(len(self._blocks))}
        self._outside: set[int] = set()
        self._current: int | None = None

    @contextmanager
    def counting(self) -> Iterator[None]:
        handles: list[Any] = []
        for number, block in enumerate(self._blocks):
            handles.append(block.register_forward_pre_hook(self._entering(number)))
            handles.append(block.register_forward_hook(self._leaving))
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def result(self) -> KeptBytes:
        def total(keys: set[int]) -> int:
            return sum(self._saved[key] for key in keys)

        blocks = [total(keys) for keys in self._inside.values()]
        return KeptBytes(sum(self._saved.values()), total(self._outside), max(blocks, default=0))

    def _entering(self, number: int) -> Any:  # noqa: ANN401 a hook
        def enter(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            for value in inputs:
                if isinstance(value, Tensor):
                    self._add(value, self._outside)
            self._current = number

        return enter

    def _leaving(self, *_: object) -> None:
        self._current = None

    def _save(self, tensor: Tensor) -> Tensor:
        if _key(tensor) not in self._weights:
            self._add(
                tensor, self._outside if self._current is None else self._inside[self._current]
            )
        return tensor

    def _add(self, tensor: Tensor, keys: set[int]) -> None:
        key = _key(tensor)
        if key not in self._saved:
            self._held.append(tensor)  # else another tensor could get the same address
            self._saved[key] = tensor.untyped_storage().nbytes()
        keys.add(key)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
