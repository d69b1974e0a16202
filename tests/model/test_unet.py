from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from configs.errors import ModelError
from model.build_backbone import build_backbone
from model.instance_norm import instance_norm
from model.unet import UNet

BLOCKS = [
    *[f"down_tr{level}.ops.{block}" for level in (64, 128, 256, 512) for block in (0, 1)],
    *[f"up_tr{level}.ops.{block}" for level in (256, 128, 64) for block in (0, 1)],
]


def test_the_norm_of_two_voxels_by_hand() -> None:
    norm = instance_norm(1)
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.bias.fill_(0.5)

    # Mean 1 and variance 1, so the voxels become -1 and 1 (but for epsilon): 0.5 -+ 3.
    result = norm(torch.tensor([0.0, 2.0]).reshape(1, 1, 2, 1, 1)).flatten()

    assert result.tolist() == pytest.approx([-2.5, 3.5], abs=1e-4)


def test_the_norm_of_one_patch_is_batch_norm_with_the_patchs_own_statistics() -> None:
    torch.manual_seed(0)
    images, weight, bias = 2 + 3 * torch.randn(2, 4, 5, 3, 2), torch.randn(4), torch.randn(4)
    norm = instance_norm(4)
    norm.load_state_dict({"weight": weight, "bias": bias})

    ours = norm(images)

    for image, result in zip(images, ours, strict=True):
        alone = functional.batch_norm(image[None], None, None, weight, bias, training=True)
        torch.testing.assert_close(result[None], alone)
    together = functional.batch_norm(images, None, None, weight, bias, training=True)
    assert (ours - together).abs().max() > 0.1


def test_a_patch_does_not_depend_on_its_neighbour_in_the_batch() -> None:
    torch.manual_seed(0)
    backbone = UNet(width=2).eval()
    images = torch.rand(2, 1, 16, 8, 8)

    both, alone = backbone(images), backbone(images[:1])

    torch.testing.assert_close(both.dec[:1], alone.dec)
    torch.testing.assert_close(both.bottleneck[:1], alone.bottleneck)


def test_it_has_the_published_parameters_under_the_published_names() -> None:
    backbone = UNet()
    names = {f"{block}.{part}.{kind}" for block in BLOCKS for part in ("conv1", "bn1")
             for kind in ("weight", "bias")}  # fmt: skip
    names |= {f"up_tr{level}.up_conv.{kind}" for level in (256, 128, 64)
              for kind in ("weight", "bias")}  # fmt: skip

    state = backbone.state_dict()

    assert set(state) == names
    assert sum(weight.numel() for weight in state.values()) == 19_073_600
    convolutions = [tuple(state[f"{block}.conv1.weight"].shape[:2]) for block in BLOCKS]
    assert convolutions == [
        *[(32, 1), (64, 32), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256)],
        *[(256, 768), (256, 256), (128, 384), (128, 128), (64, 192), (64, 64)],
    ]
    assert tuple(state["up_tr64.up_conv.weight"].shape) == (128, 128, 2, 2, 2)


def test_shapes_are_those_that_a_head_is_built_for() -> None:
    backbone = build_backbone("unet", width=3)

    features = backbone(torch.rand(1, 1, 8, 16, 24))

    assert features.dec.shape == (1, backbone.out_channels, 8, 16, 24)
    assert features.bottleneck.shape == (1, backbone.bottleneck_channels, 1, 2, 3)


def test_a_width_of_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="positive width"):
        UNet(width=0)
