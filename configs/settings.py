"""Settings, by precedence: flag, ATLASLOOP_* variable, atlasloop.toml, default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from configs.errors import ConfigError
from configs.setting_sections import (
    AnnotateSettings,
    IdentitySettings,
    IntakeSettings,
    MemberSettings,
    RetrainSettings,
    ReviewSettings,
    ScheduleSettings,
    StorageSettings,
    TrainSettings,
    TriageSettings,
)

ENV_PREFIX = "ATLASLOOP_"
# Variables with our prefix that are read elsewhere and are no settings.
ENV_ELSEWHERE = frozenset({"WORKSPACE", "DEBUG", "REQUIRE", "TEST_DATA", "TAXONOMY"})

Origin = Literal["flag", "environment", "file", "default"]
Layer = dict[str, Any]


class Settings(BaseSettings):
    """All settings of a workspace, frozen."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
    )

    identity: IdentitySettings = IdentitySettings()
    storage: StorageSettings = StorageSettings()
    intake: IntakeSettings = IntakeSettings()
    annotate: AnnotateSettings = AnnotateSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    train: TrainSettings = TrainSettings()
    retrain: RetrainSettings = RetrainSettings()
    triage: TriageSettings = TriageSettings()
    review: ReviewSettings = ReviewSettings()
    committee: Annotated[tuple[MemberSettings, ...], Field()] = ()


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """One setting, its value in force and where it came from."""

    name: str
    value: object
    origin: Origin


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings together with the origin of each value."""

    settings: Settings
    origins: tuple[SettingOrigin, ...]


def load_settings(file: Path | None, flags: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Merge the layers and check them.

    Args:
        file: The workspace's ``atlasloop.toml``; ``None`` or a missing file is an empty layer.
        flags: Nested values given on the command line, e.g. ``{"annotate": {"device": "cpu"}}``.

    Raises:
        ConfigError: A file is no TOML, a key is unknown or a value breaks its rule.
    """
    layers: dict[Origin, Layer] = {
        "flag": dict(flags or {}),
        "environment": _environment_layer(),
        "file": _file_layer(file),
    }
    merged: Layer = {}
    for layer in reversed(layers.values()):
        merged = _merge(merged, layer)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_first_fault(error, layers)) from error
    _check_committee(settings)
    return LoadedSettings(settings, tuple(_origins(settings, layers)))


def _environment_layer() -> Layer:
    known = set(Settings.model_fields)
    for variable in os.environ:
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        name = variable.upper().removeprefix(ENV_PREFIX)
        if name not in ENV_ELSEWHERE and name.split("__")[0].lower() not in known:
            raise ConfigError(
                f"{variable} is no setting; sections are {', '.join(sorted(known))}, written as "
                f"{ENV_PREFIX}SECTION__NAME"
            )
    try:
        return EnvSettingsSource(Settings)()
    except ValueError as error:
        raise ConfigError(f"an {ENV_PREFIX}* variable cannot be read: {error}") from error


def _file_layer(file: Path | None) -> Layer:
    if file is None or not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file.name} is not valid TOML: {error}") from error


def _merge(below: Layer, above: Layer) -> Layer:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        merged[key] = _merge(cast(Layer, under), cast(Layer, value)) if both else value
    return merged


def _first_fault(error: ValidationError, layers: Mapping[Origin, Layer]) -> str:
    fault = error.errors()[0]
    path = tuple(str(part) for part in fault["loc"])
    origin = next((name for name, layer in layers.items() if _has(layer, path)), "default")
    return f"setting {'.'.join(path)} (from the {origin}): {fault['msg']}"


def _has(layer: Layer, path: tuple[str, ...]) -> bool:
    value: Any = layer
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return isinstance(value, list | tuple)
        value = cast(Layer, value)[part]
    return True


def _check_committee(settings: Settings) -> None:
    names = [member.name for member in settings.committee]
    if len(set(names)) != len(names) or "committee" in names:
        raise ConfigError(
            f"committee members need names of their own, and none may be 'committee'; got {names}"
        )


def _origins(settings: Settings, layers: Mapping[Origin, Layer]) -> Iterator[SettingOrigin]:
    for path, value in _leaves(settings.model_dump(), ()):
        origins: list[Origin] = [name for name, layer in layers.items() if _has(layer, path)]
        shown = "(secret)" if path == ("identity", "key") and value else value
        yield SettingOrigin(".".join(path), shown, origins[0] if origins else "default")


def _leaves(value: Layer, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(cast(Layer, inner), (*path, key))
        else:
            yield (*path, key), inner
