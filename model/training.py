"""Train one committee member on partially labeled cases: a plain function without resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from configs.errors import ConfigError, ModelError
from configs.taxonomy import load_taxonomy
from model.augmentation import AugmentationSettings
from model.encoding import EncodingKind, TextVectors
from model.feature_bundle import FeatureBundle
from model.inference_settings import InferenceSettings
from model.masked_loss import MaskedLoss
from model.training_patches import PatchSampler, TrainingBatch
from model.training_samples import TrainingSample, prepare_samples
from model.universal import UniversalNetwork, build_network

_LESION_WEIGHT = 1.5
_CLIP_NORM = 1.0
# A step of Adam moves the weights of all 512 inputs of the controller alike, so that what it
# writes into the head would jump by more than its size; the head's ReLUs then die.
_CONTROLLER_RATE = 0.1
_ENCODING_RATE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How one member is trained.

    Attributes:
        backbone: Name of the backbone, and ``backbone_options`` what it is built with.
        encoding: How structures are told apart.
        inference: Working spacing, window, patch and overlap; patches of training have that size.
        batch_size: Patches a step.
        steps: Optimiser steps.
        learning_rate: Highest rate; a linear warm-up leads to it, a cosine from it to zero.
        weight_decay: Of AdamW, on weight matrices only.
        warmup: Share of the steps that the warm-up takes.
        autocast: Type of the multiplications; None for float32.
        reduction: How the loss joins annotated pairs.
        overlap: Which form of Dice the loss takes.
        loss_stride: Every n-th voxel along each axis, from a random start, enters head and loss.
            Dice and cross-entropy of such a sub-grid estimate those of the patch, and cost n^3
            times less.
        prior_logit: Logit that a new network starts with in every voxel; most voxels are
            background for every structure, and need not be learned to be.
        augmentation: None trains on patches as they are.
        case_limit: Number of cases to train on, drawn by the seed; None for all.
        seed: Of weights, patches and augmentation.
    """

    backbone: str = "small_unet"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    encoding: EncodingKind = "learned"
    inference: InferenceSettings
    batch_size: int = 2
    steps: int = 200
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    autocast: Literal["bfloat16"] | None = "bfloat16"
    reduction: Literal["mean", "sum"] = "mean"
    overlap: Literal["dice", "log_dice"] = "log_dice"
    loss_stride: int = 1
    prior_logit: float = -3.0
    augmentation: AugmentationSettings | None = field(default_factory=AugmentationSettings)
    case_limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.steps, self.loss_stride)
        if min(counts) < 1:
            raise ConfigError(f"batch_size, steps and loss_stride must be at least 1, got {counts}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup must be in [0, 1), got {self.warmup}")
        if self.case_limit is not None and self.case_limit < 1:
            raise ConfigError(f"case_limit must be at least 1, got {self.case_limit}")


@dataclass(frozen=True, slots=True)
class TrainedMember:
    """What training returns.

    Attributes:
        network: In evaluation mode.
        inference: How it must be shown a volume.
        losses: Loss of every step.
    """

    network: UniversalNetwork
    inference: InferenceSettings
    losses: tuple[float, ...]


class DivergedError(ModelError):
    """The loss or its gradient stopped being finite.

    Attributes:
        step: Step, from 1, that could not be taken.
        member: The state before it.
    """

    def __init__(self, step: int, member: TrainedMember) -> None:
        super().__init__(
            f"the loss must stay finite, it did not at step {step}; the weights before that step "
            "are kept; lower the learning rate or train in float32"
        )
        self.step = step
        self.member = member


