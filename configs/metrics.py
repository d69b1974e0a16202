"""Tolerances of the surface Dice, read once from ``metrics.toml`` and checked."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    ValidationError,
    model_validator,
)

from configs.errors import ConfigError, UsageError
from configs.taxonomy import load_taxonomy, shipped_taxonomy


class Tolerance(BaseModel):
    """One tolerance and the structures that it holds for.

    Attributes:
        structures: Names in the taxonomy.
        mm: Surfaces that are no farther apart count as equal.
        source: ``flare`` is published, ``ours`` is not.
        like: For ours, the structure whose published value was taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    structures: tuple[str, ...]
    mm: float = Field(gt=0)
    source: Literal["flare", "ours"]
    like: str | None = None


class MetricSettings(BaseModel):
    """The tolerances of all structures.

    Attributes:
        least_lesion_mm3: Of each shipped lesion: a candidate of this volume or less does not count;
            of an added one every candidate does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    least_lesion_mm3: dict[str, NonNegativeFloat]
    tolerances: tuple[Tolerance, ...]

    @model_validator(mode="after")
    def _check_structures(self) -> Self:
        named = [name for one in self.tolerances for name in one.structures]
        if sorted(named) != sorted(shipped_taxonomy().names):
            raise ValueError("every structure of the taxonomy needs one tolerance, and no other")
        lesions = {one.name for one in shipped_taxonomy().structures if one.is_lesion}
        if set(self.least_lesion_mm3) != lesions:
            raise ValueError("least_lesion_mm3 names every tumor and cyst, and nothing else")
        for one in self.tolerances:
            if one.source == "ours" and (one.like is None or self[one.like].source != "flare"):
                raise ValueError(
                    f"{one.structures} must be like a structure with a flare tolerance"
                )
            if one.like is not None and self[one.like].mm != one.mm:
                raise ValueError(f"{one.structures} must have the tolerance of {one.like}")
        return self

    def __getitem__(self, structure: str) -> Tolerance:
        """Return the tolerance of a structure, an added one's from where it was added.

        Raises:
            UsageError: The structure is unknown.
        """
        for tolerance in self.tolerances:
            if structure in tolerance.structures:
                return tolerance
        added = [one for one in load_taxonomy().structures if one.name == structure]
        for one in added:
            if one.surface_mm is not None:
                return Tolerance(structures=(structure,), mm=one.surface_mm, source="ours")
        raise UsageError(f"no surface tolerance for {structure!r}")


@cache
def load_metric_settings() -> MetricSettings:
    """Return the shipped tolerances; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("metrics.toml").read_text(encoding="utf-8")
    try:
        return MetricSettings.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"metrics.toml is not valid: {error}") from error
