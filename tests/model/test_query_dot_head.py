from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.errors import ModelError
from model.build_head import build_head
from model.checkpoint import load_checkpoint, save_checkpoint
from model.feature_bundle import FeatureBundle
from model.inference_settings import InferenceSettings
from model.query_dot_head import QueryDotHead
from model.universal import build_network


def bundle(channels: int) -> FeatureBundle:
    generator = torch.Generator().manual_seed(2)
    return FeatureBundle(
        dec=torch.randn(2, channels, 3, 4, 5, generator=generator),
        bottleneck=torch.randn(2, 16, 2, 2, 2, generator=generator),
    )


def test_each_logit_is_a_dot_product_with_generated_weights() -> None:
    torch.manual_seed(0)
    head = QueryDotHead(out_channels=16, bottleneck_channels=16, encoding_width=4)
    features, encodings = bundle(16), torch.randn(3, 4)

    logits = head(features, encodings)

    voxels = torch.relu(head.norm(features.dec))
    for query, encoding in enumerate(encodings):
        weights = head.generator.weight @ (encoding / 16) + head.generator.bias
        expected = sum(weights[c] * voxels[:, c] for c in range(16)) + weights[16]
        torch.testing.assert_close(logits[:, query], expected)


@pytest.mark.parametrize("kind", ["query_dot", "dynamic"])
def test_any_subset_of_voxels_gives_the_same_logits(kind: str) -> None:
    torch.manual_seed(0)
    head = build_head(kind, out_channels=16, bottleneck_channels=16, encoding_width=4)
    features, encodings = bundle(16), torch.randn(3, 4)
    chosen = torch.tensor([59, 0, 17])

    voxels = head.voxel_features(features.dec).flatten(2)[:, :, chosen, None, None]
    some = head.classify(voxels, features.bottleneck, encodings)

    torch.testing.assert_close(some[..., 0, 0], head(features, encodings).flatten(2)[:, :, chosen])


@pytest.mark.parametrize("kind", ["query_dot", "dynamic"])
def test_the_prior_moves_every_logit(kind: str) -> None:
    torch.manual_seed(0)
    head = build_head(kind, out_channels=16, bottleneck_channels=16, encoding_width=4)
    features, encodings = bundle(16), torch.randn(3, 4)
    head.set_prior_in_place(0.0)
    before = head(features, encodings)

    head.set_prior_in_place(-3.0)

    torch.testing.assert_close(head(features, encodings), before - 3.0)


@pytest.mark.parametrize("kind", ["query_dot", "dynamic"])
def test_a_checkpoint_brings_its_head_back(kind: str, tmp_path: Path) -> None:
    network = build_network(
        "small_unet",
        {"widths": [4, 8], "fold": 2, "out_channels": 4},
        encoding="one_hot",
        structures=("spleen", "liver"),
        head=kind,
    )
    path = tmp_path / "member.safetensors"
    path.write_bytes(save_checkpoint(network, InferenceSettings(patch=(8, 8, 8)), {}))
    images = torch.rand(1, 1, 8, 8, 8)

    loaded = load_checkpoint(path).network

    assert loaded.head.kind == kind
    assert torch.equal(loaded(images), network.eval()(images))


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ModelError, match="known are dynamic, query_dot"):
        build_head("static", out_channels=16, bottleneck_channels=16, encoding_width=4)
