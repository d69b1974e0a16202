"""Plausibility rules: what labels of an adult look like; read from TOML and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from configs.errors import ConfigError
from configs.rules_file import parsed_rules, rules_in_force
from configs.taxonomy import load_taxonomy, shipped_taxonomy

_PURPOSE = "judge plausibility"

Severity = Literal["fault", "note"]
Direction = Literal["above", "right_of", "in_front_of"]
Share = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


# Fields that name structures, in whichever rule they stand.
_NAMING = ("structure", "structures", "other", "others", "left", "right", "above", "below", "whole")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def names(self) -> Iterator[str]:
        """Yield every structure that this rule names."""
        for field in _NAMING:
            value: str | tuple[str, ...] = getattr(self, field, ())
            yield from (value,) if isinstance(value, str) else value


class VolumeRange(_Part):
    """What a structure measures.

    Attributes:
        ml: Least and most.
        source: Where the numbers are from, for people.
    """

    ml: tuple[NonNegativeFloat, PositiveFloat]
    source: str


class PieceRule(_Part):
    """How many components of more than ``least_ml`` a mask may have."""

    structures: Names
    most: int = Field(ge=1)
    least_ml: PositiveFloat


class GapRule(_Part):
    """Structures without empty slices in between.

    Attributes:
        least_likeness: Smaller over larger cross-section beside a gap; below, it is no gap.
        least_share: Smaller cross-section beside it over the largest of all; the same.
    """

    structures: Names
    least_likeness: Share
    least_share: Share


class FlatEndRule(_Part):
    """Structures that end rounded.

    Attributes:
        share: Largest share of the largest cross-section that the last slice may hold.
        least_cm2: Smaller cross-sections say nothing.
    """

    structures: Names
    share: Share
    least_cm2: PositiveFloat


class CutRule(_Part):
    """Structures of which a note says that the scan cuts them."""

    structures: Names


class SideRule(_Part):
    """Structures that lie on one side of the midline.

    Attributes:
        structures: With a side in the taxonomy.
        left: Without one there.
        right: The same.
        share: Largest share that may lie on the other side for sure.
        least_ml: Less on the other side says nothing.
    """

    structures: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    share: Share
    least_ml: PositiveFloat


class HostRule(_Part):
    """Structures that lie in their parents, as the taxonomy knows them.

    Attributes:
        reach_mm: Parents are grown by this much.
        least_inside: Share of each component that lies in there.
        least_ml: Smaller components say nothing.
    """

    structures: Names
    reach_mm: NonNegativeFloat
    least_inside: Share
    least_ml: NonNegativeFloat


class TouchRule(_Part):
    """A structure and those of which one is near it."""

    structure: str
    others: Names
    within_mm: PositiveFloat


class OrderRule(_Part):
    """Where a structure's centre lies beside another's.

    Attributes:
        least_mm: So much farther in this direction at least; below 0 it may lie on the other side.
    """

    structure: str
    direction: Direction
    other: str
    least_mm: float


class ExpectedRule(_Part):
    """Structures that are there where what lies above and below is.

    Attributes:
        structures: Each is expected.
        above: One of these is seen.
        below: And one of these.
        whole: Of those seen, these are seen uncut below, so that the scan goes on beyond them.
        severity: Of the finding.
    """

    structures: Names
    above: Names
    below: Names
    whole: tuple[str, ...] = ()
    severity: Severity


class OverlapRule(_Part):
    """What exclusive neighbours may share: this share of the smaller one, or this volume."""

    share: Share
    least_ml: NonNegativeFloat


class PlausibilityRules(BaseModel):
    """All rules.

    Attributes:
        seen_share: Of its least volume; below, a structure does not count as seen.
        work_mm: Voxels are gathered to about this size in plane.
        cut_cm2: What a structure shows on the scan's border when it is cut.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    seen_share: Share
    work_mm: PositiveFloat
    cut_cm2: PositiveFloat
    volumes: dict[str, VolumeRange]
    pieces: tuple[PieceRule, ...] = ()
    gaps: GapRule
    flat_ends: FlatEndRule
    cut: CutRule
    sides: tuple[SideRule, ...] = ()
    hosts: tuple[HostRule, ...] = ()
    touches: tuple[TouchRule, ...] = ()
    orders: tuple[OrderRule, ...] = ()
    expected: tuple[ExpectedRule, ...] = ()
    overlap: OverlapRule

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        parts: tuple[_Part, ...] = (
            *self.pieces,
            self.gaps,
            self.flat_ends,
            self.cut,
            *self.sides,
            *self.hosts,
            *self.touches,
            *self.orders,
            *self.expected,
        )
        named = {*self.volumes, *(name for part in parts for name in part.names())}
        unknown = sorted(named - set(load_taxonomy().names))
        if unknown:
            raise ValueError(f"rules name structures of the taxonomy, not {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        taxonomy = load_taxonomy()
        for name, volume in self.volumes.items():
            if volume.ml[0] >= volume.ml[1]:
                raise ValueError(f"volumes.{name}.ml must rise, got {volume.ml}")
        for rule in self.sides:
            sideless = [name for name in rule.structures if taxonomy[name].side is None]
            if sideless:
                raise ValueError(f"{sideless[0]} has no side; name it under left or right")
        for rule in self.hosts:
            homeless = [name for name in rule.structures if not taxonomy[name].parents]
            if homeless:
                raise ValueError(f"{homeless[0]} has no parents, so it cannot lie in them")
        return self

    def range_ml(self, structure: str) -> tuple[float, float]:
        """Return what a structure may measure; without a rule the taxonomy's range."""
        known = self.volumes.get(structure)
        return load_taxonomy()[structure].volume_ml if known is None else known.ml

    @property
    def content(self) -> bytes:
        """What the rules say, as JSON with one spelling; comments do not matter."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return text.encode("ascii")

    @property
    def digest(self) -> str:
        """SHA-256 of ``content``."""
        return hashlib.sha256(self.content).hexdigest()


@cache
def shipped_plausibility() -> PlausibilityRules:
    """Return the rules that AtlasLoop ships; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("plausibility.toml").read_text(encoding="utf-8")
    rules = parsed_rules(PlausibilityRules, text, "plausibility.toml", purpose=_PURPOSE)
    if set(rules.volumes) != set(shipped_taxonomy().names):
        raise ConfigError("plausibility.toml needs a volume for every shipped structure alone")
    return rules


def plausibility_in_force(setting: str, root: Path) -> PlausibilityRules | None:
    """Return the rules that ``annotate.plausibility`` chooses; None where nothing is checked.

    Args:
        setting: ``shipped``, ``off``, or a TOML file.
        root: Where a relative path starts.

    Raises:
        ConfigError: The file is not there, is no TOML, or breaks a rule.
    """
    return rules_in_force(
        setting, root, name="annotate.plausibility", shipped=shipped_plausibility, purpose=_PURPOSE
    )
