"""The vocabulary of structures, read once from ``taxonomy.toml`` and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from configs.errors import ConfigError, UsageError

Group = Literal["organ", "tumor", "cyst"]
Side = Literal["left", "right"]


class Structure(BaseModel):
    """One anatomical target.

    Attributes:
        name: Key in code, database and files.
        display: Words for people.
        parents: Structures whose mask includes this one.
        exclusive: Neighbours that may not claim the same voxel.
        snomed: SNOMED CT code, where known; ``modifier`` holds the side.
        rgb: Display colour, 0 to 255.
        volume_ml: Plausible range in an adult; outside is a flag, not an error.
        words: What a sentence calls it, where that is not ``display``.
        centre_mm: Usual centre from that of the first lumbar vertebra, (right, front, top).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    display: str
    group: Group
    side: Side | None = None
    parents: tuple[str, ...] = ()
    exclusive: tuple[str, ...] = ()
    snomed: str | None = None
    modifier: str | None = None
    rgb: tuple[int, int, int]
    volume_ml: tuple[float, float]
    words: str | None = None
    centre_mm: tuple[float, float, float] | None = None

    @property
    def is_lesion(self) -> bool:
        """Whether this is a tumor or a cyst."""
        return self.group != "organ"

    @property
    def spoken(self) -> str:
        """What a sentence calls it."""
        return self.words or self.display

    @property
    def unsided_name(self) -> str:
        """The name without its side, which a pair shares."""
        return "_".join(part for part in self.name.split("_") if part != self.side)


class Taxonomy(BaseModel):
    """All structures, in the channel order of the published universal model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    same_anatomy: dict[str, tuple[str, ...]]
    structures: tuple[Structure, ...]

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        known = set(self.names)
        if len(known) != len(self.structures):
            raise ValueError("structure names must be unique")
        for structure in self.structures:
            unknown = (set(structure.parents) | set(structure.exclusive)) - known
            if unknown:
                raise ValueError(f"{structure.name} refers to unknown {sorted(unknown)}")
            for other in structure.exclusive:
                if structure.name not in self[other].exclusive:
                    raise ValueError(f"exclusive must hold both ways: {structure.name}, {other}")
                if other in structure.parents or structure.name in self[other].parents:
                    raise ValueError(f"{structure.name} and {other} contain one another")
            if structure.volume_ml[0] >= structure.volume_ml[1]:
                raise ValueError(f"volume_ml of {structure.name} must rise")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Structure names in channel order."""
        return tuple(structure.name for structure in self.structures)

    def __getitem__(self, name: str) -> Structure:
        """Return a structure by name; raises UsageError for an unknown one."""
        for structure in self.structures:
            if structure.name == name:
                return structure
        raise UsageError(f"unknown structure {name!r}; known are {', '.join(self.names)}")

    def children(self, name: str) -> tuple[str, ...]:
        """Return the structures whose parents include ``name``."""
        return tuple(s.name for s in self.structures if name in s.parents)

    def select(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the given names in channel order; raises UsageError for an unknown one."""
        wanted = {self[name].name for name in names}
        return tuple(name for name in self.names if name in wanted)


@cache
def load_taxonomy() -> Taxonomy:
    """Return the shipped taxonomy; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("taxonomy.toml").read_text(encoding="utf-8")
    try:
        return Taxonomy.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"taxonomy.toml is not valid: {error}") from error
