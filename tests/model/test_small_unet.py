from __future__ import annotations

import pytest
import torch
from torch import nn

from configs.errors import ModelError
from model.build_backbone import build_backbone
from model.instance_norm import instance_norm
from model.small_unet import SmallUNet, _places, fold_voxels, unfold_voxels


def test_folding_puts_each_cube_into_the_channels() -> None:
    images = torch.arange(16.0).reshape(1, 1, 4, 2, 2)

    folded = fold_voxels(images, 2)

    assert folded.shape == (1, 8, 2, 1, 1)
    assert folded[0, :, 0, 0, 0].tolist() == list(range(8))
    assert folded[0, :, 1, 0, 0].tolist() == list(range(8, 16))


def test_unfolding_undoes_folding() -> None:
    images = torch.rand(2, 3, 6, 9, 3)

    assert torch.equal(unfold_voxels(fold_voxels(images, 3), 3), images)


@pytest.mark.parametrize("fold", [1, 2])
def test_features_have_the_stated_shapes(fold: int) -> None:
    backbone = SmallUNet(widths=(4, 8, 12), fold=fold, out_channels=5 if fold == 2 else 4)

    features = backbone(torch.rand(2, 1, 8, 16, 24))

    assert backbone.stride == 4 * fold
    assert features.dec.shape == (2, backbone.out_channels, 8, 16, 24)
    assert features.bottleneck.shape == (2, 12, *(n // backbone.stride for n in (8, 16, 24)))


def test_coordinates_run_from_side_to_side_of_the_patch() -> None:
    places = _places(torch.zeros(2, 1, 3, 2, 5))

    assert places.shape == (2, 3, 3, 2, 5)
    assert places[1, 0, :, 1, 4].tolist() == [-1.0, 0.0, 1.0]
    assert places[0, 2, 2, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_the_finest_level_sees_the_coordinates() -> None:
    backbone = SmallUNet(widths=(4, 8), coordinates=True)

    assert backbone(torch.rand(1, 1, 8, 8, 8)).dec.shape == (1, 16, 8, 8, 8)
    assert backbone.encoders[0][0].in_channels == 8 + 3


def test_the_norm_equalsinstance_norm() -> None:
    features = torch.randn(2, 3, 4, 5, 6)
    ours, stock = instance_norm(3), nn.InstanceNorm3d(3, affine=True)
    with torch.no_grad():
        for parameter in (ours.weight, ours.bias):
            parameter.normal_()
    stock.load_state_dict(ours.state_dict())

    torch.testing.assert_close(ours(features), stock(features))


def test_a_patch_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    torch.manual_seed(0)
    backbone = SmallUNet(widths=(4, 8))
    images = torch.rand(2, 1, 8, 8, 8)

    together, alone = backbone(images).dec[:1], backbone(images[:1]).dec

    torch.testing.assert_close(together, alone)


def test_a_shape_off_the_stride_is_refused() -> None:
    with pytest.raises(ModelError, match=r"multiple of 4 voxels, got \(8, 8, 6\)"):
        SmallUNet(widths=(4, 8))(torch.rand(1, 1, 8, 8, 6))


def test_images_need_one_channel() -> None:
    with pytest.raises(ModelError, match="B, 1, I, J, K"):
        SmallUNet(widths=(4, 8))(torch.rand(1, 2, 8, 8, 8))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unet3000", {}, "known are segresnet, small_unet, swin_unetr, unet, unetpp"),
        ("small_unet", {"depth": 3}, "does not take"),
        ("small_unet", {"widths": [4]}, "two or more"),
        ("small_unet", {"widths": [4, 0]}, "two or more"),
        ("small_unet", {"widths": "wide"}, "does not take|two or more"),
    ],
)
def test_unknown_names_and_options_are_refused(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build_backbone(name, **options)
