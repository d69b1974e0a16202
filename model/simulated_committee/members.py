"""What the members of a simulated committee see of each structure, before anything goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from configs.simulated_committee import CommitteeScenario
from model.grid import Box, Grid
from model.placed_crop import Mask
from model.simulated_committee.border_error import (
    Amplitudes,
    MemberErrors,
    draw_amplitudes,
    draw_case_amplitude,
    draw_errors,
)
from model.simulated_committee.signed_field import SignedField, Values, ball, truth_field
from model.working_levels import TOP, Levels

# Beyond, a probability is 0 or 1 as far as stored maps can tell.
_LARGEST_LOGIT = 12.0
_SPREADS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """How one member sees one structure.

    Attributes:
        field: Its surface.
        width_mm: Over which its probability falls, shape ``field.box.shape`` or a scalar array.
        ceiling: Highest logit that it reaches, before its confidence; below 0 it has no mask.
    """

    field: SignedField
    width_mm: Values
    ceiling: float = _LARGEST_LOGIT

    def levels(self, confidence: float) -> Levels:
        """Return the member's probabilities as working levels, shape ``field.box.shape``."""
        logits = confidence * np.minimum(self.field.values / self.width_mm, _LARGEST_LOGIT)
        if self.ceiling < _LARGEST_LOGIT:
            logits = np.minimum(logits, self.ceiling)
        return np.rint(TOP * special.expit(np.maximum(logits, -_LARGEST_LOGIT))).astype(np.int16)

    def again(self, noise: Values, again: float) -> Mask:
        """Return the mask of the same member once its logits have moved by ``again`` times noise.

        Args:
            noise: A unit field, shape ``field.box.shape``.
            again: Standard deviation of the move.
        """
        logits = np.minimum(self.field.values / self.width_mm, self.ceiling)
        return logits + np.float32(again) * noise > 0

    def moved(self, field: SignedField) -> Outline:
        """Return the outline of another surface, as sure of it as on the whole of this one."""
        if field.box == self.field.box:
            return Outline(field, self.width_mm, self.ceiling)
        return Outline(field, np.asarray(np.median(self.width_mm), np.float32), self.ceiling)

    def faded(self, ceiling: float) -> Outline:
        """Return the outline with a highest logit."""
        return Outline(self.field, self.width_mm, ceiling)


Outlines = dict[str, dict[str, Outline]]
"""By member and structure; a structure of which a member sees nothing is left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The truth of one case.

    Attributes:
        grid: Of the volume.
        masks: By structure, shape ``grid.shape``; some are empty.
        fields: Surfaces of those that are not.
    """

    grid: Grid
    masks: Mapping[str, Mask]
    fields: Mapping[str, SignedField]


def scene_of(masks: Mapping[str, Mask], grid: Grid, scenario: CommitteeScenario) -> Scene:
    """Return the truth with its surfaces; boxes have room for errors of usual amplitude."""
    fields = {}
    for name, mask in masks.items():
        reach_mm = _SPREADS * (scenario.border.member_mm(name) + 2 * scenario.softness.width_mm)
        field = truth_field(mask, grid, reach_mm)
        if field is not None:
            fields[name] = field
    return Scene(grid, masks, fields)


def draw_outlines(
    scene: Scene, scenario: CommitteeScenario, generator: np.random.Generator
) -> Outlines:
    """Return what every member sees of what it covers, with border errors alone."""
    outlines: Outlines = {member.name: {} for member in scenario.members}
    case = draw_case_amplitude(scenario.border, generator)
    for name in scene.masks:
        if name in scene.fields:
            amplitudes = draw_amplitudes(scenario.border, case, generator)
            found = _present(name, scene, scenario, amplitudes, generator)
        else:
            found = _absent(scene, scenario, generator)
        for member in scenario.members:
            if member.name in found and name not in member.abstains:
                outlines[member.name][name] = found[member.name]
    return outlines


def _present(
    name: str,
    scene: Scene,
    scenario: CommitteeScenario,
    amplitudes: Amplitudes,
    generator: np.random.Generator,
) -> dict[str, Outline]:
    truth = scene.fields[name]
    errors = draw_errors(
        name,
        truth.box,
        scene.grid.spacing_mm,
        scenario=scenario,
        amplitudes=amplitudes,
        generator=generator,
    )
    width_mm = _width_mm(errors, scenario, amplitudes, generator)
    return {
        member.name: Outline(
            SignedField(truth.values + errors.by_member[member.name], truth.box), width_mm
        )
        for member in scenario.members
    }


def _width_mm(
    errors: MemberErrors,
    scenario: CommitteeScenario,
    amplitudes: Amplitudes,
    generator: np.random.Generator,
) -> Values:
    """Return how soft the border is: softer where members err more, but by chance as well."""
    soft, border = scenario.softness, scenario.border
    spread = float(np.hypot(border.case_spread, border.structure_spread))
    known = np.log(amplitudes.own) / spread if spread else 0.0
    mixed = soft.informed * known + (1 - soft.informed**2) ** 0.5 * generator.standard_normal()
    width_mm = soft.width_mm * np.exp(soft.spread * mixed)
    return np.asarray(width_mm * errors.hardness**soft.hard_share, np.float32)


def _absent(
    scene: Scene, scenario: CommitteeScenario, generator: np.random.Generator
) -> dict[str, Outline]:
    """Return a faint spot at a random place, of some families; mostly below one half."""
    soft = scenario.softness
    inside = body_box(scene)
    spot = blob(
        generator.uniform(inside.start, inside.stop), float(generator.uniform(4, 12)), scene.grid
    )
    faint: dict[str, float] = {}
    for family in dict.fromkeys(member.family for member in scenario.members):
        chance, peak = generator.random(), generator.uniform(*np.log(soft.faint_peak))
        if chance < soft.faint_chance:
            faint[family] = float(special.logit(np.exp(peak)))
    width_mm = np.asarray(soft.width_mm, np.float32)
    return {
        member.name: Outline(spot, width_mm, faint[member.family])
        for member in scenario.members
        if member.family in faint
    }


def blob(center: np.ndarray, radius_mm: float, grid: Grid) -> SignedField:
    """Return a ball of at least a voxel's size round a voxel position."""
    radius_mm = max(radius_mm, 0.75 * max(grid.spacing_mm))
    return ball(np.asarray(center, np.float64), np.full(3, radius_mm), grid)


def body_box(scene: Scene) -> Box:
    """Return the box of all that is there; the whole volume where nothing is."""
    boxes = [field.box for field in scene.fields.values()]
    if not boxes:
        return Box((0, 0, 0), scene.grid.shape)
    low = np.min([box.start for box in boxes], axis=0)
    high = np.max([box.stop for box in boxes], axis=0)
    return Box(tuple(low.tolist()), tuple(high.tolist()))
