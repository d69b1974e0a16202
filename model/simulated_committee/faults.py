"""Gross faults in what members see: which happen, to whom, and what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from configs.errors import UsageError
from configs.simulated_committee import FaultKind, Faults, Sharing, SimulatedMember
from configs.taxonomy import Taxonomy
from model.simulated_committee.fault_shapes import (
    cut_side,
    dropped_slices,
    hallucination,
    hole,
    island,
    leak,
    shift_voxels,
    shifted,
)
from model.simulated_committee.members import Outline, Outlines, Scene
from model.simulated_committee.signed_field import SignedField

Name = TypeVar("Name", FaultKind, Sharing)

Seen = Mapping[str, Outline]
"""What one member sees, by structure."""

Change = Callable[[Seen], dict[str, Outline | None]]
"""Returns what a member sees otherwise under a fault; None where it sees nothing any more."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One gross fault.

    Attributes:
        kind: What went wrong.
        structures: Whose masks it spoils; two for swapped sides.
        members: Who makes it.
    """

    kind: FaultKind
    structures: tuple[str, ...]
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What may go wrong.

    Attributes:
        faults: Rates and weights.
        kinds: Only these; None for all that are not sealed, or for all where ``sealed``.
        sealed: Whether sealed kinds may be used: for final runs.
    """

    faults: Faults
    kinds: tuple[FaultKind, ...] | None = None
    sealed: bool = False

    def __post_init__(self) -> None:
        refused = sorted(set(self.kinds or ()) & set(self.faults.sealed))
        if refused and not self.sealed:
            raise UsageError(
                f"faults {', '.join(refused)} are sealed until the final run; leave them out, or "
                "pass sealed=True there"
            )

    @property
    def weights(self) -> dict[FaultKind, float]:
        """Return the weight of every kind that may happen."""
        weights = self.faults.weights(sealed=self.sealed)
        if self.kinds is None:
            return weights
        return {kind: weights.get(kind, 0.0) for kind in self.kinds}


def draw_faults(
    scene: Scene,
    members: Sequence[SimulatedMember],
    plan: FaultPlan,
    *,
    taxonomy: Taxonomy,
    generator: np.random.Generator,
) -> list[tuple[Fault, Change]]:
    """Draw the faults of a case; a structure has one at most.

    Each structure has one with the stated chance. Its kind is drawn among those that can happen to
    it: a structure that is there cannot be hallucinated, one that is not can suffer nothing else.
    """
    found: list[tuple[Fault, Change]] = []
    spoiled: set[str] = set()
    for name in scene.masks:
        if generator.random() >= plan.faults.rate or name in spoiled:
            continue
        drawn = _draw(name, scene, plan, taxonomy, generator)
        if drawn is None:
            continue
        kind, structures, change = drawn
        who = _who(structures, members, plan.faults, generator)
        if who and not spoiled.intersection(structures):
            found.append((Fault(kind, structures, who), change))
            spoiled.update(structures)
    return found


def with_faults(outlines: Outlines, faults: Sequence[tuple[Fault, Change]]) -> Outlines:
    """Return what members see once the faults have happened."""
    changed = {member: dict(seen) for member, seen in outlines.items()}
    for fault, change in faults:
        for member in fault.members:
            for name, outline in change(changed[member]).items():
                if outline is None:
                    changed[member].pop(name, None)
                else:
                    changed[member][name] = outline
    return changed


def _who(
    structures: Sequence[str],
    members: Sequence[SimulatedMember],
    faults: Faults,
    generator: np.random.Generator,
) -> tuple[str, ...]:
    """Return who makes a fault: of those who cover the structures one, some or all.

    Some are a family of several members where there is one beside others, else two or more by
    chance; where only two cover the structure, there is no such thing, and it is one.
    """
    covering = [m for m in members if not set(structures) & set(m.abstains)]
    names = [member.name for member in covering]
    if not names:
        return ()
    sharing = _chosen(faults.sharing, generator)
    if sharing == "all":
        return tuple(names)
    if sharing == "some" and len(names) > 2:
        families = dict.fromkeys(member.family for member in covering)
        groups = [[m.name for m in covering if m.family == family] for family in families]
        large = [group for group in groups if 1 < len(group) < len(names)]
        if large:
            return tuple(large[int(generator.integers(len(large)))])
        size = int(generator.integers(2, len(names)))
        picked = sorted(generator.choice(len(names), size, replace=False).tolist())
        return tuple(names[n] for n in picked)
    return (names[int(generator.integers(len(names)))],)


