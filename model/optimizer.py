"""The optimiser of a universal network and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from model.dynamic_head import DynamicHead
from model.encoding import TextEncoding
from model.query_dot_head import QueryDotHead
from model.training_settings import TrainingSettings
from model.universal import UniversalNetwork

_BETAS = (0.9, 0.99)
# A step of Adam moves the weights of all inputs of a layer alike, so that its outputs move by the
# rate times the sum of the inputs' sizes. What a controller of 512 inputs writes into the head
# would jump by more than its size; the head's ReLUs then die. Rectified rows of a text encoding
# share a direction, and the weights that are generated from them would all jump together.
_GENERATOR_RATE = 0.1


def build_optimizer(network: UniversalNetwork, settings: TrainingSettings) -> torch.optim.AdamW:
    """Return AdamW over all weights: biases and norms without decay, some layers slowly.

    Slow is what writes a head's weights: the controller of a dynamic head, and the generator of a
    query-dot head that reads a text encoding. Slower is a text encoding's projection: its rows move
    by about the rate, as those of a learned table do.

    Each group keeps its highest rate as ``highest_lr``; ``set_learning_rate_in_place`` scales it.
    """
    slow, slower = _generator(network), _projection(network)
    known = {id(weight) for weight in (*slow, *slower)}
    body = [weight for weight in network.parameters() if id(weight) not in known]
    rate = settings.learning_rate
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in body if weight.dim() > 1], "lr": rate},
        {
            "params": [weight for weight in body if weight.dim() <= 1],
            "lr": rate,
            "weight_decay": 0.0,
        },
        {"params": list(slow), "lr": _GENERATOR_RATE * rate},
        {"params": list(slower), "lr": _projection_rate(network) * rate},
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


def _generator(network: UniversalNetwork) -> Sequence[nn.Parameter]:
    if isinstance(network.head, DynamicHead):
        return tuple(network.head.controller.parameters())
    if isinstance(network.head, QueryDotHead) and isinstance(network.encoding, TextEncoding):
        return tuple(network.head.generator.parameters())
    return ()


def _projection(network: UniversalNetwork) -> Sequence[nn.Parameter]:
    if isinstance(network.encoding, TextEncoding):
        return tuple(network.encoding.project.parameters())
    return ()


def _projection_rate(network: UniversalNetwork) -> float:
    """Return the share of the rate at which projected rows move about as a learned table's.

    Where all weights of a step pull one structure's way, its row moves by the step's size times the
    sum of the vector's sizes; the signs that n structures agree on pull about a square root of n
    less.
    """
    if not isinstance(network.encoding, TextEncoding):
        return 1.0
    vectors = network.encoding.vectors
    # A lone vector of zeros divides by zero, and learns nothing at any rate.
    return float((math.sqrt(len(vectors)) / vectors.abs().sum(1).mean()).clamp_max(1.0))
