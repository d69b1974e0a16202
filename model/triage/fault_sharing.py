"""Whether gross faults are found, by how many members share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from model.triage.evaluation import BAD_DSC, FittedTriage, KnownLabels
from model.triage.policies import Ranking, ranked

Sharing = Literal["one member", "some members", "all members"]
_LOOKED_AT = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFaults:
    """Faults of one kind of sharing.

    Attributes:
        labels: With such a fault.
        bad: Of these, labels whose consensus is bad: DSC below 0.8, or a mask of nothing.
        found: Share of the bad ones in the first 10 % of the queue; None without any.
    """

    sharing: Sharing
    labels: int
    bad: int
    found: float | None


def faults_found(
    labels: KnownLabels,
    faulty_members: npt.NDArray[np.int32],
    fitted: FittedTriage,
    ranking: Ranking,
    *,
    queued: npt.NDArray[np.bool_],
) -> tuple[SharedFaults, ...]:
    """Return how many faults the head of the queue holds. What all members share shows nowhere.

    Args:
        labels: With their truth.
        faulty_members: How many members have a fault there, shape (N,); 0 for none.
        fitted: What triage knows.
        ranking: The policy.
        queued: Labels that wait for a look, shape (N,).
    """
    order = ranked(labels.table, fitted.estimates(labels.table), ranking, among=queued).order
    is_early = np.zeros(len(labels.table), np.bool_)
    is_early[order[: round(_LOOKED_AT * len(order))]] = True
    covering = labels.table["covering_members"]
    is_bad = labels.quality < BAD_DSC
    among = {
        "one member": (faulty_members == 1) & (covering > 1),
        "some members": (faulty_members > 1) & (faulty_members < covering),
        "all members": (faulty_members > 0) & (faulty_members >= covering),
    }
    return tuple(
        SharedFaults(
            sharing=name,
            labels=int(among[name].sum()),
            bad=int((among[name] & is_bad).sum()),
            found=_share(is_early[among[name] & is_bad]),
        )
        for name in get_args(Sharing)
    )


def _share(flags: npt.NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None