def train_member(
    samples: Sequence[TrainingSample],
    settings: TrainingSettings,
    *,
    structures: Sequence[str],
    device: torch.device,
    progress: Callable[[int, float], None] | None = None,
    text: TextVectors | None = None,
) -> TrainedMember:
    """Train a universal network; equal arguments give equal weights on one machine.

    Args:
        samples: Partially labeled cases; each structure must be annotated in at least one.
        settings: How to train.
        structures: What to learn, in the order of the network's channels.
        device: Where to compute.
        progress: Called after each step with its number, from 1, and its loss.
        text: Vectors of a text encoding, one a structure.

    Raises:
        DivergedError: A loss or gradient is not finite; it carries the last good state.
        ModelError: The cases do not fit together or the network cannot be built.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    network = _new_network(settings, structures, text).to(device)
    sampler = PatchSampler(
        samples=prepare_samples(
            _limited(samples, settings.case_limit, generator),
            structures,
            settings.inference,
            generator=generator,
            device=device,
        ),
        patch=settings.inference.patch,
        target_stride=settings.loss_stride,
        weights=_aim_weights(structures),
        augmentation=settings.augmentation,
    )
    losses: list[float] = []
    steps = _Steps(network, settings)
    for step in range(1, settings.steps + 1):
        loss = steps.take(sampler.draw(settings.batch_size, generator))
        if loss is None:
            raise DivergedError(
                step, TrainedMember(network.eval(), settings.inference, tuple(losses))
            )
        losses.append(loss)
        if progress is not None:
            progress(step, loss)
    return TrainedMember(network.eval(), settings.inference, tuple(losses))


def learning_rate_factor(step: int, *, steps: int, warmup: float) -> float:
    """Return the share of the highest learning rate at a step counted from 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising + 1) / (steps - rising + 1)))


class _Steps:
    """A network with its optimiser and schedule."""

    def __init__(self, network: UniversalNetwork, settings: TrainingSettings) -> None:
        self._network = network.train()
        self._loss = MaskedLoss(reduction=settings.reduction, overlap=settings.overlap)
        self._autocast = settings.autocast is not None
        controller = list(network.head.controller.parameters())
        table = list(network.encoding.parameters())
        special = {id(weight) for weight in (*controller, *table)}
        body = [weight for weight in network.parameters() if id(weight) not in special]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [weight for weight in body if weight.dim() > 1]},
                {"params": [weight for weight in body if weight.dim() <= 1], "weight_decay": 0.0},
                {"params": controller, "lr": _CONTROLLER_RATE * settings.learning_rate},
                {"params": table, "lr": _ENCODING_RATE * settings.learning_rate},
            ],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            betas=(0.9, 0.99),
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: learning_rate_factor(step, steps=settings.steps, warmup=settings.warmup),
        )

    def take(self, batch: TrainingBatch) -> float | None:
        """Take one step and return its loss; None, and no step, when it is not finite."""
        network = self._network
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self._autocast):
            features = network.backbone(batch.images)
            dec = features.dec[(..., *batch.target_grid)]
            logits = network.head(
                FeatureBundle(dec=dec, bottleneck=features.bottleneck),
                network.encoding(batch.structure_index),
            )
        loss: Tensor = self._loss(logits, batch.target, batch.mask)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP_NORM)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            return None
        self._optimizer.step()
        self._schedule.step()
        return value


def _new_network(
    settings: TrainingSettings, structures: Sequence[str], text: TextVectors | None
) -> UniversalNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build_network(
            settings.backbone,
            settings.backbone_options,
            encoding=settings.encoding,
            structures=structures,
            text=text,
        )
    with torch.no_grad():
        network.head.controller.bias[-1] = settings.prior_logit
    return network


def _limited(
    samples: Sequence[TrainingSample], limit: int | None, generator: torch.Generator
) -> list[TrainingSample]:
    if limit is None or limit >= len(samples):
        return list(samples)
    chosen = torch.randperm(len(samples), generator=generator)[:limit]
    return [samples[number] for number in sorted(chosen.tolist())]


def _aim_weights(structures: Sequence[str]) -> Tensor:
    lesions = {structure.name for structure in load_taxonomy().structures if structure.is_lesion}
    return torch.tensor([_LESION_WEIGHT if name in lesions else 1.0 for name in structures])
