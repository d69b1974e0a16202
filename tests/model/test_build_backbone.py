from __future__ import annotations

from typing import Any

import pytest
import torch

from configs.backbones import BACKBONE_OPTIONS
from model.build_backbone import BACKBONES, build_backbone


def test_settings_may_name_every_backbone() -> None:
    assert set(BACKBONE_OPTIONS) == set(BACKBONES)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("small_unet", {"widths": [4, 8], "fold": 3}),
        ("swin_unetr", {"feature_size": 12, "depths": [1, 1, 1, 1]}),
        ("unet", {"width": 2}),
        ("unetpp", {"features": [2, 2, 2, 2, 2, 2]}),
        ("segresnet", {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
    ],
)
def test_options_of_the_settings_build_the_backbone_with_their_stride(
    name: Any, options: dict[str, Any]
) -> None:
    checked = BACKBONE_OPTIONS[name].model_validate(options)

    backbone = build_backbone(name, **checked.model_dump())

    assert backbone.stride == checked.stride


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"width": 2}),
        ("unetpp", {"features": [2, 2, 2, 2, 2, 2]}),
        ("segresnet", {"init_filters": 8}),
    ],
)
def test_every_parameter_is_trained(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, **options)

    features = backbone(torch.rand(1, 1, 32, 32, 16))
    (features.dec.square().mean() + features.bottleneck.square().mean()).backward()

    gradients = {name: weight.grad for name, weight in backbone.named_parameters()}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