def _draw(
    name: str, scene: Scene, plan: FaultPlan, taxonomy: Taxonomy, generator: np.random.Generator
) -> tuple[FaultKind, tuple[str, ...], Change] | None:
    """Return a kind, whom it spoils and what it does; None where nothing can happen."""
    weights: dict[FaultKind, float] = {
        kind: weight
        for kind, weight in plan.weights.items()
        if weight > 0 and (kind == "hallucinated") == (name not in scene.fields)
    }
    while weights:
        kind = _chosen(weights, generator)
        made = _made(kind, name, scene, taxonomy, generator)
        if made is not None:
            return kind, *made
        del weights[kind]
    return None


def _made(
    kind: FaultKind,
    name: str,
    scene: Scene,
    taxonomy: Taxonomy,
    generator: np.random.Generator,
) -> tuple[tuple[str, ...], Change] | None:
    """Return whom a fault of a kind spoils and what it does; None where it cannot happen."""
    if kind == "swapped_sides":
        other = _other_side(name, taxonomy)
        pair = (name, other)
        return None if other not in scene.fields else (pair, lambda seen: _swapped(seen, *pair))
    if kind == "missed":
        ceiling = float(generator.uniform(-4.0, -0.2))
        return (name,), lambda seen: {name: seen[name].faded(ceiling)} if name in seen else {}
    if kind == "hallucinated":
        shape = hallucination(scene, taxonomy[name].parents, generator)
        width_mm = np.asarray(generator.uniform(0.8, 3.0), np.float32)
        return (name,), lambda _: {name: Outline(shape, width_mm)}
    move = _move(kind, name, scene, taxonomy, generator)
    return None if move is None else ((name,), lambda seen: _moved(seen, name, move))


def _move(
    kind: FaultKind,
    name: str,
    scene: Scene,
    taxonomy: Taxonomy,
    generator: np.random.Generator,
) -> Callable[[SignedField], SignedField] | None:
    """Return what a fault does to one surface; its place and size are drawn here, once for all."""
    if kind == "island":
        extra = island(name, scene, generator)
        return None if extra is None else extra.joined
    if kind == "leak":
        extra = leak(name, taxonomy[name].exclusive, scene, generator)
        return None if extra is None else extra.joined
    if kind == "hole":
        lost = hole(name, scene, generator)
        return lambda field: field.without(lost)
    if kind == "shifted":
        step = shift_voxels(scene.grid, generator)
        return lambda field: shifted(field, step, scene.grid)
    shape = scene.fields[name]
    lost = cut_side(shape, generator) if kind == "cut" else dropped_slices(shape, generator)
    return None if lost is None else (lambda field: field.without(lost))


def _moved(
    seen: Seen, name: str, move: Callable[[SignedField], SignedField]
) -> dict[str, Outline | None]:
    return {name: seen[name].moved(move(seen[name].field))} if name in seen else {}


def _swapped(seen: Seen, name: str, other: str) -> dict[str, Outline | None]:
    return {name: seen.get(other), other: seen.get(name)}


def _other_side(name: str, taxonomy: Taxonomy) -> str:
    """Return the structure of the other side; an empty name where there is none."""
    one = taxonomy[name]
    return next(
        (
            other.name
            for other in taxonomy.structures
            if one.side and other.name != name and other.unsided_name == one.unsided_name
        ),
        "",
    )


def _chosen(weights: Mapping[Name, float], generator: np.random.Generator) -> Name:
    names = list(weights)
    p = np.array([weights[name] for name in names], float)
    return names[int(generator.choice(len(names), p=p / p.sum()))]
