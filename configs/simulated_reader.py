"""Skill of the simulated reader of phantoms, read once from ``simulated_reader.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError
from configs.taxonomy import shipped_taxonomy

Error = Annotated[float, Field(gt=0)]


class ReaderSkill(BaseModel):
    """How well a simulated reader outlines.

    Attributes:
        smooth_mm: Length over which the outline's error is alike.
        edge_error_mm: Standard deviation of the outline's error where ``structures`` says nothing.
        lesion_miss_share: Probability that a lesion is not seen.
        accept_dsc: A mask at least so close to the reader's own outline is accepted.
        structures: Structure -> standard deviation in mm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    smooth_mm: Error
    edge_error_mm: Error
    lesion_miss_share: float = Field(ge=0, lt=1)
    accept_dsc: float = Field(gt=0, le=1)
    structures: dict[str, Error]

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        unknown = sorted(set(self.structures) - set(shipped_taxonomy().names))
        if unknown:
            raise ValueError(f"unknown structures {unknown}")
        return self

    def error_mm(self, structure: str) -> float:
        """Return the standard deviation of the outline's error for a structure."""
        return self.structures.get(structure, self.edge_error_mm)


@cache
def load_reader_skill() -> ReaderSkill:
    """Return the shipped skill; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("simulated_reader.toml").read_text(encoding="utf-8")
    try:
        return ReaderSkill.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"simulated_reader.toml is not valid: {error}") from error
