from __future__ import annotations

import math

import pytest
import torch

from model.inference_settings import InferenceSettings
from model.optimizer import build_optimizer, learning_rate_factor, set_learning_rate_in_place
from model.training import new_network
from model.training_settings import TrainingSettings

SETTINGS = TrainingSettings(
    backbone_options={"widths": (4, 8), "out_channels": 4},
    inference=InferenceSettings(patch=(8, 8, 8)),
    learning_rate=0.5,
    steps=10,
    warmup=0.2,
)


def test_the_rate_rises_in_a_line_then_falls_to_zero_as_a_cosine() -> None:
    factors = [learning_rate_factor(step, steps=11, warmup=0.2) for step in range(11)]

    assert factors[:2] == [0.5, 1.0]
    assert factors[6] == pytest.approx(0.5)
    assert factors == sorted(factors[:2]) + sorted(factors[2:], reverse=True)
    assert 0 < factors[-1] < 0.03


def test_every_weight_is_in_one_group_and_the_controller_is_slow() -> None:
    network = new_network(SETTINGS, ("spleen", "liver"))

    optimizer = build_optimizer(network, SETTINGS)

    matrices, vectors, controller = (group["params"] for group in optimizer.param_groups)
    grouped = [*matrices, *vectors, *controller]
    assert len(grouped) == len({id(weight) for weight in grouped})
    assert {id(weight) for weight in grouped} == {id(weight) for weight in network.parameters()}
    assert all(weight.dim() == 1 for weight in vectors)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0.0, 1e-4]
    assert sum(weight.numel() for weight in controller) == 153 * (256 + 256 + 1)
    assert set_learning_rate_in_place(optimizer, 1, SETTINGS) == 0.5
    assert optimizer.param_groups[2]["lr"] == pytest.approx(0.05)


def test_the_rate_is_a_function_of_the_step_alone() -> None:
    optimizer = build_optimizer(new_network(SETTINGS, ("spleen",)), SETTINGS)
    for step in (7, 0, 3):
        set_learning_rate_in_place(optimizer, step, SETTINGS)

    rate = set_learning_rate_in_place(optimizer, 5, SETTINGS)

    assert rate == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 4 / 9)))


def test_a_step_is_the_textbook_one() -> None:
    network = new_network(SETTINGS, ("spleen", "liver"))
    optimizer = build_optimizer(network, SETTINGS)
    rate = set_learning_rate_in_place(optimizer, 0, SETTINGS)
    weight = network.backbone.get_parameter("unfold.weight")
    before = weight.detach().clone()
    for other in network.parameters():
        other.grad = torch.full_like(other, 0.25)

    optimizer.step()

    # Adam's first step has the gradient's sign; AdamW first shrinks the weight.
    expected = before * (1 - rate * 1e-4) - rate * 0.25 / (0.25 + 1e-8)
    torch.testing.assert_close(weight.detach(), expected)
