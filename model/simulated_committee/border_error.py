"""How far members' surfaces lie off the true one: smooth random displacements, partly shared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.simulated_committee import BorderErrors, CommitteeScenario
from model.grid import Box, Triple
from model.phantom.smooth import random_field
from model.simulated_committee.signed_field import Values

# A field of independent cubic B-spline coefficients at knots k apart correlates by about
# exp(-0.75 r^2 / k^2).
_KNOTS_PER_LENGTH = 0.75**0.5


@dataclass(frozen=True, slots=True)
class Amplitudes:
    """Factors of one structure's error in one case; 1 is what was fitted.

    Attributes:
        shared: Of what all members have in common.
        own: Of what families and members have of their own.
    """

    shared: float = 1.0
    own: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class MemberErrors:
    """Displacements in one box.

    Attributes:
        by_member: In mm, positive outwards, by the member's name; shape ``box.shape``.
        hardness: Local factor of the amplitude, the same for all members.
    """

    by_member: dict[str, Values]
    hardness: Values


def draw_case_amplitude(
    border: BorderErrors, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the logarithms of a case's amplitudes, of what is shared and of the rest."""
    return _pair(border.case_spread, border.shared_alike, generator)


def draw_amplitudes(
    border: BorderErrors, case: tuple[float, float], generator: np.random.Generator
) -> Amplitudes:
    """Return the amplitudes of one structure of a case."""
    shared, own = _pair(border.structure_spread, border.shared_alike, generator)
    return Amplitudes(float(np.exp(case[0] + shared)), float(np.exp(case[1] + own)))


def draw_errors(
    structure: str,
    box: Box,
    spacing_mm: Triple,
    *,
    scenario: CommitteeScenario,
    amplitudes: Amplitudes,
    generator: np.random.Generator,
) -> MemberErrors:
    """Draw the members' displacements of one structure.

    The variance of a member's error is its stated one, with shares that all have, its family has
    and only it has. Where a place is hard, it is for all of them.
    """
    border, members = scenario.border, scenario.members
    length_mm = border.of(structure).length_mm

    def field(length: float) -> Values:
        return smooth_noise(box, spacing_mm, length, generator)

    hardness = hard_places(field(border.hard_length_mm), border.hard_spread)
    whole_mm = border.member_mm(structure)
    shared = field(length_mm) * np.float32(whole_mm * border.shared**0.5 * amplitudes.shared)
    scale = whole_mm * amplitudes.own
    family_part = np.float32(scale * border.family**0.5)
    own_part = np.float32(scale * max(0.0, 1 - border.shared - border.family) ** 0.5)
    families = {name: field(length_mm) for name in dict.fromkeys(m.family for m in members)}
    errors = {
        member.name: (
            hardness
            * (shared + family_part * families[member.family] + own_part * field(length_mm))
        ).astype(np.float32)
        for member in members
    }
    return MemberErrors(errors, hardness)


def hard_places(noise: Values, spread: float) -> Values:
    """Return a local factor, log-normal along a unit field, whose mean square is 1."""
    return np.exp(np.float32(spread) * noise - np.float32(spread**2)).astype(np.float32)


def smooth_noise(
    box: Box, spacing_mm: Triple, length_mm: float, generator: np.random.Generator
) -> Values:
    """Return a unit field whose correlation at a distance r is about exp(-(r / length)^2)."""
    i, j, k = (
        np.arange(count, dtype=np.float32) * np.float32(size)
        for count, size in zip(box.shape, spacing_mm, strict=True)
    )
    return random_field((i, j, k), length_mm * _KNOTS_PER_LENGTH, generator).astype(np.float32)


def _pair(spread: float, alike: float, generator: np.random.Generator) -> tuple[float, float]:
    """Return two normal numbers of one spread and a stated correlation."""
    first, second = generator.standard_normal(2)
    return spread * (alike * second + (1 - alike**2) ** 0.5 * first), spread * float(second)
