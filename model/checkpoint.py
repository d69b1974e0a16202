"""A file that holds a network and all that is needed to use it; never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from configs.errors import ConfigError, ModelError
from model.encoding import Provenance, TextVectors
from model.inference_settings import InferenceSettings
from model.universal import UniversalNetwork, build_network

SCHEMA = 1
_KEY = "atlasloop"


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A network ready for use.

    Attributes:
        network: In evaluation mode, on the CPU.
        inference: How it must be shown a volume.
        facts: What its maker wrote down, such as training counts.
    """

    network: UniversalNetwork
    inference: InferenceSettings
    facts: Mapping[str, Any]


def save_checkpoint(
    network: UniversalNetwork, inference: InferenceSettings, facts: Mapping[str, Any]
) -> bytes:
    """Return the file's bytes; equal weights and facts give equal bytes.

    Args:
        network: Made by ``build_network``.
        inference: How it must be shown a volume.
        facts: JSON values.

    Raises:
        ModelError: A weight is not finite, the facts are not JSON, or the backbone has no name.
    """
    if not network.backbone.name:
        raise ModelError("a checkpoint needs a backbone made by build_backbone, which names it")
    tensors = {
        name: tensor.detach().to("cpu").contiguous()
        for name, tensor in network.state_dict().items()
    }
    _check_finite(tensors, "these weights")
    about = {
        "schema_version": SCHEMA,
        "backbone": {"name": network.backbone.name, "options": dict(network.backbone.options)},
        "head": network.head.kind,
        "encoding": {
            "kind": network.encoding.kind,
            "provenance": asdict(network.encoding.provenance),
        },
        "structures": network.structures,
        "inference": asdict(inference),
        "facts": dict(facts),
    }
    try:
        text = json.dumps(about, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"facts and options of a checkpoint must be JSON: {error}") from error
    return save(tensors, metadata={_KEY: text})


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Read a checkpoint; every name, shape and dtype is checked.

    Raises:
        ModelError: The file is missing, damaged, of another kind or of a newer version, or its
            weights do not fit the network that it describes.
    """
    metadata, tensors = _read(path)
    about = _describe(path, metadata)
    _check_finite(tensors, path.name)
    network = _network(path, about, tensors)
    _check_layout(path, expected=network.state_dict(), received=tensors)
    network.load_state_dict(tensors)
    try:
        inference = InferenceSettings(**about.inference.model_dump())
    except ConfigError as error:
        raise ModelError(f"{path.name} holds unusable settings: {error}") from error
    return LoadedCheckpoint(network.eval(), inference, about.facts)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Backbone(_Part):
    name: str
    options: dict[str, Any]


class _Provenance(_Part):
    source: str
    prompt: str | None
    words: tuple[str, ...]
    sha256: str | None


class _Encoding(_Part):
    kind: str
    provenance: _Provenance


class _Inference(_Part):
    spacing_mm: tuple[float, float, float]
    hu_window: tuple[float, float]
    patch: tuple[int, int, int]
    overlap: float


class _About(_Part):
    schema_version: int
    backbone: _Backbone
    head: str
    encoding: _Encoding
    structures: tuple[str, ...]
    inference: _Inference
    facts: dict[str, Any]


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise ModelError(f"a checkpoint must be a file, {path.name} is none")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"a checkpoint must be a whole safetensors file, {path.name} is not ({error}); "
            "pickled files (.pt, .pth) must be imported first"
        ) from error


def _describe(path: Path, metadata: Mapping[str, str]) -> _About:
    if _KEY not in metadata:
        raise ModelError(f"{path.name} is a safetensors file, but not a checkpoint of AtlasLoop")
    try:
        about = json.loads(metadata[_KEY])
        version = about["schema_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"the description inside {path.name} cannot be read") from error
    if version != SCHEMA:
        raise ModelError(
            f"this version reads checkpoints of schema {SCHEMA}, {path.name} has {version}; "
            "use a newer AtlasLoop"
        )
    try:
        return _About.model_validate(about)
    except ValidationError as error:
        raise ModelError(f"the description inside {path.name} is not valid: {error}") from error


def _network(path: Path, about: _About, tensors: Mapping[str, Tensor]) -> UniversalNetwork:
    text = None
    if about.encoding.kind == "text":
        vectors = tensors.get("encoding.vectors")
        if vectors is None:
            raise ModelError(f"{path.name} names a text encoding but holds no text vectors")
        provenance = Provenance(**about.encoding.provenance.model_dump())
        text = TextVectors.checked(vectors, provenance, count=len(about.structures))
        if text.provenance.sha256 != provenance.sha256:
            raise ModelError(f"the text vectors in {path.name} differ from their stored digest")
    with torch.random.fork_rng(devices=[]):
        return build_network(
            about.backbone.name,
            about.backbone.options,
            encoding=about.encoding.kind,
            structures=about.structures,
            text=text,
            head=about.head,
        )


def _check_layout(
    path: Path, *, expected: Mapping[str, Tensor], received: Mapping[str, Tensor]
) -> None:
    missing = sorted(expected.keys() - received.keys())
    unknown = sorted(received.keys() - expected.keys())
    if missing or unknown:
        raise ModelError(
            f"weights in {path.name} must match the network it describes; missing "
            f"{missing[:5]} ({len(missing)}), unknown {unknown[:5]} ({len(unknown)})"
        )
    for name, tensor in expected.items():
        other = received[name]
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise ModelError(
                f"{name} in {path.name} must be {tensor.dtype} {tuple(tensor.shape)}, "
                f"got {other.dtype} {tuple(other.shape)}"
            )


def _check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"weights must be finite; {name} in {what} is not")
