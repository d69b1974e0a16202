from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save, save_file

from configs.errors import ConfigError, ModelError
from model.checkpoint import load_checkpoint, save_checkpoint
from model.encoding import Provenance, TextVectors
from model.inference_settings import InferenceSettings
from model.universal import UniversalNetwork, build_network

NAMES = ("spleen", "liver", "kidney_left")
SETTINGS = InferenceSettings(
    spacing_mm=(4.0, 4.0, 5.0), hu_window=(-160.0, 240.0), patch=(8, 8, 16), overlap=0.25
)
FACTS = {"cases": 12, "sites": {"spleen": ["aspen"]}}


def small_network(encoding: str = "learned") -> UniversalNetwork:
    torch.manual_seed(1)
    vectors = TextVectors.checked(
        torch.randn(3, 6), Provenance(source="test", prompt="a {}", words=("a", "b", "c")), count=3
    )
    return build_network(
        "small_unet",
        {"widths": [4, 8], "fold": 2, "out_channels": 4},
        encoding=encoding,
        structures=NAMES,
        text=vectors if encoding == "text" else None,
    )


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "member.safetensors"
    path.write_bytes(data)
    return path


def metadata_of(data: bytes) -> dict[str, object]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["atlasloop"])


def rewritten(data: bytes, tmp_path: Path, **changes: object) -> Path:
    about = {**metadata_of(data), **changes}
    return written(tmp_path, save(load(data), metadata={"atlasloop": json.dumps(about)}))


@pytest.mark.parametrize("encoding", ["learned", "one_hot", "text"])
def test_what_is_saved_comes_back(encoding: str, tmp_path: Path) -> None:
    network = small_network(encoding).eval()
    images = torch.rand(1, 1, 8, 8, 8)

    loaded = load_checkpoint(written(tmp_path, save_checkpoint(network, SETTINGS, FACTS)))

    assert torch.equal(loaded.network(images), network(images))
    assert loaded.network.structures == NAMES
    assert loaded.network.encoding.provenance == network.encoding.provenance
    assert loaded.inference == SETTINGS
    assert loaded.facts == FACTS
    assert not loaded.network.training


def test_equal_weights_give_equal_bytes() -> None:
    first = save_checkpoint(small_network(), SETTINGS, FACTS)

    assert first == save_checkpoint(small_network(), SETTINGS, dict(reversed(FACTS.items())))


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    path = written(tmp_path, save_checkpoint(small_network(), SETTINGS, FACTS))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    load_checkpoint(path)

    assert torch.equal(torch.rand(1), expected)


def test_a_pickled_file_is_refused_and_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "member.pt"
    torch.save(small_network().state_dict(), path)

    with pytest.raises(ModelError, match="must be imported"):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(keep: int, tmp_path: Path) -> None:
    data = save_checkpoint(small_network(), SETTINGS, FACTS)

    with pytest.raises(ModelError, match="whole safetensors file"):
        load_checkpoint(written(tmp_path, data[:keep]))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must be a file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_safetensors_of_someone_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)

    with pytest.raises(ModelError, match="not a checkpoint of AtlasLoop"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "use a newer AtlasLoop"),
        ({"head": "static"}, "unknown head"),
        ({"backbone": {"name": "unet3000", "options": {}}}, "unknown backbone"),
        ({"structures": ["spleen", "liver"]}, "got torch.float32"),
        ({"inference": {"patch": [8, 8, 8]}}, "not valid"),
        ({"surprise": 1}, "not valid"),
        ({"encoding": {"kind": "text", "provenance": None}}, "not valid"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    data = save_checkpoint(small_network(), SETTINGS, FACTS)

    with pytest.raises(ModelError, match=message):
        load_checkpoint(rewritten(data, tmp_path, **changes))


def test_settings_out_of_range_in_a_file_are_refused(tmp_path: Path) -> None:
    data = save_checkpoint(small_network(), SETTINGS, FACTS)
    inference = {"spacing_mm": [0, 1, 1], "hu_window": [0, 1], "patch": [8, 8, 8], "overlap": 0.5}

    with pytest.raises(ModelError, match="spacing_mm must be positive"):
        load_checkpoint(rewritten(data, tmp_path, inference=inference))


def with_tensors(data: bytes, tmp_path: Path, **changes: torch.Tensor | None) -> Path:
    tensors = {**load(data), **changes}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return written(tmp_path, save(kept, {"atlasloop": json.dumps(metadata_of(data))}))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data = save_checkpoint(small_network(), SETTINGS, FACTS)
    name = "head.controller.bias"

    with pytest.raises(ModelError, match=r"missing .*head.controller.bias"):
        load_checkpoint(with_tensors(data, tmp_path, **{name: None}))
    with pytest.raises(ModelError, match=r"unknown .*extra"):
        load_checkpoint(with_tensors(data, tmp_path, extra=torch.zeros(1)))
    with pytest.raises(ModelError, match=r"head.controller.bias in .* must be"):
        load_checkpoint(with_tensors(data, tmp_path, **{name: torch.zeros(152)}))
    with pytest.raises(ModelError, match=r"head.controller.bias in .* must be"):
        load_checkpoint(with_tensors(data, tmp_path, **{name: torch.zeros(153).half()}))
    with pytest.raises(ModelError, match="must be finite"):
        load_checkpoint(with_tensors(data, tmp_path, **{name: torch.full((153,), torch.nan)}))


def test_text_vectors_must_match_their_digest(tmp_path: Path) -> None:
    data = save_checkpoint(small_network("text"), SETTINGS, FACTS)

    with pytest.raises(ModelError, match="differ from their stored digest"):
        load_checkpoint(with_tensors(data, tmp_path, **{"encoding.vectors": torch.randn(3, 6)}))


def test_only_finite_weights_and_plain_facts_are_saved() -> None:
    network = small_network()

    with pytest.raises(ModelError, match="must be JSON"):
        save_checkpoint(network, SETTINGS, {"when": object()})
    with torch.no_grad():
        network.head.controller.bias[0] = torch.inf
    with pytest.raises(ModelError, match="must be finite"):
        save_checkpoint(network, SETTINGS, FACTS)


@pytest.mark.parametrize(
    "change",
    [
        {"spacing_mm": (1.0, 0.0, 1.0)},
        {"hu_window": (250.0, -175.0)},
        {"patch": (0, 8, 8)},
        {"overlap": 1.0},
    ],
)
def test_inference_settings_check_themselves(change: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ConfigError):
        InferenceSettings(**change)  # type: ignore[arg-type]


def test_intensities_are_windowed_to_0_and_1() -> None:
    hu = torch.tensor([-1000, -160, 40, 240, 3000], dtype=torch.int16)

    assert SETTINGS.scale(hu).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
