"""Everything that a training remembers, as one safetensors file; never a pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from configs.errors import ModelError
from model.training_engine import TrainingEngine

SCHEMA = 1
_KEY = "atlasloop_training"


def save_state(engine: TrainingEngine, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a file from which ``load_state`` goes on bit by bit as if nothing had been.

    Args:
        engine: Between two steps.
        path: A new file; the caller makes the write atomic.
        facts: JSON values that come back from ``load_state``.
    """
    about = {
        "schema_version": SCHEMA,
        "step": engine.step,
        "scaler": engine.scaler.state_dict(),
        "average_updates": None if engine.average is None else engine.average.updates,
        "facts": dict(facts),
    }
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in _tensors(engine)}
    tensors["losses"] = torch.tensor(engine.losses, dtype=torch.float64)
    save_file(tensors, path, metadata={_KEY: json.dumps(about, sort_keys=True)})


def load_state(engine: TrainingEngine, path: Path) -> Mapping[str, Any]:
    """Bring an engine of the same settings to where another one was; return the facts.

    Raises:
        ModelError: The file is damaged, of another kind, or of another network; the engine may
            then be half changed.
    """
    about, tensors = _read(path)
    try:
        engine.network.load_state_dict(_part(tensors, "network"))
    except RuntimeError as error:
        raise ModelError(f"{path.name} holds the state of another network") from error
    _restore_optimizer(engine, _part(tensors, "optimizer"))
    if engine.average is not None:
        engine.average.restore(_part(tensors, "average"), about["average_updates"] or 0)
    if about["scaler"]:
        engine.scaler.load_state_dict(about["scaler"])
    engine.step = about["step"]
    engine.losses = tensors["losses"].tolist()
    return about["facts"]


def _tensors(engine: TrainingEngine) -> Iterator[tuple[str, Tensor]]:
    for name, value in engine.network.state_dict().items():
        yield f"network/{name}", value
    for name, weight in engine.network.named_parameters():
        # A weight that no step has used yet has no state.
        for key, value in engine.optimizer.state.get(weight, {}).items():
            yield f"optimizer/{name}/{key}", value
    if engine.average is not None:
        for name, value in engine.average.weights.items():
            yield f"average/{name}", value


def _restore_optimizer(engine: TrainingEngine, tensors: Mapping[str, Tensor]) -> None:
    engine.optimizer.state.clear()
    weights = dict(engine.network.named_parameters())
    for name, value in tensors.items():
        weight_name, key = name.rsplit("/", 1)
        if weight_name not in weights:
            raise ModelError(f"the optimiser's state knows {weight_name}, the network does not")
        weight = weights[weight_name]
        engine.optimizer.state[weight][key] = value.to(weight.device)


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}/"
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata[_KEY])
        version = about["schema_version"]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"a training is resumed from a whole file of its own, {path.name} is none ({error})"
        ) from error
    if version != SCHEMA:
        raise ModelError(
            f"this version resumes trainings of schema {SCHEMA}, {path.name} has {version}; use "
            "the AtlasLoop that began it"
        )
    return about, tensors
