from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import pytest
import torch

from model.encoding import EncodingKind, Provenance, TextEncoding, TextVectors
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

    matrices, vectors, controller, none = (group["params"] for group in optimizer.param_groups)
    grouped = [*matrices, *vectors, *controller, *none]
    assert len(grouped) == len({id(weight) for weight in grouped})
    assert {id(weight) for weight in grouped} == {id(weight) for weight in network.parameters()}
    assert all(weight.dim() == 1 for weight in vectors)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0.0, 1e-4, 1e-4]
    assert not none
    assert sum(weight.numel() for weight in controller) == 153 * (256 + 256 + 1)
    assert set_learning_rate_in_place(optimizer, 1, SETTINGS) == 0.5
    assert optimizer.param_groups[2]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize("head", ["dynamic", "query_dot"])
def test_an_aligned_step_moves_projected_rows_by_the_rate_times_a_root(head: str) -> None:
    rows = torch.tensor([[3.0, -2.0, 0.0, 5.0], [1.0, 1.0, -1.0, 7.0]])  # sizes add up to 10
    text = TextVectors.checked(rows, Provenance(source="test"), count=2)
    settings = replace(SETTINGS, head=head, encoding="text", weight_decay=0.0)
    network = new_network(settings, ("spleen", "liver"), text)
    encoding = cast(TextEncoding, network.encoding)
    optimizer = build_optimizer(network, settings)
    rate = set_learning_rate_in_place(optimizer, 1, settings)
    before = encoding.project(rows).detach()
    encoding.project.weight.grad = torch.sign(rows[0]).expand(256, 4).clone()

    optimizer.step()

    moved = (before - encoding.project(rows)).detach()
    # Of the number of structures.
    torch.testing.assert_close(moved[:, 0] / rate, 2**0.5 * torch.tensor([1.0, 0.7]))


def test_what_reads_projected_rows_is_slow() -> None:
    text = TextVectors.checked(torch.randn(2, 8), Provenance(source="test"), count=2)
    rates = {}
    for kind in ("one_hot", "text"):
        settings = replace(SETTINGS, head="query_dot", encoding=cast(EncodingKind, kind))
        network = new_network(settings, ("spleen", "liver"), text if kind == "text" else None)
        generator = network.head.get_parameter("generator.weight")
        for group in build_optimizer(network, settings).param_groups:
            if any(weight is generator for weight in group["params"]):
                rates[kind] = group["lr"]

    assert rates == {"one_hot": 0.5, "text": pytest.approx(0.05)}


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
