from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from configs.errors import ModelError
from model.weights_file import read_weights_file

TENSORS = {"a.weight": torch.arange(3.0), "a.bias": torch.ones(1)}


class Trap:
    """Would make a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


def saved(tmp_path: Path, content: object, *, zipped: bool = True) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize(
    ("content", "wrappers", "left_aside"),
    [
        (TENSORS, (), ()),
        ({"net": TENSORS, "epoch": 3, "optimizer": {"lr": 0.1}}, ("net",), ("epoch", "optimizer")),
        ({"state_dict": TENSORS}, ("state_dict",), ()),
        ({"model": {"state_dict": TENSORS}, "epoch": 1}, ("model", "state_dict"), ("epoch",)),
        ({**TENSORS, "epoch": 1}, (), ("epoch",)),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_found_in_their_wrappers(
    content: object,
    wrappers: tuple[str, ...],
    left_aside: tuple[str, ...],
    zipped: bool,
    tmp_path: Path,
) -> None:
    read = read_weights_file(saved(tmp_path, content, zipped=zipped))

    assert (read.wrappers, read.left_aside) == (wrappers, left_aside)
    assert {name: tensor.tolist() for name, tensor in read.tensors.items()} == {
        "a.weight": [0.0, 1.0, 2.0],
        "a.bias": [1.0],
    }


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.safetensors")

    assert set(read_weights_file(tmp_path / "weights.safetensors").tensors) == set(TENSORS)


def test_a_pickle_with_more_than_tensors_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")

    with pytest.raises(ModelError, match=r"more than tensors \(\S*open\).*weights_only=False"):
        read_weights_file(saved(tmp_path, {"net": TENSORS, "extra": trap}))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_values_in_a_pickle_are_named_and_the_remedy_works(
    zipped: bool, tmp_path: Path
) -> None:
    path = saved(tmp_path, {"net": TENSORS, "best": np.float64(0.8)}, zipped=zipped)

    with pytest.raises(ModelError, match=r"numpy\S*scalar"):
        read_weights_file(path)
    content = torch.load(path, weights_only=False, map_location="cpu")
    torch.save({"net": content.get("net", content)}, tmp_path / "tensors.pth")
    assert set(read_weights_file(tmp_path / "tensors.pth").tensors) == set(TENSORS)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(share: float, zipped: bool, tmp_path: Path) -> None:
    path = saved(tmp_path, {"net": {"a": torch.zeros(999)}}, zipped=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])

    with pytest.raises(ModelError, match="not a whole one"):
        read_weights_file(path)


def test_a_changed_byte_in_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path, {"net": {"a": torch.full((64,), 1.25)}})
    data = path.read_bytes()
    place = data.index(torch.full((64,), 1.25).numpy().tobytes())
    path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])

    with pytest.raises(ModelError, match="damaged in its part"):
        read_weights_file(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_files_of_another_kind_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name

    with pytest.raises(ModelError, match="is missing"):
        read_weights_file(path)
    path.write_bytes(b"<html>you must log in to get this file</html>")
    with pytest.raises(ModelError, match="whole"):
        read_weights_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    with pytest.raises(ModelError, match="whole"):
        read_weights_file(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, {"net": {}}, torch.zeros(3), [1, 2]])
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds named tensors"):
        read_weights_file(saved(tmp_path, content))
