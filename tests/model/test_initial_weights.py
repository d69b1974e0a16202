from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from configs.errors import ModelError
from model.checkpoint import save_checkpoint
from model.inference_settings import InferenceSettings
from model.initial_weights import initialise_in_place
from model.universal import UniversalNetwork, build_network

NAMES = ("spleen", "liver")


def network(seed: int, structures: tuple[str, ...] = NAMES) -> UniversalNetwork:
    torch.manual_seed(seed)
    options = {"widths": (4, 8), "out_channels": 4}
    return build_network("small_unet", options, encoding="learned", structures=structures)


def test_all_weights_of_a_checkpoint_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "first.safetensors"
    path.write_bytes(save_checkpoint(network(1), InferenceSettings(patch=(8, 8, 8)), {}))
    mine = network(2)

    report = initialise_in_place(mine, path)

    assert all(
        torch.equal(value, network(1).state_dict()[name])
        for name, value in mine.state_dict().items()
    )
    assert len(report.matched) == len(mine.state_dict())
    assert (report.missing, report.other_shape, report.unexpected) == ((), (), ())


def test_what_does_not_match_is_reported_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({**network(1, ("aorta",)).state_dict(), "extra": torch.zeros(1)}, path)
    mine = network(2)
    table = mine.get_parameter("encoding.table").detach().clone()

    report = initialise_in_place(mine, path)

    assert report.other_shape == ("encoding.table",)
    assert report.unexpected == ("extra",)
    assert torch.equal(mine.get_parameter("encoding.table"), table)
    assert "of another shape: 1 (encoding.table)" in report.lines()


class Pretrained(nn.Module):
    """The names of a Swin transformer inside a backbone, without MONAI."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.network = nn.Module()
        self.backbone.network.swinViT = nn.ModuleDict({"patch_embed": nn.Linear(2, 2)})
        block = nn.ModuleDict({"mlp": nn.ModuleDict({"linear1": nn.Linear(2, 2)})})
        self.backbone.network.swinViT["layers1"] = nn.ModuleList([block])
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize("prefix", ["module.", "module.swinViT.", ""])
def test_self_supervised_swin_weights_are_found(prefix: str, tmp_path: Path) -> None:
    given = {
        "patch_embed.weight": torch.full((2, 2), 3.0),
        "patch_embed.bias": torch.full((2,), 4.0),
        "layers1.0.mlp.fc1.weight": torch.full((2, 2), 5.0),
        "layers1.0.mlp.fc1.bias": torch.full((2,), 6.0),
    }
    pretext = {"module.rotation_head.weight": torch.ones(4, 2)}
    path = tmp_path / "swin.pt"
    torch.save({"state_dict": {prefix + name: v for name, v in given.items()} | pretext}, path)
    mine = Pretrained()

    report = initialise_in_place(mine, path)

    root = "backbone.network.swinViT."
    assert len(report.matched) == 4
    assert report.unexpected == ()
    assert report.missing == ("head.bias", "head.weight")
    weights = mine.state_dict()
    assert float(weights[root + "layers1.0.mlp.linear1.weight"][0, 0]) == 5.0
    assert float(weights[root + "patch_embed.bias"][0]) == 4.0


def test_pickles_with_code_and_files_without_a_match_are_refused(tmp_path: Path) -> None:
    pickled, foreign = tmp_path / "code.pt", tmp_path / "foreign.safetensors"
    torch.save(network(1), pickled)
    save_file({"a": torch.zeros(1)}, foreign)

    with pytest.raises(ModelError, match="never opened"):
        initialise_in_place(network(2), pickled)
    with pytest.raises(ModelError, match="has none of its"):
        initialise_in_place(network(2), foreign)
    with pytest.raises(ModelError, match="is none"):
        initialise_in_place(network(2), tmp_path / "nothing.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nan.safetensors"
    save_file({"encoding.table": torch.full((2, 256), torch.nan)}, path)

    with pytest.raises(ModelError, match="must be finite"):
        initialise_in_place(network(2), path)
