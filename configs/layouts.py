"""How label sets on disk name, number and stack structures, read once from ``layouts.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError
from configs.taxonomy import load_taxonomy, shipped_taxonomy

LayoutName = Literal["abdomenatlas", "nnunet", "msd", "totalsegmentator"]


class LabelNames(BaseModel):
    """How one layout spells and numbers structures.

    Attributes:
        names: Structure -> its name in files, where that differs.
        values: Structures in the order of their values, from 1; empty where values are consecutive
            over whatever a label set holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: dict[str, str] = Field(default_factory=dict)
    values: tuple[str, ...] = ()

    def written(self, structure: str) -> str:
        """Return the name of a structure in this layout's files."""
        return self.names.get(structure, structure)

    def label_values(self, structures: Iterable[str]) -> dict[str, int]:
        """Return structure -> value in a combined map, background being 0.

        Args:
            structures: What the label set holds.

        Returns:
            In the taxonomy's order; the layout's own values and behind them those of structures
            that the workspace adds, or 1, 2, 3 and on.
        """
        chosen = load_taxonomy().select(list(structures))
        if not self.values:
            return {name: value for value, name in enumerate(chosen, start=1)}
        numbered = (*self.values, *_added())
        return {name: numbered.index(name) + 1 for name in chosen}


class Layouts(BaseModel):
    """All layouts.

    Attributes:
        precedence: The shipped structures in the order in which they are painted; the last lies on
            top.
        aliases: Further names on reading -> structure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precedence: tuple[str, ...]
    aliases: dict[str, str]
    abdomenatlas: LabelNames
    totalsegmentator: LabelNames
    nnunet: LabelNames
    msd: LabelNames

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        taxonomy = shipped_taxonomy()
        if sorted(self.precedence) != sorted(taxonomy.names):
            raise ValueError("precedence must name every structure once")
        place = {name: index for index, name in enumerate(self.precedence)}
        for structure in taxonomy.structures:
            if any(place[parent] > place[structure.name] for parent in structure.parents):
                raise ValueError(f"{structure.name} must be painted after its parents")
        for layout in (self.abdomenatlas, self.totalsegmentator, self.nnunet, self.msd):
            if layout.values and sorted(layout.values) != sorted(taxonomy.names):
                raise ValueError("values must name every structure once")
            taxonomy.select(list(layout.names))
        taxonomy.select(list(self.aliases.values()))
        return self

    @property
    def painting_order(self) -> tuple[str, ...]:
        """All structures, those included that the workspace adds; the last lies on top.

        Added organs lie over the shipped ones and below every lesion, added lesions over all.
        """
        taxonomy, added = load_taxonomy(), _added()
        organs = [name for name in self.precedence if not taxonomy[name].is_lesion]
        lesions = [name for name in self.precedence if taxonomy[name].is_lesion]
        return (
            *organs,
            *(name for name in added if not taxonomy[name].is_lesion),
            *lesions,
            *(name for name in added if taxonomy[name].is_lesion),
        )

    def __getitem__(self, name: LayoutName) -> LabelNames:
        """Return how a layout names and numbers structures."""
        named: dict[LayoutName, LabelNames] = {
            "abdomenatlas": self.abdomenatlas,
            "totalsegmentator": self.totalsegmentator,
            "nnunet": self.nnunet,
            "msd": self.msd,
        }
        return named[name]

    def structure_of(self, written: str) -> str | None:
        """Return the structure that a file or label map means by a name; None for a foreign one.

        A structure's own name counts first, then every layout's spelling, then the aliases.
        """
        if written in load_taxonomy().names:
            return written
        for layout in (self.abdomenatlas, self.totalsegmentator, self.nnunet, self.msd):
            for structure, name in layout.names.items():
                if name == written:
                    return structure
        return self.aliases.get(written)


def _added() -> tuple[str, ...]:
    return load_taxonomy().names[len(shipped_taxonomy().names) :]


@cache
def load_layouts() -> Layouts:
    """Return the shipped layouts; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("layouts.toml").read_text(encoding="utf-8")
    try:
        return Layouts.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"layouts.toml is not valid: {error}") from error
