"""The optimiser of a universal network and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from model.dynamic_head import DynamicHead
from model.training_settings import TrainingSettings
from model.universal import UniversalNetwork

_BETAS = (0.9, 0.99)
# A step of Adam moves the weights of all 512 inputs of the controller alike, so that what it
# writes into the head would jump by more than its size; the head's ReLUs then die.
_CONTROLLER_RATE = 0.1


def build_optimizer(network: UniversalNetwork, settings: TrainingSettings) -> torch.optim.AdamW:
    """Return AdamW over all weights: biases and norms without decay, a slow controller.

    Each group keeps its highest rate as ``highest_lr``; ``set_learning_rate_in_place`` scales it.
    """
    slow = _controller(network)
    known = {id(weight) for weight in slow}
    body = [weight for weight in network.parameters() if id(weight) not in known]
    rate = settings.learning_rate
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in body if weight.dim() > 1], "lr": rate},
        {
            "params": [weight for weight in body if weight.dim() <= 1],
            "lr": rate,
            "weight_decay": 0.0,
        },
        {"params": list(slow), "lr": _CONTROLLER_RATE * rate},
    ]
    for group in groups:
        group["highest_lr"] = group["lr"]
    return torch.optim.AdamW(
        groups,
        lr=rate,
        weight_decay=settings.weight_decay,
        betas=_BETAS,
        fused=next(network.parameters()).device.type in ("cpu", "cuda"),
    )


def set_learning_rate_in_place(
    optimizer: torch.optim.Optimizer, step: int, settings: TrainingSettings
) -> float:
    """Set the rates of a step counted from 0; return the rate of the first group.

    A function of the step alone: a run that is resumed has nothing to remember of its schedule.
    """
    factor = learning_rate_factor(step, steps=settings.steps, warmup=settings.warmup)
    for group in optimizer.param_groups:
        group["lr"] = factor * group["highest_lr"]
    return float(optimizer.param_groups[0]["lr"])


def learning_rate_factor(step: int, *, steps: int, warmup: float) -> float:
    """Return the share of the highest learning rate at a step counted from 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising + 1) / (steps - rising + 1)))


def _controller(network: UniversalNetwork) -> Sequence[nn.Parameter]:
    if isinstance(network.head, DynamicHead):
        return tuple(network.head.controller.parameters())
    return ()
