"""What a training is asked for: all that decides its weights, as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from configs.demo_members import MemberPreset, load_demo_members
from configs.errors import StorageError
from flows.chosen_encoding import ChosenEncoding, choose_encoding
from flows.devices import choose_device, training_precision
from flows.train_request import TrainOverrides
from flows.training_data import TrainingData
from model.augmentation import AugmentationSettings
from model.inference_settings import InferenceSettings
from model.patch_aim import SamplingSettings
from model.training_settings import TrainingSettings
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.store import Store

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """One training.

    Attributes:
        name: Under which the model is registered.
        family: Of the committee member.
        preset: Its name, for people.
        data: Cohort folders.
        own_labels: Whether the workspace's labels are trained on too.
        settings: How to train.
        encoding: How structures are told apart.
        init: Where the first weights come from; None draws them.
    """

    name: str
    family: str
    preset: str
    data: tuple[Path, ...]
    own_labels: bool
    settings: TrainingSettings
    encoding: ChosenEncoding
    init: str | None = None

    def description(self, data: TrainingData, *, processes: int) -> JsonObject:
        """Return the plan as JSON; equal descriptions give equal weights on one machine.

        Args:
            data: What is trained on.
            processes: How many train together; each sees patches of its own.
        """
        keys = [[case.dataset, case.key] for case in data.cases]
        plain = {
            "schema_version": SCHEMA,
            "name": self.name,
            "family": self.family,
            "preset": self.preset,
            "data": [str(path) for path in self.data],
            "own_labels": self.own_labels,
            "datasets": sorted({name for case in data.cases for name in case.datasets}),
            "cases_sha256": sha256_hex(to_bytes(keys)),
            "settings": asdict(self.settings),
            "encoding": self.encoding.to_json(),
            "init": self.init,
            "processes": processes,
        }
        # As it will be read again: without tuples.
        return json.loads(to_bytes(plain))

    @classmethod
    def from_description(cls, description: JsonObject) -> TrainingPlan:
        """Return the plan that was written down.

        Raises:
            StorageError: Another version of AtlasLoop wrote it.
        """
        try:
            if description["schema_version"] != SCHEMA:
                raise KeyError("schema_version")
            return cls(
                name=description["name"],
                family=description["family"],
                preset=description["preset"],
                data=tuple(Path(path) for path in description["data"]),
                own_labels=description["own_labels"],
                settings=_settings(description["settings"]),
                encoding=ChosenEncoding.from_json(description["encoding"]),
                init=description["init"],
            )
        except (KeyError, TypeError) as error:
            raise StorageError(
                f"run.json is of another version of AtlasLoop ({error}); resume with that one, or "
                "begin a new training"
            ) from error


def new_plan(
    store: Store, data: Sequence[Path], *, name: str, overrides: TrainOverrides
) -> TrainingPlan:
    """Return what the preset, the settings and the caller ask for.

    Raises:
        UsageError: The preset is unknown.
        ConfigError: A setting does not fit.
    """
    preset = load_demo_members().find(overrides.preset)
    encoding = choose_encoding(store, overrides.encoding or preset.encoding)
    return TrainingPlan(
        name=name,
        family=preset.family,
        preset=preset.name,
        data=tuple(path.resolve() for path in data),
        own_labels=overrides.own_labels or not data,
        settings=replace(_overridden(store, preset, overrides), encoding=encoding.kind),
        encoding=encoding,
        init=overrides.init,
    )


def preset_settings(preset: MemberPreset) -> TrainingSettings:
    """Return a preset as the settings of the network and its training."""
    return TrainingSettings(
        backbone=preset.backbone,
        backbone_options=preset.backbone_options.model_dump(),
        head=preset.head,
        encoding=ChosenEncoding(preset.encoding).kind,
        inference=InferenceSettings(
            spacing_mm=preset.spacing_mm,
            hu_window=preset.hu_window,
            patch=preset.patch,
            overlap=preset.overlap,
        ),
        batch_size=preset.batch_size,
        steps=preset.steps,
        learning_rate=preset.learning_rate,
        seed=preset.seed,
    )


def _overridden(store: Store, preset: MemberPreset, overrides: TrainOverrides) -> TrainingSettings:
    train, annotate = store.settings.train, store.settings.annotate
    device = choose_device(annotate.device)
    wanted = {
        "steps": overrides.steps,
        "seed": overrides.seed,
        "batch_size": train.batch_size,
        "accumulation": train.accumulation,
        "learning_rate": train.learning_rate,
        "clip_norm": train.clip_norm,
        "average_decay": train.average_decay,
        "activation_checkpointing": train.activation_checkpointing,
    }
    changes: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    precision = training_precision(annotate.autocast, device)
    return replace(preset_settings(preset), autocast=precision, **changes)


def _settings(plain: dict[str, Any]) -> TrainingSettings:
    values = {key: _tuples(value) for key, value in plain.items()}
    values["inference"] = InferenceSettings(**values["inference"])
    if values["augmentation"] is not None:
        values["augmentation"] = AugmentationSettings(**values["augmentation"])
    values["sampling"] = SamplingSettings(**values["sampling"])
    return TrainingSettings(**values)


def _tuples(value: Any) -> Any:  # noqa: ANN401 whatever JSON can say
    if isinstance(value, list):
        return tuple(_tuples(inner) for inner in value)
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return value
