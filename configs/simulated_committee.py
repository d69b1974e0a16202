"""How simulated committees err, read once from ``simulated_committee.toml``."""

from __future__ import annotations

import math
import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError, UsageError
from configs.taxonomy import shipped_taxonomy

FaultKind = Literal[
    "swapped_sides",
    "dropped_slices",
    "island",
    "leak",
    "cut",
    "missed",
    "hallucinated",
    "hole",
    "shifted",
]
Sharing = Literal["one", "some", "all"]
SplitName = Literal["development", "calibration", "held_out", "unseen", "priors"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SurfaceSpread(_Part):
    """How far two members' surfaces of one structure lie apart.

    Attributes:
        disagreement_mm: Standard deviation of the distance between the surfaces of two members of
            different families.
        length_mm: Over which it is alike: at a distance r its correlation is exp(-(r / length)^2).
    """

    disagreement_mm: Positive
    length_mm: Positive


class BorderClass(SurfaceSpread):
    """A figure for structures that were not measured.

    Attributes:
        structures: Names in the taxonomy.
    """

    structures: tuple[str, ...]


class BorderErrors(_Part):
    """Displacement of the members' surfaces.

    Attributes:
        shared: Share of a member's error (of its variance) that all members have in common: no
            score can see it.
        family: Share that a family has in common; the rest is a member's own.
        case_spread: Standard deviation of the logarithm of the amplitude over cases.
        structure_spread: The same over structures within a case.
        shared_alike: Correlation of the logarithms of the shared amplitude and the others'.
        hard_spread: Standard deviation of the logarithm of the amplitude along a surface.
        hard_length_mm: How large a hard place is.
        measured: By structure, fitted to a real pair.
        classes: For all other structures, by name of the class.
    """

    shared: Share
    family: Share
    case_spread: NotNegative
    structure_spread: NotNegative
    shared_alike: Share
    hard_spread: NotNegative
    hard_length_mm: Positive
    measured: dict[str, SurfaceSpread]
    classes: dict[str, BorderClass]

    @model_validator(mode="after")
    def _check_structures(self) -> Self:
        named = [*self.measured, *(n for one in self.classes.values() for n in one.structures)]
        if sorted(named) != sorted(shipped_taxonomy().names):
            raise ValueError(f"each structure has one surface error, got {sorted(named)}")
        if self.shared >= 1 or self.shared + self.family > 1:
            raise ValueError("shared must be below 1, and shared and family add up to at most 1")
        return self

    def of(self, structure: str) -> SurfaceSpread:
        """Return a structure's figures; UsageError for an unknown one."""
        if structure in self.measured:
            return self.measured[structure]
        for one in self.classes.values():
            if structure in one.structures:
                return one
        raise UsageError(f"no surface error is stated for {structure!r}")

    def member_mm(self, structure: str) -> float:
        """Return the standard deviation of one member's whole error, of which a part is shared."""
        return self.of(structure).disagreement_mm / math.sqrt(2 * (1 - self.shared))


class Softness(_Part):
    """How probabilities fall from inside to outside: logistic of the distance over a width.

    Attributes:
        width_mm: Median width.
        spread: Standard deviation of its logarithm.
        informed: Its correlation with the logarithm of the members' own error, in a case.
        hard_share: Which power of the local amplitude widens it: 0 not at all, 1 in proportion.
        again: How far a member's logits move when it sees the CT again, changed a little: standard
            deviation of smooth noise, so that soft borders move farther.
        faint_chance: Chance that a member family shows something of an absent structure.
        faint_peak: Lowest and highest of its highest probability, drawn log-uniformly.
    """

    width_mm: Positive
    spread: NotNegative
    informed: Share
    hard_share: Share
    again: Positive
    faint_chance: Share
    faint_peak: tuple[Positive, Positive]


class Faults(_Part):
    """Gross faults.

    Attributes:
        rate: Chance of a fault, a structure and case.
        sealed: Kinds that are refused unless a caller passes ``sealed=True``.
        kinds: Relative weights.
        sharing: Relative weights of how many members have it.
    """

    rate: Share
    sealed: tuple[FaultKind, ...]
    kinds: dict[FaultKind, Weight]
    sharing: dict[Sharing, Weight]

    def weights(self, *, sealed: bool) -> dict[FaultKind, float]:
        """Return the weights of what may happen; sealed kinds only where they are asked for."""
        return {kind: w for kind, w in self.kinds.items() if sealed or kind not in self.sealed}


class SimulatedMember(_Part):
    """One voter.

    Attributes:
        name: Unique.
        family: Members of one family share a part of their error.
        confidence: Factor of the logits: above 1 over-confident.
        abstains: Structures that it does not cover.
    """

    name: str
    family: str
    confidence: Positive
    abstains: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        unknown = sorted(set(self.abstains) - set(shipped_taxonomy().names))
        if unknown:
            raise ValueError(f"unknown structures {unknown}")
        return self


class PatientSplit(_Part):
    """Seeds of patients of one use.

    Attributes:
        first, stop: Seeds from the first up to, not including, the last.
        truth: Phantoms of the sites of a role, or deformations of a label map.
    """

    first: Annotated[int, Field(ge=0)]
    stop: int
    truth: Literal["train", "unseen", "label_map"]

    def seed(self, index: int) -> int:
        """Return the seed of a patient, counted from 0; UsageError past the end."""
        if not 0 <= index < self.stop - self.first:
            raise UsageError(f"a split has {self.stop - self.first} patients, got index {index}")
        return self.first + index


class CommitteeScenario(_Part):
    """A committee and all that goes wrong with it."""

    version: int
    spacing_mm: tuple[Positive, Positive, Positive]
    members: tuple[SimulatedMember, ...] = Field(min_length=1)
    border: BorderErrors
    softness: Softness
    faults: Faults
    splits: dict[SplitName, PatientSplit]

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"members need unique names, got {names}")
        return self

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        ordered = sorted((one.first, one.stop) for one in self.splits.values())
        edges = [edge for pair in ordered for edge in pair]
        if edges != sorted(edges) or any(first >= stop for first, stop in ordered):
            raise ValueError(f"splits are rising ranges of seeds without overlap, got {ordered}")
        return self


@cache
def load_committee_scenario() -> CommitteeScenario:
    """Return the shipped scenario; raises ConfigError when the file breaks a rule."""
    name = "simulated_committee.toml"
    text = resources.files("configs").joinpath(name).read_text(encoding="utf-8")
    try:
        return CommitteeScenario.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{name} is not valid: {error}") from error
