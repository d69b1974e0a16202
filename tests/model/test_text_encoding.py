from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from configs.errors import ModelError
from model.text_encoding import OpenClipModel, encode_words, read_text_vectors

WORDS = ("spleen", "liver", "left kidney")
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


def folder_of(tmp_path: Path, *, weights: bool = True, **changes: object) -> Path:
    """A tiny model with random weights, as open_clip stores one."""
    config = {**TINY, **changes}
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}}), encoding="utf-8"
    )
    if weights:
        torch.manual_seed(0)
        model = open_clip.CLIP(**config)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def test_words_become_the_models_own_text_features(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    network = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(
        [f"A computerized tomography of a {word}" for word in WORDS]
    )

    ours = encode_words(OpenClipModel(name=f"local-dir:{folder}"), WORDS)

    with torch.inference_mode():
        torch.testing.assert_close(ours.vectors, network.encode_text(tokens))
    assert ours.vectors.shape == (3, 16)
    assert ours.provenance.prompt == "A computerized tomography of a {}"
    assert ours.provenance.words == WORDS


def test_prompts_change_the_vectors(tmp_path: Path) -> None:
    model = OpenClipModel(name=f"local-dir:{folder_of(tmp_path)}")

    digests = {
        encode_words(model, WORDS, prompt=prompt).provenance.sha256
        for prompt in ("photo", "there_is", "tomography", "{} on CT")
    }

    assert len(digests) == 4


def test_quick_gelu_of_the_folder_is_heeded(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    plain = OpenClipModel(name=f"local-dir:{folder_of(tmp_path / 'a')}")
    quick = OpenClipModel(name=f"local-dir:{folder_of(tmp_path / 'b', quick_gelu=True)}")
    forced = OpenClipModel(name=plain.name, quick_gelu=True)

    vectors = [encode_words(model, WORDS).vectors for model in (plain, quick, forced)]

    assert not torch.allclose(vectors[0], vectors[1], atol=1e-6)
    torch.testing.assert_close(vectors[1], vectors[2])


def test_a_folder_without_weights_never_gives_random_vectors(tmp_path: Path) -> None:
    model = OpenClipModel(name=f"local-dir:{folder_of(tmp_path, weights=False)}")

    with pytest.raises(ModelError, match="cannot be opened"):
        encode_words(model, WORDS)


@pytest.fixture
def architectures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiny architectures that open_clip knows by name, with and without quick GELU."""
    import open_clip.factory

    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    paths = list(open_clip.factory._MODEL_CONFIG_PATHS)
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", paths)
    (tmp_path / "configs").mkdir()
    for name, changes in (("tiny", {}), ("tiny-quickgelu", {"quick_gelu": True})):
        config = json.dumps({**TINY, **changes})
        (tmp_path / "configs" / f"{name}.json").write_text(config, encoding="utf-8")
    open_clip.add_model_config(tmp_path / "configs")


@pytest.mark.usefixtures("architectures")
def test_a_checkpoint_file_is_read_with_the_activation_that_is_stated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = open_clip.CLIP(**TINY, quick_gelu=True).eval()
    file = tmp_path / "weights.pt"
    torch.save(network.state_dict(), file)
    tokens = open_clip.get_tokenizer("ViT-B-32")(
        [f"A computerized tomography of a {word}" for word in WORDS]
    )[:, :20]

    of_name = encode_words(OpenClipModel(name="tiny-quickgelu", weights=str(file)), WORDS)
    stated = encode_words(OpenClipModel(name="tiny", weights=str(file), quick_gelu=True), WORDS)
    plain = encode_words(OpenClipModel(name="tiny", weights=str(file), quick_gelu=False), WORDS)

    with torch.inference_mode():
        torch.testing.assert_close(of_name.vectors, network.encode_text(tokens))
    assert torch.equal(of_name.vectors, stated.vectors)
    assert not torch.allclose(of_name.vectors, plain.vectors, atol=1e-6)
    assert stated.provenance.source == "open_clip tiny weights.pt with quick GELU"
    assert plain.provenance.source == "open_clip tiny weights.pt"


@pytest.mark.usefixtures("architectures")
def test_an_archive_with_a_program_is_not_run(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "jit.pt")
    model = OpenClipModel(name="tiny", weights=str(tmp_path / "jit.pt"), quick_gelu=True)

    with pytest.raises(ModelError, match="save its tensors alone"):
        encode_words(model, WORDS)


@pytest.mark.parametrize(
    "model",
    [
        OpenClipModel(name="ViT-B-32", weights="openai"),
        OpenClipModel(name="hf-hub:nobody/nothing"),
    ],
)
def test_without_a_hub_the_error_says_what_else_to_do(
    model: OpenClipModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(ModelError, match=r"copy them here and name the file \(MODEL/FILE\)"):
        encode_words(model, WORDS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (OpenClipModel(name="ViT-B-3000", weights="openai"), "knows no architecture"),
        (OpenClipModel(name="ViT-B-32"), "needs weights"),
        (OpenClipModel(name="ViT-B-32", weights="file.pt"), "quick_gelu must be stated"),
        (OpenClipModel(name="ViT-B-32", weights="openai", quick_gelu=False), "must agree"),
        (OpenClipModel(name="ViT-B-32-quickgelu", weights="x.pt", quick_gelu=False), "agree"),
        (OpenClipModel(name="ViT-B-32", weights="no.pt", quick_gelu=False), "cannot be opened"),
        (OpenClipModel(name="local-dir:nowhere"), "cannot be opened"),
    ],
)
def test_models_that_cannot_be_had_are_refused(model: OpenClipModel, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        encode_words(model, WORDS)


@pytest.mark.parametrize("prompt", ["tomography of something", "{} or {}", ""])
def test_a_prompt_needs_one_place_for_the_words(prompt: str) -> None:
    with pytest.raises(ModelError, match="once"):
        encode_words(OpenClipModel(name="ViT-B-32", weights="openai"), WORDS, prompt=prompt)


def save_rows(rows: torch.Tensor, path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, rows.numpy())
    elif path.suffix == ".safetensors":
        save_file({"organ_embedding": rows}, path)
    else:
        torch.save(rows, path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".npy", ".safetensors"])
def test_files_of_all_kinds_are_read_as_float32(suffix: str, tmp_path: Path) -> None:
    rows = torch.randn(3, 8).half()
    path = tmp_path / f"rows{suffix}"
    save_rows(rows, path)

    text = read_text_vectors(path, count=3)

    assert text.vectors.dtype == torch.float32
    assert torch.equal(text.vectors, rows.float())
    assert text.provenance.source == path.name


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".safetensors"])
def test_damaged_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    save_rows(torch.randn(3, 8), path)
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(ModelError):
        read_text_vectors(path, count=3)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("sprung"),))  # type: ignore[return-value]


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Trap(), tmp_path / "trap.pt")
    np.save(tmp_path / "trap.npy", np.array([Trap()], dtype=object))

    for name in ("trap.pt", "trap.npy"):
        with pytest.raises(ModelError):
            read_text_vectors(tmp_path / name, count=1)

    assert not (tmp_path / "sprung").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3, 2), "b": torch.zeros(3, 2)}, tmp_path / "two.pt")

    with pytest.raises(ModelError, match="must hold one tensor"):
        read_text_vectors(tmp_path / "two.pt", count=3)
    with pytest.raises(ModelError, match="are missing"):
        read_text_vectors(tmp_path / "none.npy", count=3)
    with pytest.raises(ModelError, match=r"come from .* files"):
        read_text_vectors(tmp_path / "rows.csv", count=3)


def test_a_wrong_count_is_refused(tmp_path: Path) -> None:
    save_rows(torch.randn(4, 8), tmp_path / "rows.npy")

    with pytest.raises(ModelError, match=r"shape \(3, D\)"):
        read_text_vectors(tmp_path / "rows.npy", count=3)
