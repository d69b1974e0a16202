"""Intervals of the predicted DSC that hold on labels drawn as the audit's are, and how to check it.

Split conformal prediction asks that the labels to predict and those of the calibration be
exchangeable. Only the audit's labels are: the queue chooses its own by their scores. Labels of one
patient are not independent, so the patient is the unit. Each of K calibration patients weighs
1 / (K + 1), shared equally by the patient's labels, and 1 / (K + 1) lies at infinity for the
patient to come; the half width is the weighted quantile of the scores at the level. A label drawn
from those of a new patient then lies inside with at least that probability, whatever the predictor,
and however its errors are distributed.

Within a structure that has enough calibration patients this holds for the structure (Mondrian);
the others share one quantile and it holds on their average alone. It is no promise about the labels
that are bad: ``IntervalQuality.bad_coverage`` says how many of those lie inside.

A score is the error over an expected size that grows with the predicted risk, a fixed function, so
that good labels have narrow intervals without a second fit.

Source:
    Split conformal: Vovk, Gammerman and Shafer 2005; Lei et al. 2018. Weights of groups: Lee,
    Barber and Willett, "Distribution-free inference with hierarchical data", 2023; Dunn, Wasserman
    and Ramdas 2023 draw one label a patient instead. Interval score: Gneiting and Raftery 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.triage.score_table import Codes, Column, ScoreTable

Flags = npt.NDArray[np.bool_]

LEVEL = 0.9
LEAST_PATIENTS = 9
"""Below, no finite interval holds at 90 %: 9 of 10 is the first share that reaches it."""
OWN_PATIENTS = 30
"""From here on a structure has a quantile of its own; below, its own would be nearly as wide as the
largest error seen."""
BAD_DSC = 0.8

_SMALLEST = 0.02
"""Expected error of a label without any risk. Any value is valid; only widths depend on it."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Half widths of the intervals.

    Attributes:
        level: Share of labels that lie inside.
        quantile: By structure, in expected errors, shape (S,); NaN where there is no interval,
            infinity where the interval is [0, 1].
        patients: Calibration patients.
        words: Where they come from, for people.
    """

    level: float
    quantile: Column
    patients: int
    words: str

    def of(self, table: ScoreTable, predicted: Column) -> tuple[Column, Column]:
        """Return lower and upper ends in [0, 1], shape (N,) each; NaN where there is none."""
        half = self.quantile[table.structure] * _expected_error(predicted)
        low, high = (np.clip(predicted + sign * half, 0, 1) for sign in (-1, 1))
        return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalQuality:
    """How intervals do on labels that were not used to make them.

    Attributes:
        patients: Whose labels have an interval and a DSC.
        coverage: Mean over patients of the share of labels inside; NaN without any.
        median_width: Over labels.
        score: Mean interval score: width plus a penalty for what lies outside; lower is better.
        bad: Labels with a DSC below 0.8.
        bad_coverage: Share of those inside; NaN without any.
    """

    patients: int
    coverage: float
    median_width: float
    score: float
    bad: int
    bad_coverage: float


def fit_intervals(
    table: ScoreTable,
    predicted: Column,
    dsc: Column,
    *,
    level: float = LEVEL,
    rejected: Flags | None = None,
) -> Intervals:
    """Find how wide intervals must be.

    Args:
        table: Labels of the audit, of patients whom the predictor was not fitted on.
        predicted: Their predicted DSC, shape (N,); NaN counts nothing.
        dsc: With what was read, shape (N,); NaN counts nothing.
        level: Share of labels that is to lie inside.
        rejected: Labels that are bad by an unknown amount, shape (N,): outside of any interval.

    Raises:
        ValueError: The level is no share.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    scores = np.abs(dsc - predicted) / _expected_error(predicted)
    if rejected is not None:
        scores = np.where(rejected & np.isfinite(predicted), np.inf, scores)
    known = ~np.isnan(scores)
    read, scores = table.rows(known), scores[known]
    quantile, own = np.full(len(table.structures), np.nan), np.zeros(len(table.structures), bool)
    for code in np.unique(read.structure):
        of_structure = read.structure == code
        if len(np.unique(read.patient[of_structure])) >= OWN_PATIENTS:
            own[code] = True
            quantile[code] = _quantile(scores[of_structure], read.patient[of_structure], level)
    pooled = ~own[read.structure]
    quantile[~own] = _quantile(scores[pooled], read.patient[pooled], level)
    patients = len(np.unique(read.patient))
    return Intervals(level, quantile, patients, _words(level, patients, int(own.sum())))


def no_intervals(table: ScoreTable, *, level: float = LEVEL) -> Intervals:
    """Return intervals that are all unknown, for predictions that were not fitted."""
    words = "no interval: the predicted DSC is not fitted to reviews"
    return Intervals(level, np.full(len(table.structures), np.nan), 0, words)


def interval_quality(
    *, low: Column, high: Column, dsc: Column, patient: Codes, level: float = LEVEL
) -> IntervalQuality:
    """Measure intervals against the DSC of labels, each of shape (N,).

    Labels without an interval or without a DSC are left out.
    """
    known = np.isfinite(low) & np.isfinite(high) & np.isfinite(dsc)
    low, high, dsc, patient = low[known], high[known], dsc[known], patient[known]
    if len(dsc) == 0:
        nothing = float("nan")
        return IntervalQuality(
            patients=0,
            coverage=nothing,
            median_width=nothing,
            score=nothing,
            bad=0,
            bad_coverage=nothing,
        )
    inside = (low - _ROUNDING <= dsc) & (dsc <= high + _ROUNDING)
    _, place, counts = np.unique(patient, return_inverse=True, return_counts=True)
    outside = np.maximum(low - dsc, 0) + np.maximum(dsc - high, 0)
    bad = dsc < BAD_DSC
    return IntervalQuality(
        patients=len(counts),
        coverage=float(np.mean(np.bincount(place, weights=inside) / counts)),
        median_width=float(np.median(high - low)),
        score=float(np.mean(high - low + 2 / (1 - level) * outside)),
        bad=int(bad.sum()),
        bad_coverage=float(inside[bad].mean()) if bad.any() else float("nan"),
    )


def _expected_error(predicted: Column) -> Column:
    return _SMALLEST + (1 - predicted)


def _quantile(scores: Column, patient: Codes, level: float) -> float:
    """Return the weighted quantile; NaN for too few patients, infinity where none reaches it."""
    _, place, counts = np.unique(patient, return_inverse=True, return_counts=True)
    if len(counts) < LEAST_PATIENTS:
        return float("nan")
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(1 / ((len(counts) + 1) * counts[place][order]))
    reached = int(np.searchsorted(mass, level - _ROUNDING))
    return float(scores[order][reached]) if reached < len(scores) else float("inf")


def _words(level: float, patients: int, own: int) -> str:
    if patients < LEAST_PATIENTS:
        return (
            f"no interval: {patients} patients of the audit could be set apart, an interval needs "
            f"{LEAST_PATIENTS}"
        )
    apart = f"; {own} structures by themselves" if own else ""
    return f"{level:.0%} intervals from {patients} patients of the audit{apart}"
