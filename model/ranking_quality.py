"""How well a risk orders cases by their true error, beside knowing only the structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def excess_aurc(risk: npt.NDArray[np.float64], dsc: npt.NDArray[np.float64]) -> float | None:
    """Return the area under the risk-coverage curve minus that of the perfect order.

    Labels are accepted from the lowest risk on. At each coverage n / N the curve is the mean error
    (1 - DSC) of those accepted; its area is the mean over n. 0 is perfect; a random order has the
    mean error minus the oracle's area, on average. Labels of equal risk are accepted in random
    order, so each counts with the mean error of its group.

    Args:
        risk: Higher is worse, shape (N,).
        dsc: True Dice, shape (N,), in [0, 1].

    Returns:
        None without labels.

    Raises:
        ValueError: The shapes differ, or a number is not finite.

    Source:
        Excess AURC: Geifman et al. 2019.
    """
    _check(risk, dsc)
    if not len(risk):
        return None
    error = 1 - dsc
    return _aurc(_tied_means(risk, error)[np.argsort(risk, kind="stable")]) - _aurc(np.sort(error))


def share_found(
    risk: npt.NDArray[np.float64],
    dsc: npt.NDArray[np.float64],
    *,
    looked_at: float,
    bad_below: float,
) -> float | None:
    """Return which share of the bad labels lies in the first part of a ranking.

    The first ``looked_at * N`` labels, highest risk first, are looked at; the last of them may be a
    fraction. Labels of equal risk share what is looked at among them.

    Args:
        risk: Higher is looked at earlier, shape (N,).
        dsc: True Dice, shape (N,).
        looked_at: Share of the ranking, in [0, 1].
        bad_below: A label is bad where its DSC is lower.

    Returns:
        In [0, 1]; None where no label is bad.

    Raises:
        ValueError: The shapes differ, or a number is not finite.
    """
    _check(risk, dsc)
    bad = (dsc < bad_below).astype(np.float64)
    if not bad.any():
        return None
    spread = _tied_means(risk, bad)[np.argsort(-risk, kind="stable")]
    seen = np.clip(looked_at * len(risk) - np.arange(len(risk)), 0.0, 1.0)
    return float(spread @ seen / bad.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingSummary:
    """Means over structures of what is computed within each; None where no structure has it.

    Attributes:
        spearman: Correlation of risk and error.
        excess_aurc: See the function.
        random_excess_aurc: What an order at random has on average.
        found_first_5, found_first_10: Share of the bad labels in the first 5 and 10 %.
        structures: How many structures each mean is of, by name of the figure.
        n: Labels.
    """

    spearman: float | None
    excess_aurc: float | None
    random_excess_aurc: float | None
    found_first_5: float | None
    found_first_10: float | None
    structures: Mapping[str, int]
    n: int


def ranking_summary(
    outcomes: Sequence[Outcome],
    *,
    bad_below: float = 0.8,
    only_above: float | None = None,
    least_cases: int = 3,
) -> RankingSummary:
    """Return how well risks order labels within each structure, structures counting alike.

    Args:
        outcomes: Of structures that are there.
        bad_below: A label is bad where its DSC is lower.
        only_above: Leave out labels of this true DSC or less: finding what is plainly broken is
            easy, ordering what is nearly right is not.
        least_cases: Fewest labels of a structure.
    """
    chosen = [one for one in outcomes if only_above is None or one.dsc > only_above]
    groups: dict[str, list[Outcome]] = {}
    for one in chosen:
        groups.setdefault(one.structure, []).append(one)
    pairs = [
        (np.array([one.risk for one in group]), np.array([one.dsc for one in group]))
        for group in groups.values()
        if len(group) >= least_cases
    ]
    figures: dict[str, Callable[..., float | None]] = {
        "spearman": lambda risk, dsc: rank_correlation(risk, 1 - dsc),
        "excess_aurc": excess_aurc,
        "random_excess_aurc": lambda risk, dsc: excess_aurc(np.zeros_like(risk), dsc),
        "found_first_5": _finder(0.05, bad_below),
        "found_first_10": _finder(0.10, bad_below),
    }
    values = {
        name: [value for pair in pairs if (value := figure(*pair)) is not None]
        for name, figure in figures.items()
    }
    means = {name: float(np.mean(own)) if own else None for name, own in values.items()}
    counts = {name: len(own) for name, own in values.items()}
    return RankingSummary(**means, structures=counts, n=len(chosen))


def _finder(
    looked_at: float, bad_below: float
) -> Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], float | None]:
    return lambda risk, dsc: share_found(risk, dsc, looked_at=looked_at, bad_below=bad_below)


def _aurc(errors_in_order: npt.NDArray[np.float64]) -> float:
    accepted = np.arange(1, len(errors_in_order) + 1)
    return float(np.mean(np.cumsum(errors_in_order) / accepted))


def _tied_means(
    risk: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return for each label the mean of the values of all labels with its risk, shape (N,)."""
    _, group, count = np.unique(risk, return_inverse=True, return_counts=True)
    return (np.bincount(group, values) / count)[group]


def _check(risk: npt.NDArray[np.float64], dsc: npt.NDArray[np.float64]) -> None:
    if risk.shape != dsc.shape or risk.ndim != 1:
        raise ValueError(f"risk and dsc have one shape (N,), got {risk.shape} and {dsc.shape}")
    if not (np.isfinite(risk).all() and np.isfinite(dsc).all()):
        raise ValueError("risk and dsc are finite; give labels without a score a risk first")


def _correlation(group: Sequence[Outcome]) -> float | None:
    risk = np.array([outcome.risk for outcome in group])
    return rank_correlation(risk, np.array([1 - outcome.dsc for outcome in group]))
