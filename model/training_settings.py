"""How a network is trained, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from configs.errors import ConfigError
from model.augmentation import AugmentationSettings
from model.encoding import EncodingKind
from model.inference_settings import InferenceSettings
from model.patch_aim import SamplingSettings

Precision = Literal["bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How one member is trained.

    Attributes:
        backbone: Name of the backbone, and ``backbone_options`` what it is built with.
        head: Kind of the head.
        encoding: How structures are told apart.
        inference: Working spacing, window, patch and overlap; patches of training have that size.
        batch_size: Patches that are computed at once, on each process.
        accumulation: Such batches a step; their gradients are averaged before it.
        steps: Optimiser steps.
        learning_rate: Highest rate; a linear warm-up leads to it, a cosine from it to zero.
        weight_decay: Of AdamW, on weight matrices only.
        warmup: Share of the steps that the warm-up takes.
        clip_norm: The gradient is scaled down to this norm where it is longer.
        average_decay: How much of the running mean of the weights stays at each step; what comes
            out is that mean. None returns the last weights.
        autocast: Type of the multiplications; None for float32.
        activation_checkpointing: Compute activations again in the backward pass to save memory.
        reduction: How the loss joins annotated pairs.
        balance: The loss's balance at the first step and from four fifths of the steps on, linear
            between: small structures are found first and drawn to size later.
        dice_weight: What the loss's Dice counts beside its cross-entropy.
        background_share: Share of the voxels without a structure that enters head and loss.
        prior_logit: Logit that a new network starts with in every voxel; most voxels are
            background for every structure, and need not be learned to be.
        augmentation: None trains on patches as they are.
        sampling: How often datasets, structures and places are drawn.
        case_limit: Number of cases to train on, drawn by the seed; None for all.
        seed: Of weights, patches and augmentation.
    """

    backbone: str = "small_unet"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    head: str = "dynamic"
    encoding: EncodingKind = "learned"
    inference: InferenceSettings
    batch_size: int = 2
    accumulation: int = 1
    steps: int = 200
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1
    clip_norm: float = 5.0
    average_decay: float | None = None
    autocast: Precision | None = "bfloat16"
    activation_checkpointing: bool = False
    reduction: Literal["mean", "sum"] = "mean"
    balance: tuple[float, float] = (0.3, 0.8)
    dice_weight: float = 1.0
    background_share: float = 0.1
    prior_logit: float = -1.0
    augmentation: AugmentationSettings | None = field(default_factory=AugmentationSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    case_limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be positive, got {value}")
        self._check_shares()
        if self.autocast not in (None, "bfloat16", "float16"):
            raise ConfigError(f"autocast must be bfloat16, float16 or None, got {self.autocast!r}")
        if self.case_limit is not None and self.case_limit < 1:
            raise ConfigError(f"case_limit must be at least 1, got {self.case_limit}")

    def _check_shares(self) -> None:
        if not 0 < self.background_share <= 1:
            raise ConfigError(f"background_share must be in (0, 1], got {self.background_share}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup must be in [0, 1), got {self.warmup}")
        if not (math.isfinite(self.dice_weight) and self.dice_weight >= 0):
            raise ConfigError(f"dice_weight must not be negative, got {self.dice_weight}")
        if self.average_decay is not None and not 0 < self.average_decay < 1:
            raise ConfigError(f"average_decay must be in (0, 1), got {self.average_decay}")
