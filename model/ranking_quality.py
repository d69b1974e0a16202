"""How well a risk orders cases by their true error, beside knowing only the structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One ranked structure of one case with its true Dice, in [0, 1]."""

    structure: str
    risk: float
    dsc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingQuality:
    """Spearman correlation of risk with error (1 - DSC): 1 is a perfect order, 0 none.

    Attributes:
        within: By structure; structures where it is not defined are left out.
        macro: Mean of ``within``; None when it is empty.
        baseline_macro: The same for the baseline, whose risk is constant within a structure and
            orders nothing there: 0 by construction, None when ``macro`` is.
        pooled: Over all outcomes at once, structures mixed.
        baseline_pooled: The same for the baseline. High when structures differ much in difficulty,
            so a pooled figure alone says little about finding bad cases.
        n: Number of outcomes.
    """

    within: Mapping[str, float]
    macro: float | None
    baseline_macro: float | None
    pooled: float | None
    baseline_pooled: float | None
    n: int


def ranking_quality(outcomes: Sequence[Outcome], *, least_cases: int = 3) -> RankingQuality:
    """Compare the order by risk with the order by true error.

    The baseline knows each structure's mean true DSC over these very outcomes, and nothing else:
    the best that a ranking blind to the case could know.

    Args:
        outcomes: Risk and true DSC.
        least_cases: Fewest cases of a structure for a correlation within it.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.structure, []).append(outcome)
    within = {
        name: value
        for name, group in sorted(groups.items())
        if len(group) >= least_cases and (value := _correlation(group)) is not None
    }
    mean_error = {
        name: float(np.mean([1 - outcome.dsc for outcome in group]))
        for name, group in groups.items()
    }
    error = np.array([1 - outcome.dsc for outcome in outcomes])
    return RankingQuality(
        within=within,
        macro=float(np.mean(list(within.values()))) if within else None,
        baseline_macro=0.0 if within else None,
        pooled=rank_correlation(np.array([outcome.risk for outcome in outcomes]), error),
        baseline_pooled=rank_correlation(
            np.array([mean_error[o.structure] for o in outcomes]), error
        ),
        n=len(outcomes),
    )


def rank_correlation(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> float | None:
    """Return Spearman's correlation, ties sharing their mean rank; None when either is constant."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])


def _correlation(group: Sequence[Outcome]) -> float | None:
    risk = np.array([outcome.risk for outcome in group])
    return rank_correlation(risk, np.array([1 - outcome.dsc for outcome in group]))
