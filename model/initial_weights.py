"""Weights to start from: matched by name and shape, and reported, never in silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from configs.errors import ModelError
from model.weights_file import WRAPPERS

_PREFIXES = ("module.", "_orig_mod.", "network/")
# Heads of self-supervised pretraining; nothing of ours would use them.
_PRETEXT = ("rotation", "contrastive", "convTrans", "out.", "rotation_head", "contrastive_head")


@dataclass(frozen=True, slots=True)
class InitReport:
    """What became of the weights of a file.

    Attributes:
        matched: Names in the network that got weights of the file.
        missing: Names in the network that keep their own.
        other_shape: Names in both that differ in shape; they keep their own.
        unexpected: Names in the file that the network does not have.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    other_shape: tuple[str, ...]
    unexpected: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report in words, a line each, with the first names."""
        return [
            f"{what}: {len(names)}{_first(names)}"
            for what, names in (
                ("matched", self.matched),
                ("missing", self.missing),
                ("of another shape", self.other_shape),
                ("unexpected", self.unexpected),
            )
        ]


def initialise_in_place(network: nn.Module, path: Path) -> InitReport:
    """Give a network the weights of a file that have its names and shapes.

    Known are our own checkpoints and training states, and PyTorch files that hold tensors alone:
    wrappers and prefixes are taken off, and the weights of a self-supervised Swin transformer are
    found whether they are named from the network or from the transformer on.

    Args:
        network: New.
        path: ``.safetensors``, or a PyTorch file.

    Raises:
        ModelError: The file cannot be read without unpickling, a weight is not finite, or not one
            weight fits.
    """
    own = network.state_dict()
    received = {
        _own_name(name, own): tensor for name, tensor in _without_prefixes(_read(path)).items()
    }
    same_shape = {
        name: tensor
        for name, tensor in received.items()
        if name in own and own[name].shape == tensor.shape
    }
    if not same_shape:
        raise ModelError(
            f"first weights need names of the network, {path.name} has none of its {len(own)}; it "
            f"begins with {sorted(received)[:3]}"
        )
    for name, tensor in same_shape.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"weights must be finite; {name} in {path.name} is not")
    network.load_state_dict({**own, **same_shape})
    return InitReport(
        matched=tuple(sorted(same_shape)),
        missing=tuple(sorted(own.keys() - received.keys())),
        other_shape=tuple(sorted((own.keys() & received.keys()) - same_shape.keys())),
        unexpected=tuple(sorted(received.keys() - own.keys())),
    )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"first weights come from a file, {path.name} is none")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return _read_pytorch(path)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}") from error


def _read_pytorch(path: Path) -> dict[str, Tensor]:
    try:
        value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"{path.name} must be safetensors or a PyTorch file that holds tensors alone "
            f"({type(error).__name__}); other pickles are never opened"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    if not isinstance(value, Mapping):
        raise ModelError(f"{path.name} must hold named weights, got a {type(value).__name__}")
    named = cast(Mapping[object, object], value)
    return {str(name): tensor for name, tensor in named.items() if isinstance(tensor, Tensor)}


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    states = any(name.startswith("network/") for name in tensors)
    for full, tensor in tensors.items():
        if states and not full.startswith("network/"):
            continue  # the optimiser's part of a training state
        name = full
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if not name.startswith(_PRETEXT):
            result[name] = tensor
    return result


def _own_name(name: str, own: Mapping[str, Tensor]) -> str:
    """Return the name that the network has for a weight; the given one where it has none."""
    ours = name.replace(".mlp.fc1.", ".mlp.linear1.").replace(".mlp.fc2.", ".mlp.linear2.")
    for prefix in ("", "backbone.", "backbone.network.", "backbone.network.swinViT."):
        if prefix + ours in own:
            return prefix + ours
    return name


def _first(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > 3 else ""
    return f" ({', '.join(names[:3])}{more})"
