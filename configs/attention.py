"""Thresholds of attention, read once from ``attention.toml`` and checked."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError
from configs.taxonomy import shipped_taxonomy


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FaithfulAttention(_Part):
    """AbdomenAtlas' own.

    Attributes:
        deviation: Standard deviation of members above which a voxel is inconsistent.
        entropy_nats: Mean of -p ln p over members above which it is uncertain.
        opening_steps: Steps of one voxel that either mask is opened by.
        targets: Structures whose sizes a CT's is the sum of.
        overlapping: Structures that nothing else may overlap.
    """

    deviation: float = Field(gt=0, lt=0.5)
    entropy_nats: float = Field(gt=0, lt=0.36)
    opening_steps: int = Field(ge=0)
    targets: tuple[str, ...]
    overlapping: tuple[str, ...]


class CorrectedAttention(_Part):
    """Ours: one structure's, comparable between scanners.

    Attributes:
        entropy_bits: Binary entropy of the consensus above which a voxel counts.
        opening_mm: Radius of the opening; whole voxels that it holds, along each axis.
    """

    entropy_bits: float = Field(gt=0, lt=1)
    opening_mm: float = Field(ge=0)


class AttentionSettings(_Part):
    """Both kinds."""

    version: int
    faithful: FaithfulAttention
    corrected: CorrectedAttention

    @model_validator(mode="after")
    def _check_structures(self) -> Self:
        named = {*self.faithful.targets, *self.faithful.overlapping}
        unknown = sorted(named - set(shipped_taxonomy().names))
        if unknown:
            raise ValueError(f"structures must stand in the taxonomy, got {unknown}")
        return self


@cache
def shipped_attention() -> AttentionSettings:
    """Return the thresholds that come with AtlasLoop.

    Raises:
        ConfigError: The file is not what it must be.
    """
    text = resources.files("configs").joinpath("attention.toml").read_text(encoding="utf-8")
    try:
        return AttentionSettings.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"attention.toml is not valid: {error}") from error
