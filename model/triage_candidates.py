"""What triage is told of places that may be a lesion, in the consensus' mask or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.grid import Box, Triple
from model.lesion_candidates import Candidate, LabeledCandidates, lesion_candidates
from model.scores import Bytes

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TriageCandidate:
    """One place.

    Attributes:
        candidate: What it is like; ``host_share`` is None where its organs' mask is not known.
        in_mask: Whether it is a component of the consensus' mask. One that is not and has a peak
            above 0.5 was taken away by the rules.
    """

    candidate: Candidate
    in_mask: bool


@dataclass(frozen=True, slots=True)
class TriageCandidates:
    """The places in one structure of one volume.

    Attributes:
        listed: Those in the mask, then the others; each by falling peak, then volume.
        left_out: How many others have lower peaks and are not listed.
    """

    listed: tuple[TriageCandidate, ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateLimits:
    """What is listed.

    Attributes:
        low_probability: Above it, voxels belong to a candidate.
        least_mm3: Candidates that were never in a mask have more than this.
        most: How many are listed that are not in the mask.
    """

    low_probability: float
    least_mm3: float
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class ConsensusCrop:
    """The consensus of one structure, all of shape ``box.shape``.

    Attributes:
        levels: 255 times its probability.
        raw: Where that is above 0.5.
        kept: What the rules left of it.
        host: Mask of the organs that the structure lies in; None where it is not known.
    """

    box: Box
    levels: Bytes
    raw: Mask
    kept: Mask
    host: Mask | None


def triage_candidates(
    consensus: ConsensusCrop, spacing_mm: Triple, limits: CandidateLimits
) -> TriageCandidates:
    """Return components of the mask, of what was taken from it, and of what is likely at all.

    A component above ``low_probability`` that touches the raw mask is not listed beside that mask's
    own components. Peak memory: 11 bytes a voxel of the crop.
    """
    kept = _components(consensus, consensus.kept, spacing_mm, limits)
    taken = _components(consensus, consensus.raw & ~consensus.kept, spacing_mm, limits)
    faint = _faint(consensus, spacing_mm, limits)
    others = _sorted((*taken.candidates, *faint))
    listed = (
        *(TriageCandidate(one, in_mask=True) for one in _sorted(kept.candidates)),
        *(TriageCandidate(one, in_mask=False) for one in others[: limits.most]),
    )
    return TriageCandidates(listed, max(0, len(others) - limits.most))


def _components(
    consensus: ConsensusCrop, where: Mask | None, spacing_mm: Triple, limits: CandidateLimits
) -> LabeledCandidates:
    return lesion_candidates(
        consensus.levels if where is None else consensus.levels * where,
        spacing_mm,
        origin=consensus.box.start,
        low_probability=limits.low_probability,
        host=consensus.host,
    )


def _faint(
    consensus: ConsensusCrop, spacing_mm: Triple, limits: CandidateLimits
) -> list[Candidate]:
    """Return the components above the low probability that no mask ever had a voxel of."""
    found = _components(consensus, None, spacing_mm, limits)
    drawn = set(np.unique(found.labels[consensus.raw]).tolist())
    return [
        one
        for label, one in enumerate(found.candidates, start=1)
        if label not in drawn and one.volume_mm3 > limits.least_mm3
    ]


def _sorted(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: (-one.peak, -one.voxels, one.centre))
