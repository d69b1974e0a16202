"""How far a member that is alone with a structure agrees with itself, shown a changed CT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from configs.test_time import InputChange
from model.body import body_mask
from model.committee import CommitteeMember
from model.grid import Triple
from model.network_options import NetworkOptions
from model.resample import to_working
from model.scores import Bytes, dice_of_counts
from model.working_levels import HALF, Levels
from model.working_prediction import MemberRun, WorkingPrediction, memory_case_error


@dataclass(frozen=True, slots=True)
class SelfAgreement:
    """What came of showing a CT again.

    Attributes:
        dice: Structure -> mean Dice of every two of its masks, the unchanged CT's among them; 1
            where all are empty. On the member's working grid, before any rules.
        fallbacks: What was tried instead where memory was not enough, in words.
    """

    dice: Mapping[str, float] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeats:
    """How a CT is shown again: a pass a change, by networks that run as the first time."""

    changes: Sequence[InputChange]
    device: torch.device
    options: NetworkOptions


def alone_with(
    members: Sequence[CommitteeMember], structures: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return, by member, the structures that only its family covers, whose first it is."""
    found: dict[str, list[str]] = {}
    for structure in structures:
        covering = [member for member in members if member.covers(structure)]
        if len({member.family for member in covering}) == 1:
            found.setdefault(covering[0].name, []).append(structure)
    return {name: tuple(names) for name, names in found.items()}


def self_agreement(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    predictions: Sequence[WorkingPrediction],
    *,
    structures: Sequence[str],
    repeats: Repeats,
) -> SelfAgreement:
    """Show a CT, changed, to members that are alone with some of its structures.

    Each such member runs once more a change. Nothing of it enters masks. The noise of a pass is
    the same for every CT of a shape, so that a repeated run gives the same bytes on a CPU.

    Peak memory in bytes beside the predictions: ``8 * W`` for the volume, before and after its
    change, ``2 * Q * W`` for the probabilities of one pass, and an eighth of a byte per voxel,
    structure and pass.

    Args:
        hu: Native volume, shape (I, J, K).
        spacing_mm: Of the native grid.
        predictions: What all members say of it unchanged.
        structures: What is asked for.
        repeats: How it is changed.

    Raises:
        CaseError: Logits are not finite, or memory is not enough.
    """
    dice: dict[str, float] = {}
    fallbacks: list[str] = []
    alone = alone_with([one.member for one in predictions], structures) if repeats.changes else {}
    for prediction in predictions:
        if (names := alone.get(prediction.member.name)) is None:
            continue
        masks = {name: [_bits(prediction.vote(name).probability)] for name in names}
        working_mm = prediction.member.inference.spacing_mm
        with memory_case_error(hu.shape, working_mm, repeats.device):
            working = to_working(hu, spacing_mm, working_mm, device=repeats.device)
            for change, again in _passes(working, prediction.member, names, repeats):
                fallbacks.extend(again.fallbacks)
                for name in names:
                    levels = again.vote(name).probability
                    masks[name].append(_bits(_moved_levels(levels, -change.shift_voxels)))
        dice |= {name: _mean_dice(bits) for name, bits in masks.items()}
    return SelfAgreement(dice, tuple(dict.fromkeys(fallbacks)))


def _passes(
    working: Tensor,
    member: CommitteeMember,
    names: Sequence[str],
    repeats: Repeats,
) -> Iterator[tuple[InputChange, WorkingPrediction]]:
    body = body_mask(working.cpu().numpy(), member.inference.spacing_mm)
    asked = tuple(name for name in member.structures if name in names)
    for number, change in enumerate(repeats.changes):
        changed = _changed(working, change, torch.Generator().manual_seed(number))
        yield change, MemberRun(member, changed, body, asked).with_fallbacks(repeats.options)


def _changed(working: Tensor, change: InputChange, generator: torch.Generator) -> Tensor:
    changed = _moved(working, change.shift_voxels) + change.hu
    if change.noise_hu:
        # Drawn on the processor, so that every device sees the same.
        noise = torch.randn(working.shape, generator=generator).to(working.device)
        changed = changed.add_(noise, alpha=change.noise_hu)
    return changed


def _moved(volume: Tensor, voxels: float) -> Tensor:
    """Return the values that lie so far from each voxel along all axes, linearly between two.

    Less than one voxel; past the edge the outermost one repeats.
    """
    for axis in range(3) if voxels else ():
        size = volume.shape[axis]
        next_ = torch.arange(size, device=volume.device) + (1 if voxels > 0 else -1)
        volume = volume.lerp(volume.index_select(axis, next_.clamp_(0, size - 1)), abs(voxels))
    return volume


def _moved_levels(levels: Levels, voxels: float) -> Levels | npt.NDArray[np.float32]:
    if not voxels:
        return levels
    return _moved(torch.from_numpy(levels).float(), voxels).numpy()


def _bits(levels: Levels | npt.NDArray[np.float32]) -> Bytes:
    return np.packbits(levels > HALF)


def _mean_dice(masks: Sequence[Bytes]) -> float:
    sizes = [_count(mask) for mask in masks]
    return float(
        np.mean(
            [
                dice_of_counts(_count(masks[a] & masks[b]), sizes[a], sizes[b])
                for a, b in combinations(range(len(masks)), 2)
            ]
        )
    )


def _count(bits: Bytes) -> int:
    return int(np.bitwise_count(bits).sum(dtype=np.int64))
