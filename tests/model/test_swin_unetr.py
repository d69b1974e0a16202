from __future__ import annotations

import pytest
import torch
from monai.networks.nets.swin_unetr import PatchMerging

from configs.errors import ModelError
from model.encoding import Provenance, TextVectors
from model.swin_unetr import PublishedOrderMerging, SwinUnetrBackbone
from model.universal import UniversalNetwork, build_network

NAMES = tuple(f"structure_{number}" for number in range(32))


def merged_slots(module: torch.nn.Module) -> list[float]:
    """Which voxel of a 2x2x2 cube, as the digits ijk, lies in each slot."""
    tokens = torch.tensor(
        [[[[[100.0 * i + 10.0 * j + k] for k in range(2)] for j in range(2)] for i in range(2)]]
    )
    module.norm = torch.nn.Identity()
    module.reduction = torch.nn.Identity()
    return module(tokens).flatten().tolist()


def test_patches_are_merged_in_the_published_order() -> None:
    assert merged_slots(PublishedOrderMerging(1)) == [0, 100, 10, 1, 101, 10, 1, 111]


def test_the_stock_merging_of_monai_has_another_order() -> None:
    assert merged_slots(PatchMerging(1)) != merged_slots(PublishedOrderMerging(1))


def test_every_merging_layer_of_the_backbone_is_ours() -> None:
    backbone = SwinUnetrBackbone(feature_size=12)

    merging = [type(m) for name, m in backbone.named_modules() if name.endswith("downsample")]

    assert merging == [PublishedOrderMerging] * 4


def test_each_merging_layer_gives_what_hand_arithmetic_says() -> None:
    backbone = SwinUnetrBackbone(feature_size=12)
    # Voxel ijk holds 4 i + 2 j + k in its first channel and 0 in the others.
    by_hand = torch.tensor([0.0, 4, 2, 1, 5, 2, 1, 7])  # 000 100 010 001 101 010 001 111
    for stage in range(4):
        channels = 12 * 2**stage
        layer = backbone.get_submodule(f"network.swinViT.layers{stage + 1}.0.downsample")
        tokens = torch.zeros(1, 2, 2, 2, channels)
        tokens[..., 0] = torch.arange(8.0).reshape(2, 2, 2)
        with torch.no_grad():
            layer.reduction.weight.zero_()
            for slot in range(8):  # Output s reads the first channel of slot s.
                layer.reduction.weight[slot, slot * channels] = 1.0

        # The eight numbers sum to 22, their squares to 100; all other channels are 0.
        mean = 22 / (8 * channels)
        spread = (100 / (8 * channels) - mean**2 + 1e-5) ** 0.5
        merged = layer(tokens).flatten()[:8]
        torch.testing.assert_close(merged, (by_hand - mean) / spread)


def test_the_backbone_runs_in_the_published_order_and_not_in_the_stock_one() -> None:
    torch.manual_seed(0)
    backbone = SwinUnetrBackbone(feature_size=12, num_heads=(1, 2, 4, 8)).eval()
    images = torch.rand(1, 1, 64, 32, 32)
    with torch.inference_mode():
        ours = backbone(images)
        for name, layer in list(backbone.named_modules()):
            if name.endswith("downsample"):
                stock = PatchMerging(layer.norm.normalized_shape[0] // 8)
                stock.load_state_dict(layer.state_dict())
                parent = backbone.get_submodule(name.rpartition(".")[0])
                parent.downsample = stock
        theirs = backbone(images)

    assert ours.dec.shape == (1, 12, 64, 32, 32)
    assert ours.bottleneck.shape == (1, 192, 2, 1, 1)
    assert (ours.dec - theirs.dec).abs().max() > 0.01


def universal(encoding: str) -> UniversalNetwork:
    vectors = TextVectors(torch.randn(32, 512), Provenance(source="test"))
    text = vectors if encoding == "text" else None
    return build_network("swin_unetr", {}, encoding=encoding, structures=NAMES, text=text)


def count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_parameters_and_keys_are_as_many_as_in_the_published_network() -> None:
    text, learned = universal("text"), universal("learned")

    assert count(text.backbone) == 62_186_610
    assert (count(text), len(text.state_dict())) == (62_595_315, 170)
    assert (count(learned), len(learned.state_dict())) == (62_472_179, 168)


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="do not fit"):
        SwinUnetrBackbone(feature_size=13)


def test_a_patch_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(ModelError, match="multiple of 32"):
        SwinUnetrBackbone(feature_size=12)(torch.rand(1, 1, 32, 32, 48))
