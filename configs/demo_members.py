"""Presets of the committee that the demo trains, read once from ``demo_members.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from configs.backbones import BACKBONE_OPTIONS, BackboneName, BackboneOptions, Count
from configs.errors import ConfigError, UsageError

Positive = Annotated[float, Field(gt=0)]


class MemberPreset(BaseModel):
    """One member and how it is trained; see ``model.training.TrainingSettings``.

    Attributes:
        name: Key of the preset, and of the member in the committee.
        family: Members of one family share a vote.
        about: What makes the member different, for people.
        backbone: Name of the backbone, and ``backbone_options`` what it is built with.
        head: Kind of the head.
        encoding: How structures are told apart.
        spacing_mm: Working voxel size.
        hu_window: Intensities that become 0 and 1.
        patch: Window in working voxels.
        overlap: Share of a window that the next one covers again.
        batch_size: Patches a step.
        steps: Optimiser steps.
        learning_rate: Highest rate.
        seed: Of weights, patches and augmentation.
        in_demo: Whether the demo trains it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    family: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    about: str
    backbone: BackboneName
    backbone_options: SerializeAsAny[BackboneOptions]
    head: Literal["dynamic", "query_dot"]
    encoding: Literal["learned", "one_hot", "anatomy"]
    spacing_mm: tuple[Positive, Positive, Positive]
    hu_window: tuple[float, float]
    patch: tuple[Count, Count, Count]
    overlap: float = Field(ge=0, lt=1)
    batch_size: Count
    steps: Count
    learning_rate: Positive
    seed: int = Field(ge=0)
    in_demo: bool

    @model_validator(mode="before")
    @classmethod
    def _read_options(cls, values: Any) -> Any:  # noqa: ANN401 whatever a file says
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, Any]", values)
        name = given.get("backbone")
        kind = BACKBONE_OPTIONS.get(name) if isinstance(name, str) else None
        options = given.get("backbone_options", {})
        if kind is None or isinstance(options, BackboneOptions):
            return given
        return {**given, "backbone_options": kind.model_validate(options)}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError(f"hu_window of {self.name} must rise, got {self.hu_window} HU")
        stride = self.backbone_options.stride
        if any(size % stride for size in self.patch):
            raise ValueError(f"patch of {self.name} must be a multiple of {stride} voxels")
        return self


class DemoMembers(BaseModel):
    """All presets, in the order in which the demo trains them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    members: tuple[MemberPreset, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if len(set(self.names)) != len(self.members):
            raise ValueError("member names must be unique")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Preset names in order."""
        return tuple(member.name for member in self.members)

    @property
    def committee(self) -> tuple[MemberPreset, ...]:
        """The presets that the demo trains, in order."""
        return tuple(member for member in self.members if member.in_demo)

    def find(self, name: str | None) -> MemberPreset:
        """Return a preset by name, the first for None; raises UsageError for an unknown one."""
        if name is None:
            return self.members[0]
        for member in self.members:
            if member.name == name:
                return member
        raise UsageError(f"unknown preset {name!r}; known are {', '.join(self.names)}")


@cache
def load_demo_members() -> DemoMembers:
    """Return the shipped presets; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("demo_members.toml").read_text(encoding="utf-8")
    try:
        return DemoMembers.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"demo_members.toml is not valid: {error}") from error
