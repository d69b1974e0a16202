"""The running mean of a network's weights over the steps of its training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from configs.errors import ModelError


class WeightAverage:
    """An exponential moving average, kept in float32 beside the network.

    The mean starts as the weights of the first step, and its decay rises as
    ``min(decay, (1 + n) / (10 + n))`` over the updates n: a plain decay of 0.999 would remember the
    random start for thousands of steps.

    Source:
        Polyak and Juditsky 1992; the rising decay as in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._weights = {name: value.clone() for name, value in _weights_of(network).items()}

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The mean by the name of the parameter."""
        return self._weights

    def update(self, network: nn.Module) -> None:
        """Take the network's present weights into the mean."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        current = _weights_of(network)
        for name, mean in self._weights.items():
            mean.lerp_(current[name], 1 - decay)

    def restore(self, weights: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a mean that was stored.

        Raises:
            ModelError: Its names are other ones.
        """
        if weights.keys() != self._weights.keys():
            raise ModelError("a stored mean of weights must have the network's parameters")
        for name, value in weights.items():
            self._weights[name].copy_(value)
        self.updates = updates

    def write_into(self, network: nn.Module) -> None:
        """Give a network the mean as its weights."""
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.copy_(self._weights[name])


def _weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.named_parameters()}
