"""Small changes of a CT under which a member's masks should stay, read from ``test_time.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.errors import ConfigError

MOST_PASSES = 6
"""How many changes the shipped file has."""


class InputChange(BaseModel):
    """One change.

    Attributes:
        name: In words.
        hu: Added to every voxel.
        noise_hu: Standard deviation of the noise that is added.
        shift_voxels: Where the member's grid begins, along each axis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    hu: float = 0.0
    noise_hu: float = Field(default=0.0, ge=0)
    shift_voxels: float = Field(default=0.0, gt=-1, lt=1)


class _Changes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    changes: tuple[InputChange, ...] = Field(min_length=MOST_PASSES, max_length=MOST_PASSES)


@cache
def shipped_changes() -> tuple[InputChange, ...]:
    """Return the changes in the order in which passes take them.

    Raises:
        ConfigError: The file is not what it must be.
    """
    text = resources.files("configs").joinpath("test_time.toml").read_text(encoding="utf-8")
    try:
        return _Changes.model_validate(tomllib.loads(text)).changes
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"test_time.toml is not valid: {error}") from error
