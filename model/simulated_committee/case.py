"""One simulated case: the scores that the real code gives to members whose errors are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from configs.errors import UsageError
from configs.post_process import PostProcessRules
from configs.simulated_committee import CommitteeScenario, FaultKind, SimulatedMember
from configs.taxonomy import Taxonomy, shipped_taxonomy
from model.annotate import AnnotateOptions, StructureResult, voted_volume
from model.committee import CommitteeMember
from model.grid import Box, Grid, Triple
from model.inference_settings import InferenceSettings
from model.metrics import dice
from model.midline import Midline
from model.placed_crop import Mask, PlacedMask, placed
from model.scores import ScoreRow, dice_between
from model.simulated_committee.border_error import smooth_noise
from model.simulated_committee.faults import Fault, FaultPlan, draw_faults, with_faults
from model.simulated_committee.members import Outline, Outlines, draw_outlines, scene_of
from model.test_time import SelfAgreement, alone_with
from model.working_levels import Levels
from model.working_prediction import WorkingPrediction

# Unchanged and changed: as many masks of a lone member as are compared.
_MASKS = 3
_AGAIN_MM = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOptions:
    """What of the scenario is used, and what is kept.

    Attributes:
        kinds: Faults that may happen; None for all that are not sealed.
        sealed: Whether sealed kinds may happen: for final runs.
        rules: What is kept of raw masks, as ``annotate`` does; None keeps everything.
        midline: Of the body, for rules that tell sides; None where it is not known.
        keep_masks: Whether masks come with the case.
    """

    kinds: tuple[FaultKind, ...] | None = None
    sealed: bool = False
    rules: PostProcessRules | None = None
    midline: Midline | None = None
    keep_masks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCase:
    """What a simulated committee says of one case, and what is true.

    Attributes:
        rows: Scores of every member and the consensus, as ``annotate`` gives them.
        dsc: Consensus against truth, of every structure that is there and that a member covers.
        present: Whether a structure is there, of all that a member covers.
        faults: Structure -> kind of its gross fault.
        fault_list: The same with the members that make it.
        masks: Consensus as the rules leave it, by structure, on one grid; where nobody sees a
            structure it has none. Empty unless asked for.
        member_masks: The same of every member.
        truth: True masks of the structures that are there; empty unless asked for.
        grid: Of all masks.
    """

    rows: tuple[ScoreRow, ...]
    dsc: dict[str, float]
    present: dict[str, bool]
    faults: dict[str, str]
    fault_list: tuple[Fault, ...]
    grid: Grid
    masks: dict[str, PlacedMask] = field(default_factory=dict)
    member_masks: dict[str, dict[str, PlacedMask]] = field(default_factory=dict)
    truth: dict[str, PlacedMask] = field(default_factory=dict)


def case_scores(
    truth: Mapping[str, Mask],
    spacing_mm: Triple,
    scenario: CommitteeScenario,
    generator: np.random.Generator,
    *,
    options: CaseOptions | None = None,
    taxonomy: Taxonomy | None = None,
) -> SimulatedCase:
    """Simulate a committee on a case and score it by the code that scores networks.

    Members' working grid is the native one, so nothing is interpolated; maps have 8 bits.

    Args:
        truth: Structure -> mask, all of one shape (I, J, K), RAS; empty where it is absent.
            Structures that are left out are covered by nobody.
        spacing_mm: Of that grid.
        scenario: How members err.
        generator: Draws everything.
        options: What may happen, and what is kept.
        taxonomy: Names and neighbours; the shipped ones when None.

    Raises:
        UsageError: Masks differ in shape, a name is unknown, or a sealed fault is asked for.
    """
    chosen, words = options or CaseOptions(), taxonomy or shipped_taxonomy()
    plan = FaultPlan(scenario.faults, chosen.kinds, chosen.sealed)
    grid = _grid(truth, spacing_mm)
    ordered = {name: truth[name] for name in words.select(tuple(truth))}
    scene = scene_of(ordered, grid, scenario)
    outlines = draw_outlines(scene, scenario, generator)
    faults = draw_faults(scene, scenario.members, plan, taxonomy=words, generator=generator)
    seen = with_faults(outlines, faults)
    predictions = [
        _prediction(member, tuple(ordered), seen[member.name], grid) for member in scenario.members
    ]
    voted = voted_volume(
        [one for one in predictions if one.structures],
        grid,
        chosen.midline or Midline(0.0, float(grid.shape[0])),
        taxonomy=words,
        options=AnnotateOptions(rules=chosen.rules),
        again=_asked_again(predictions, seen, scenario, generator),
    )
    results = {result.structure: result for result in voted.results()}
    return _case(ordered, results, [fault for fault, _ in faults], grid, keep=chosen.keep_masks)


def _grid(truth: Mapping[str, Mask], spacing_mm: Triple) -> Grid:
    shapes = {mask.shape for mask in truth.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise UsageError(f"true masks have one shape (I, J, K), got {sorted(shapes) or 'none'}")
    i, j, k = next(iter(shapes))
    return Grid((i, j, k), spacing_mm)


def _prediction(
    member: SimulatedMember, structures: tuple[str, ...], seen: Mapping[str, Outline], grid: Grid
) -> WorkingPrediction:
    """Return a member's probabilities as a network would give them on its working grid."""
    covered = tuple(name for name in structures if name not in member.abstains)
    levels: Levels = np.zeros((len(covered), *grid.shape), np.int16)
    for place, name in enumerate(covered):
        if name in seen:
            outline = seen[name]
            levels[(place, *outline.field.box.slices)] = outline.levels(member.confidence)
    voter = CommitteeMember(
        name=member.name,
        family=member.family,
        network=nn.Identity(),
        inference=InferenceSettings(spacing_mm=grid.spacing_mm),
        structures=covered,
    )
    return WorkingPrediction(voter, covered, levels)


