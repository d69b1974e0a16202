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
from model.dynamic_head import DynamicHead
from model.encoding import EncodingKind, TextVectors
from model.inference_settings import InferenceSettings
from model.masked_loss import MaskedLoss
from model.training_patches import PatchSampler, TrainingBatch
from model.training_samples import TrainingSample, prepare_samples
from model.universal import UniversalNetwork, build_network

_LESION_WEIGHT = 1.5
_CLIP_NORM = 5.0
# A step of Adam moves the weights of all 512 inputs of the controller alike, so that what it
# writes into the head would jump by more than its size; the head's ReLUs then die.
_CONTROLLER_RATE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How one member is trained.

    Attributes:
        backbone: Name of the backbone, and ``backbone_options`` what it is built with.
        head: Kind of the head.
        encoding: How structures are told apart.
        inference: Working spacing, window, patch and overlap; patches of training have that size.
        batch_size: Patches a step.
        steps: Optimiser steps.
        learning_rate: Highest rate; a linear warm-up leads to it, a cosine from it to zero.
        weight_decay: Of AdamW, on weight matrices only.
        warmup: Share of the steps that the warm-up takes.
        autocast: Type of the multiplications; None for float32.
        reduction: How the loss joins annotated pairs.
        balance: The loss's balance at the first step and from four fifths of the steps on, linear
            between: small structures are found first and drawn to size later.
        background_share: Share of the voxels without a structure that enters head and loss.
        prior_logit: Logit that a new network starts with in every voxel; most voxels are
            background for every structure, and need not be learned to be.
        augmentation: None trains on patches as they are.
        case_limit: Number of cases to train on, drawn by the seed; None for all.
        seed: Of weights, patches and augmentation.
    """

    backbone: str = "small_unet"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    head: str = "dynamic"
    encoding: EncodingKind = "learned"
    inference: InferenceSettings
    batch_size: int = 2
    steps: int = 200
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    autocast: Literal["bfloat16"] | None = "bfloat16"
    reduction: Literal["mean", "sum"] = "mean"
    balance: tuple[float, float] = (0.3, 0.8)
    background_share: float = 0.1
    prior_logit: float = -1.0
    augmentation: AugmentationSettings | None = field(default_factory=AugmentationSettings)
    case_limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.batch_size, self.steps) < 1:
            raise ConfigError(
                f"batch_size and steps must be at least 1, got {self.batch_size} and {self.steps}"
            )
        if not 0 < self.background_share <= 1:
            raise ConfigError(f"background_share must be in (0, 1], got {self.background_share}")
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
    network: UniversalNetwork,
    *,
    device: torch.device,
    progress: Callable[[int, float], None] | None = None,
    complete: bool = True,
) -> TrainedMember:
    """Train a universal network, in place; equal arguments give equal weights on one machine.

    A structure that a case does not annotate is not even computed for it: its logits get a gradient
    of exactly zero.

    Args:
        samples: Partially labeled cases.
        settings: How to train; what describes the network was used to make it.
        network: A new one, or one to go on with.
        device: Where to compute.
        progress: Called after each step with its number, from 1, and its loss.
        complete: Whether each of the network's structures must be annotated in some case, as a new
            network needs.

    Raises:
        DivergedError: A loss or gradient is not finite; it carries the last good state.
        ModelError: The cases do not fit together.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    network.to(device)
    structures = network.structures
    sampler = PatchSampler(
        samples=prepare_samples(
            _limited(samples, settings.case_limit, generator),
            structures,
            settings.inference,
            generator=generator,
            device=device,
            complete=complete,
        ),
        patch=settings.inference.patch,
        background_share=settings.background_share,
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


def new_network(
    settings: TrainingSettings, structures: Sequence[str], text: TextVectors | None = None
) -> UniversalNetwork:
    """Return an untrained network; equal seeds give equal weights.

    Args:
        settings: Backbone, head, encoding, prior and seed.
        structures: What to learn, in the order of the network's channels.
        text: Vectors of a text encoding, one a structure.

    Raises:
        ModelError: The network cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build_network(
            settings.backbone,
            settings.backbone_options,
            encoding=settings.encoding,
            structures=structures,
            text=text,
            head=settings.head,
        )
    network.head.set_prior_in_place(settings.prior_logit)
    return network


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
        self._settings = settings
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(network, settings.learning_rate),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            betas=(0.9, 0.99),
            fused=next(network.parameters()).device.type in ("cpu", "cuda"),
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: learning_rate_factor(step, steps=settings.steps, warmup=settings.warmup),
        )
        self._taken = 0

    def take(self, batch: TrainingBatch) -> float | None:
        """Take one step and return its loss; None, and no step, when it is not finite."""
        loss = self._loss_of(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP_NORM)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            return None
        self._optimizer.step()
        self._schedule.step()
        self._taken += 1
        return value

    def _loss_of(self, batch: TrainingBatch) -> Tensor:
        network, settings = self._network, self._settings
        first, last = settings.balance
        progress = min(1.0, self._taken / (0.8 * settings.steps))
        loss = MaskedLoss(reduction=settings.reduction, balance=first + (last - first) * progress)
        with torch.autocast(
            batch.images.device.type, torch.bfloat16, enabled=settings.autocast is not None
        ):
            features = network.backbone(batch.images)
            voxels = network.head.voxel_features(features.dec).flatten(2)
            logits = [
                network.head.classify(
                    voxels[number : number + 1, :, target.voxels][..., None, None],
                    features.bottleneck[number : number + 1],
                    network.encoding(target.structure_index),
                )
                for number, target in enumerate(batch.targets)
            ]
        costs = [
            loss(
                values,
                target.target[None, ..., None, None],
                torch.ones(values.shape[:2], dtype=torch.bool, device=values.device),
                target.weight[None, None, :, None, None],
            )
            for values, target in zip(logits, batch.targets, strict=True)
        ]
        return torch.stack(costs).mean()


def _parameter_groups(network: UniversalNetwork, learning_rate: float) -> list[dict[str, Any]]:
    """Return the optimiser's groups: biases and norms without decay, a slow controller."""
    slow = {id(weight) for weight in _controller(network)}
    body = [weight for weight in network.parameters() if id(weight) not in slow]
    return [
        {"params": [weight for weight in body if weight.dim() > 1]},
        {"params": [weight for weight in body if weight.dim() <= 1], "weight_decay": 0.0},
        {"params": list(_controller(network)), "lr": _CONTROLLER_RATE * learning_rate},
    ]


def _controller(network: UniversalNetwork) -> Sequence[nn.Parameter]:
    if isinstance(network.head, DynamicHead):
        return tuple(network.head.controller.parameters())
    return ()


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
