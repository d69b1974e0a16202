from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import model.dynamic_head as dynamic_head
from model.dynamic_head import DynamicHead, apply_class_layers, split_parameters
from model.feature_bundle import FeatureBundle


def by_grouped_convolution(features: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """The textbook form: features copied for each class, one group a class, sample by sample."""
    logits = []
    for sample, theta in zip(features, parameters, strict=True):
        classes = theta.shape[0]
        hidden = sample.repeat(classes, 1, 1, 1)[None]
        for weights, biases, outputs in (
            (theta[:, 0:64], theta[:, 136:144], 8),
            (theta[:, 64:128], theta[:, 144:152], 8),
            (theta[:, 128:136], theta[:, 152:153], 1),
        ):
            kernel = weights.reshape(classes * outputs, 8, 1, 1, 1)
            hidden = functional.conv3d(hidden, kernel, biases.reshape(-1), groups=classes)
            if outputs == 8:
                hidden = functional.relu(hidden)
        logits.append(hidden[0])
    return torch.stack(logits)


def random_case(batch: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(batch, 8, 5, 6, 7, generator=generator)
    return features, 0.4 * torch.randn(batch, classes, 153, generator=generator)


@pytest.mark.parametrize("block_values", [1, 2**19])
def test_the_head_equals_a_grouped_convolution(
    block_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_head, "_BLOCK_VALUES_CPU", block_values)
    features, parameters = random_case(batch=2, classes=4)

    ours = apply_class_layers(features, split_parameters(parameters))

    assert ours.shape == (2, 4, 5, 6, 7)
    torch.testing.assert_close(ours, by_grouped_convolution(features, parameters))


def test_gradients_equal_those_of_a_grouped_convolution() -> None:
    features, parameters = random_case(batch=2, classes=3)
    pairs = [
        (features.clone().requires_grad_(), parameters.clone().requires_grad_()) for _ in range(2)
    ]

    apply_class_layers(pairs[0][0], split_parameters(pairs[0][1])).square().sum().backward()
    by_grouped_convolution(*pairs[1]).square().sum().backward()

    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_the_layout_of_the_parameters_by_hand() -> None:
    theta = torch.zeros(153)
    theta[0 * 8 + 2] = 3.0  # first layer: output 0 takes 3 times input 2
    theta[136 + 0] = 1.0  # and 1
    theta[64 + 5 * 8 + 0] = 2.0  # second layer: output 5 takes twice output 0
    theta[144 + 5] = -4.0  # less 4
    theta[128 + 5] = 10.0  # third layer: ten times output 5
    theta[152] = 0.5  # and a half
    features = torch.zeros(1, 8, 1, 1, 3)
    features[0, 2, 0, 0] = torch.tensor([2.0, 0.0, -1.0])

    logits = apply_class_layers(features, split_parameters(theta.expand(1, 1, 153)))

    # relu(2 relu(3 x + 1) - 4) * 10 + 0.5 for x = 2, 0 and -1
    assert logits.flatten().tolist() == [100.5, 0.5, 0.5]


def test_a_subset_of_classes_is_a_slice_of_all() -> None:
    torch.manual_seed(0)
    head = DynamicHead(out_channels=16, bottleneck_channels=32, encoding_width=12)
    bundle = FeatureBundle(dec=torch.randn(2, 16, 4, 4, 4), bottleneck=torch.randn(2, 32, 2, 2, 2))
    encodings = torch.randn(5, 12)
    chosen = torch.tensor([3, 0])

    torch.testing.assert_close(head(bundle, encodings[chosen]), head(bundle, encodings)[:, chosen])


def test_the_controller_reads_the_image_before_the_class() -> None:
    torch.manual_seed(0)
    head = DynamicHead(out_channels=16, bottleneck_channels=16, encoding_width=4)
    dec = torch.randn(1, 16, 2, 2, 2)
    here, there = (FeatureBundle(dec, torch.randn(1, 16, 2, 2, 2)) for _ in range(2))
    with torch.no_grad():
        head.controller.weight[:, :256] = 0.0

    logits = head(here, torch.ones(1, 4))

    torch.testing.assert_close(logits, head(there, torch.ones(1, 4)))
    assert not torch.allclose(logits, head(here, torch.zeros(1, 4)))


def test_the_head_has_the_published_number_of_parameters() -> None:
    head = DynamicHead(out_channels=48, bottleneck_channels=768)

    counts = [
        sum(weight.numel() for weight in part.parameters())
        for part in (head.norm, head.reduce, head.pool, head.controller)
    ]

    assert counts == [96, 392, 198_400, 78_489]


def test_channel_counts_that_16_does_not_divide_get_fewer_groups() -> None:
    head = DynamicHead(out_channels=24, bottleneck_channels=20, encoding_width=3)
    bundle = FeatureBundle(dec=torch.randn(1, 24, 2, 2, 2), bottleneck=torch.randn(1, 20, 2, 2, 2))

    assert head(bundle, torch.eye(3)).shape == (1, 3, 2, 2, 2)