def _asked_again(
    predictions: Sequence[WorkingPrediction],
    seen: Outlines,
    scenario: CommitteeScenario,
    generator: np.random.Generator,
) -> SelfAgreement:
    """Return how far families that are alone with a structure agree with themselves."""
    members = [one.member for one in predictions]
    structures = list(dict.fromkeys(name for one in predictions for name in one.structures))
    dice_of: dict[str, float] = {}
    for member, names in alone_with(members, structures).items():
        for name in names:
            if (outline := seen[member].get(name)) is None:
                dice_of[name] = 1.0
                continue
            box, spacing_mm = outline.field.box, members[0].inference.spacing_mm
            masks = {
                str(number): outline.again(
                    smooth_noise(box, spacing_mm, _AGAIN_MM, generator),
                    scenario.softness.again if number else 0.0,
                )
                for number in range(_MASKS)
            }
            dice_of[name] = float(np.mean(list(dice_between(masks).values())))
    return SelfAgreement(dice_of)


def _case(
    truth: Mapping[str, Mask],
    results: Mapping[str, StructureResult],
    faults: list[Fault],
    grid: Grid,
    *,
    keep: bool,
) -> SimulatedCase:
    whole = Box((0, 0, 0), grid.shape)
    dsc: dict[str, float] = {}
    for name, result in results.items():
        if truth[name].any():
            dsc[name] = _dsc(result, truth[name], whole)
    boxed = {name: r for name, r in results.items() if r.box is not None} if keep else {}
    return SimulatedCase(
        rows=tuple(row for result in results.values() for row in result.scores),
        dsc=dsc,
        present={name: bool(truth[name].any()) for name in results},
        faults={name: fault.kind for fault in faults for name in fault.structures},
        fault_list=tuple(faults),
        grid=grid,
        masks={
            n: PlacedMask(r.consensus, r.box)
            for n, r in boxed.items()
            if r.consensus is not None and r.box
        },
        member_masks={
            n: {member: PlacedMask(mask, r.box) for member, mask in r.masks.items() if r.box}
            for n, r in boxed.items()
        },
        truth={n: PlacedMask(truth[n], whole) for n in dsc} if keep else {},
    )


def _dsc(result: StructureResult, truth: Mask, whole: Box) -> float:
    """Return the Dice of a consensus with a truth that is not empty."""
    if result.consensus is None or result.box is None:
        return 0.0
    value = dice(placed(result.consensus, result.box, whole), truth)
    return value if isinstance(value, float) else 0.0
