"""What triage assumes of readers before they have worked here, read from ``triage_priors.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError

Source = Literal["label_critic", "khasawneh_2022", "technologists", "ours"]
Chance = Annotated[float, Field(ge=0, le=1)]


class _Prior(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MinutesPrior(_Prior):
    """Minutes of work on one structure.

    Attributes:
        look: To judge a label that nothing is changed on.
        reference_ml: Changed volume that takes as long again.
        unknown_changed_ml: What is changed where nobody can tell.
        opening: To open a CT, once for all its structures.
        weight: Timed labels that weigh as much as the prior.
    """

    look: float = Field(gt=0)
    look_source: Source
    reference_ml: float = Field(gt=0)
    reference_source: Source
    unknown_changed_ml: float = Field(gt=0)
    unknown_source: Source
    opening: float = Field(gt=0)
    opening_source: Source
    weight: float = Field(gt=0)
    weight_source: Source


class EditPrior(_Prior):
    """Chance that a reader changes a label.

    Attributes:
        least: Of a label whose DSC is predicted to be 1.
        most: Of one whose DSC is predicted to be at most ``sure_dsc``.
        unknown: Of one whose DSC is not predicted.
    """

    least: Chance
    most: Chance
    sure_dsc: float = Field(ge=0, lt=1)
    line_source: Source
    unknown: Chance
    unknown_source: Source

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least must not exceed most, got {self.least} and {self.most}")
        return self


class TriagePriors(_Prior):
    """All of them."""

    version: int
    minutes: MinutesPrior
    edit: EditPrior


@cache
def load_triage_priors() -> TriagePriors:
    """Return the shipped priors; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("triage_priors.toml").read_text(encoding="utf-8")
    try:
        return TriagePriors.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"triage_priors.toml is not valid: {error}") from error
