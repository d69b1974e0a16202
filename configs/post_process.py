"""Rules that say what is kept of a raw mask, by structure; read from TOML and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    model_validator,
)

from configs.errors import ConfigError
from configs.rules_file import parsed_rules, rules_in_force
from configs.taxonomy import load_taxonomy, shipped_taxonomy

_PURPOSE = "post-process"

Share = Annotated[float, Field(ge=0, le=1)]


class _Rule(BaseModel):
    """What all rules share.

    Attributes:
        structures: Names in the taxonomy.
        least_ml: A component of this volume or less is dropped.
        not_below: Slices below the lowest one of this structure are dropped first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    structures: tuple[str, ...] = Field(min_length=1)
    least_ml: NonNegativeFloat = 0.0
    not_below: str | None = None


class KeepLargest(_Rule):
    """The largest component stays."""

    keep: Literal["largest"]


class KeepFragments(_Rule):
    """Components stay that are large, or large beside the largest.

    Attributes:
        least_share: Of the largest component's volume; from it on a component stays.
        sure_ml: Components of more than this stay, however large the largest is.
    """

    keep: Literal["fragments"]
    least_share: Share
    sure_ml: NonNegativeFloat | None = None


class KeepSides(_Rule):
    """Both sides of a pair are judged together; then as for ``KeepFragments``, by side."""

    keep: Literal["sides"]
    least_share: Share
    sure_ml: NonNegativeFloat | None = None


class KeepHosted(_Rule):
    """Components of a lesion stay that touch the organ that they may lie in.

    Attributes:
        close_mm: The organ is closed by a box of this half width.
        reach_mm: Then it is grown by this much; components are cut to what comes out.
        largest_cut: A component that would lose a larger share than this stays whole.
    """

    keep: Literal["hosted"]
    close_mm: NonNegativeFloat
    reach_mm: NonNegativeFloat
    largest_cut: Share = 0.5


Rule = Annotated[KeepLargest | KeepFragments | KeepSides | KeepHosted, Field(discriminator="keep")]


class CandidateRule(BaseModel):
    """Which places that may be a lesion are told to triage.

    Attributes:
        low_probability: Above it, voxels belong to a candidate.
        most: How many that are not in the mask are kept a structure, highest peaks first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low_probability: float = Field(gt=0, lt=0.5)
    most: int = Field(ge=1)


class PostProcessRules(BaseModel):
    """All rules; a structure that none names keeps everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    candidates: CandidateRule
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _check_structures(self) -> Self:
        taxonomy = load_taxonomy()
        named = [name for rule in self.rules for name in rule.structures]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"a structure has one rule, {', '.join(twice)} has several")
        floors = {rule.not_below for rule in self.rules if rule.not_below is not None}
        unknown = sorted({*named, *floors} - set(taxonomy.names))
        if unknown:
            raise ValueError(f"rules name structures of the taxonomy, not {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        for rule in self.rules:
            for name in rule.structures:
                if rule.not_below == name:
                    raise ValueError(f"{name} cannot be not_below itself")
                if isinstance(rule, KeepHosted) and not load_taxonomy()[name].parents:
                    raise ValueError(f"{name} has no parents, so it cannot be hosted")
                if isinstance(rule, KeepSides) and _partner(name) not in rule.structures:
                    raise ValueError(f"{name} needs its other side in the same rule")
        return self

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        self.units(load_taxonomy().names)
        return self

    def rule(self, structure: str) -> Rule | None:
        """Return a structure's rule; None keeps everything."""
        return next((rule for rule in self.rules if structure in rule.structures), None)

    def partner(self, structure: str) -> str | None:
        """Return the other side, where both are judged together."""
        return _partner(structure) if isinstance(self.rule(structure), KeepSides) else None

    def leans_on(self, structure: str) -> tuple[str, ...]:
        """Return the structures whose masks a structure's rule looks at, without its partner."""
        rule = self.rule(structure)
        hosts = load_taxonomy()[structure].parents if isinstance(rule, KeepHosted) else ()
        floor = () if rule is None or rule.not_below is None else (rule.not_below,)
        return (*hosts, *floor)

    def needed(self, structures: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
        """Return structures with all known ones that their rules look at, in taxonomy order."""
        found: set[str] = set()
        waiting = set(structures)
        while waiting:
            found |= waiting
            looked_at = {
                other
                for name in waiting
                for other in (*self.leans_on(name), self.partner(name))
                if other in known
            }
            waiting = {name for name in looked_at if name is not None} - found
        return load_taxonomy().select(tuple(found))

    def units(self, structures: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return structures in an order in which each comes after those that its rule looks at.

        Both sides of a pair are one unit; else the order stays as it is.

        Raises:
            ValueError: Rules look at one another in a circle.
        """
        waiting = list(dict.fromkeys(self._unit(name, structures) for name in structures))
        units: list[tuple[str, ...]] = []
        done: set[str] = set(load_taxonomy().names) - set(structures)
        while waiting:
            ready = [unit for unit in waiting if self._looks_at(unit) <= done]
            if not ready:
                stuck = ", ".join(name for unit in waiting for name in unit)
                raise ValueError(f"rules may not look at one another in a circle: {stuck}")
            units.append(ready[0])
            done |= set(ready[0])
            waiting.remove(ready[0])
        return tuple(units)

    def _unit(self, name: str, structures: Sequence[str]) -> tuple[str, ...]:
        pair = (name, self.partner(name))
        return tuple(one for one in structures if one in pair)

    def _looks_at(self, unit: tuple[str, ...]) -> set[str]:
        return {other for name in unit for other in self.leans_on(name)} - set(unit)

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
def shipped_post_process() -> PostProcessRules:
    """Return the rules that AtlasLoop ships; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("post_process.toml").read_text(encoding="utf-8")
    rules = parsed_rules(PostProcessRules, text, "post_process.toml", purpose=_PURPOSE)
    named = {name for rule in rules.rules for name in rule.structures}
    if named != set(shipped_taxonomy().names):
        raise ConfigError(
            "post_process.toml needs a rule for every shipped structure, and no other"
        )
    return rules


def post_process_in_force(setting: str, root: Path) -> PostProcessRules | None:
    """Return the rules that ``annotate.post_process`` chooses; None for raw masks.

    Args:
        setting: ``shipped``, ``off``, or a TOML file.
        root: Where a relative path starts.

    Raises:
        ConfigError: The file is not there, is no TOML, or breaks a rule.
    """
    return rules_in_force(
        setting, root, name="annotate.post_process", shipped=shipped_post_process, purpose=_PURPOSE
    )


def _partner(name: str) -> str | None:
    """Return the structure with the other side and else the same name."""
    taxonomy = load_taxonomy()
    one = taxonomy[name]
    if one.side is None:
        return None
    for other in taxonomy.structures:
        if other.unsided_name == one.unsided_name and other.side not in (None, one.side):
            return other.name
    return None
