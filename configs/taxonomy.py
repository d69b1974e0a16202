"""The vocabulary of structures: those shipped, and those that a workspace adds behind them.

Which file adds structures is one choice for the whole process, made by ``use_taxonomy`` when a
command opens its workspace. It stands in the environment, so that child processes make it too.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError, UsageError

Group = Literal["organ", "tumor", "cyst"]
Side = Literal["left", "right"]
Byte = Annotated[int, Field(ge=0, le=255)]

VARIABLE = "ATLASLOOP_TAXONOMY"
"""Environment variable with the file that adds structures; set by ``use_taxonomy`` alone."""


class Structure(BaseModel):
    """One anatomical target.

    Attributes:
        name: Key in code, database and files.
        display: Words for people.
        parents: Structures whose mask includes this one.
        exclusive: Neighbours that may not claim the same voxel.
        thin: A few voxels across, so that training aims at it more often.
        snomed: SNOMED CT code, where known; ``modifier`` holds the side.
        rgb: Display colour, 0 to 255.
        volume_ml: Plausible range in an adult; outside is a flag, not an error.
        words: What a sentence calls it, where that is not ``display``.
        centre_mm: Usual centre from that of the first lumbar vertebra, (right, front, top).
        surface_mm: Tolerance of the surface Dice of an added structure; ``metrics.toml`` holds
            those of the shipped ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    display: str
    group: Group
    side: Side | None = None
    parents: tuple[str, ...] = ()
    exclusive: tuple[str, ...] = ()
    thin: bool = False
    snomed: str | None = None
    modifier: str | None = None
    rgb: tuple[Byte, Byte, Byte]
    volume_ml: tuple[float, float]
    words: str | None = None
    centre_mm: tuple[float, float, float] | None = None
    surface_mm: float | None = Field(default=None, gt=0)

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

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        unknown = {name for group in self.same_anatomy.values() for name in group} - {*self.names}
        if unknown:
            raise ValueError(f"same_anatomy refers to unknown {sorted(unknown)}")
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


def load_taxonomy() -> Taxonomy:
    """Return the taxonomy in force: the shipped structures, then those that the workspace adds.

    Raises:
        ConfigError: A file breaks a rule.
    """
    file = os.environ.get(VARIABLE)
    return _with_added(file) if file else shipped_taxonomy()


@cache
def shipped_taxonomy() -> Taxonomy:
    """Return the structures that AtlasLoop ships; raises ConfigError for a broken file."""
    text = resources.files("configs").joinpath("taxonomy.toml").read_text(encoding="utf-8")
    try:
        return Taxonomy.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"taxonomy.toml is not valid: {error}") from error


def use_taxonomy(file: Path) -> Taxonomy:
    """Choose, for this process and its children, which file adds structures, and read it anew.

    Args:
        file: A workspace's ``taxonomy.toml``; where there is none, the shipped structures are all.

    Raises:
        ConfigError: The file breaks a rule; the choice stays as it was.
    """
    _with_added.cache_clear()
    if not file.is_file():
        os.environ.pop(VARIABLE, None)
        return shipped_taxonomy()
    taxonomy = _with_added(str(file))
    os.environ[VARIABLE] = str(file)
    return taxonomy


def check_taxonomy_in_use(file: Path) -> None:
    """Raise ConfigError when a workspace adds structures that this process has not loaded."""
    if file.is_file() and os.environ.get(VARIABLE) != str(file):
        raise ConfigError(
            f"{file} adds structures that this process does not know; open the workspace with a "
            "command of AtlasLoop, or call configs.taxonomy.use_taxonomy(file) first"
        )


class _Additions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    same_anatomy: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    structures: tuple[Structure, ...] = Field(min_length=1)


@cache
def _with_added(file: str) -> Taxonomy:
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        return _extended(shipped_taxonomy(), _Additions.model_validate(content))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        words = f"{place}: {fault['msg']}" if place else fault["msg"]
        raise ConfigError(f"{file} cannot add structures: {words}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigError(f"{file} cannot add structures: {error}") from error


def _extended(shipped: Taxonomy, additions: _Additions) -> Taxonomy:
    """Return both as one; exclusive neighbours among the shipped ones learn of the new ones.

    Raises:
        ValueError: An addition breaks a rule.
    """
    known = {structure.name: structure for structure in shipped.structures}
    for structure in additions.structures:
        _check_addition(structure, known, shipped)
        known[structure.name] = structure
    _check_sides(additions.structures, known)
    told = [
        one.model_copy(update={"exclusive": (*one.exclusive, *_claimants(one, additions))})
        for one in shipped.structures
    ]
    groups = dict(shipped.same_anatomy)
    for name, members in additions.same_anatomy.items():
        groups[name] = tuple(dict.fromkeys((*groups.get(name, ()), *members)))
    structures = (*told, *additions.structures)
    return Taxonomy(version=shipped.version, same_anatomy=groups, structures=structures)


def _check_addition(structure: Structure, known: dict[str, Structure], shipped: Taxonomy) -> None:
    name = structure.name
    if name in shipped.names:
        raise ValueError(f"{name} is shipped; structures are added, shipped ones stay as they are")
    if name in known:
        raise ValueError(f"structure names must be unique, {name} stands twice")
    late = [parent for parent in structure.parents if parent not in known]
    if late:
        raise ValueError(f"parents of {name} must be shipped or stand before it, got {late}")
    if structure.is_lesion and not structure.parents:
        raise ValueError(
            f"{name} is a {structure.group} and needs the organs it occurs in: parents"
        )
    if not structure.is_lesion and any(known[parent].is_lesion for parent in structure.parents):
        raise ValueError(f"{name} is an organ and cannot lie in a lesion")
    if structure.surface_mm is None:
        raise ValueError(f"{name} needs surface_mm, the tolerance of its surface Dice")


def _check_sides(added: Sequence[Structure], known: dict[str, Structure]) -> None:
    opposite = {"left": "right", "right": "left"}
    for structure in added:
        if structure.side is None:
            continue
        partner = "_".join(
            opposite[structure.side] if part == structure.side else part
            for part in structure.name.split("_")
        )
        if partner == structure.name or partner not in known:
            raise ValueError(
                f"{structure.name} has the side {structure.side}, so its name must say so and "
                f"{partner if partner != structure.name else 'its partner'} must be there as well"
            )
        if known[partner].side != opposite[structure.side]:
            raise ValueError(f"{partner} must have the side {opposite[structure.side]}")


def _claimants(shipped: Structure, additions: _Additions) -> list[str]:
    return [one.name for one in additions.structures if shipped.name in one.exclusive]
