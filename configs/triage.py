"""What triage weighs: human ceilings with their sources."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError
from configs.taxonomy import shipped_taxonomy

Dsc = Annotated[float, Field(gt=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ceiling(_Part):
    """DSC that two readers reach with each other.

    Attributes:
        source: Where the figure is from; see ``triage.toml``.
    """

    structures: tuple[str, ...] = Field(min_length=1)
    dsc: Dsc
    source: Literal["abdomenatlas", "joskowicz"]


class UnknownCeiling(_Part):
    """What is taken where no figure is known."""

    unknown: Dsc


class TriageFacts(_Part):
    """All that ``triage.toml`` says."""

    version: int
    ceilings: UnknownCeiling
    ceiling: tuple[Ceiling, ...]

    @model_validator(mode="after")
    def _check_structures(self) -> Self:
        named = [name for one in self.ceiling for name in one.structures]
        unknown = sorted(set(named) - set(shipped_taxonomy().names))
        if unknown or len(set(named)) < len(named):
            raise ValueError(f"a ceiling names known structures, each once; got {unknown or named}")
        return self

    def ceiling_of(self, structure: str) -> tuple[float, str]:
        """Return the ceiling of a structure and its source, ``unknown`` where there is none."""
        for one in self.ceiling:
            if structure in one.structures:
                return one.dsc, one.source
        return self.ceilings.unknown, "unknown"


@cache
def load_triage_facts() -> TriageFacts:
    """Return the shipped facts.

    Raises:
        ConfigError: The file breaks its own rules.
    """
    text = resources.files("configs").joinpath("triage.toml").read_text(encoding="utf-8")
    try:
        return TriageFacts.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configs/triage.toml is not as it must be: {error}") from error
