from __future__ import annotations

import pytest
import torch
from torch import nn

from configs.errors import ModelError
from model.weight_average import WeightAverage


def one_weight(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_the_mean_by_hand() -> None:
    network = one_weight(1.0)
    average = WeightAverage(network, decay=0.15)
    for value in (2.0, 4.0):
        nn.init.constant_(network.weight, value)
        average.update(network)

    # Decays min(0.15, 1/10) and min(0.15, 2/11): 0.1 * 1 + 0.9 * 2, then 0.15 * 1.9 + 0.85 * 4.
    assert float(average.weights["weight"]) == pytest.approx(0.15 * 1.9 + 0.85 * 4)


def test_the_mean_becomes_a_networks_weights() -> None:
    average, other = WeightAverage(one_weight(3.0), decay=0.9), one_weight(0.0)

    average.write_into(other)

    assert float(other.weight.detach()) == 3.0


def test_a_stored_mean_of_another_network_is_refused() -> None:
    average = WeightAverage(one_weight(3.0), decay=0.9)

    with pytest.raises(ModelError, match="the network's parameters"):
        average.restore({"bias": torch.zeros(1)}, 1)
