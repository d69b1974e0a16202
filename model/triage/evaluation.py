"""How well triage does on labels whose truth is known: order, predicted DSC, intervals, minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from configs.triage_priors import TriagePriors
from model.ranking_quality import Outcome, RankingSummary, ranking_summary, share_found
from model.triage.conformal import (
    IntervalQuality,
    Intervals,
    fit_intervals,
    interval_quality,
    no_intervals,
)
from model.triage.edit_chance import EditChance, fit_edit_chance
from model.triage.estimates import Estimates
from model.triage.gain import Places
from model.triage.minutes import MinutesModel, fit_minutes
from model.triage.policies import POLICIES, Ranking, priority, ranked
from model.triage.predicted_dsc import DscPredictor, fit_dsc, structure_means
from model.triage.presence import PresenceModel, fit_presence
from model.triage.replay import (
    Curve,
    Expected,
    ReaderModel,
    Readings,
    TrueLabels,
    oracle_order,
    read,
    replay,
)
from model.triage.score_table import Column, ScoreTable

Flags = npt.NDArray[np.bool_]

BAD_DSC = 0.8
ORACLE = "oracle"
STRUCTURE_MEAN = "structure mean"
PREDICTED = "predicted DSC"
CORRECTED_ATTENTION = "attention, corrected"
WHOLE_GAIN = 0.95

LEARNED_FROM = ReaderModel(
    dsc_sd=0.02, tolerance=0.05, overlooked=0.1, misspecified=0.0, ceiling_error=0.0
)
"""The reader whose edits triage learns; another than the one that is replayed."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownLabels:
    """N labels with their truth.

    Attributes:
        table: What triage sees.
        dsc: Consensus against truth; NaN where the structure is not there, and nowhere else.
        present: Whether it is there.
    """

    table: ScoreTable
    dsc: Column
    present: Flags

    def rows(self, where: Flags | Places) -> KnownLabels:
        """Return some of the labels."""
        return KnownLabels(self.table.rows(where), self.dsc[where], self.present[where])

    @property
    def quality(self) -> Column:
        """DSC; where the structure is not there, 0 of a mask and 1 of none."""
        return np.where(self.present, self.dsc, ~(self.table["volume_ml"] > 0))


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """What is believed of N labels before anybody looks.

    Attributes:
        estimates: Triage's.
        baseline: Of whoever knows each label's structure and sees the mask.
        pace: Turns what there is to change into minutes.
    """

    estimates: Estimates
    baseline: Estimates
    pace: MinutesModel

    def rows(self, where: Flags | Places) -> Beliefs:
        """Return those of some of the labels."""
        return Beliefs(self.estimates.rows(where), self.baseline.rows(where), self.pace)


@dataclass(frozen=True, slots=True, eq=False)
class FittedTriage:
    """Everything that triage learns from labels that were read."""

    predictor: DscPredictor
    intervals: Intervals
    presence: PresenceModel
    edits: EditChance
    minutes: MinutesModel
    means: Column

    def beliefs(self, table: ScoreTable) -> Beliefs:
        """Return what is expected of labels."""
        dsc, means = self.predictor.predict(table), self.means[table.structure]
        low, high = self.intervals.of(table, dsc)
        estimates = Estimates(
            dsc=dsc,
            low=low,
            high=high,
            presence=self.presence.predict(table),
            edit_chance=self.edits.predict(table, dsc),
            minutes=self.minutes.predict(table, dsc),
            opening_minutes=self.minutes.opening_minutes,
            basis=self.predictor.basis,
            words=self.predictor.words,
        )
        baseline = blind_to_cases(table, means, self.edits, self.minutes)
        return Beliefs(estimates, baseline, self.minutes)

    def estimates(self, table: ScoreTable) -> Estimates:
        """Return triage's part of the same."""
        return self.beliefs(table).estimates


def blind_to_cases(
    table: ScoreTable, means: Column, edits: EditChance, minutes: MinutesModel
) -> Estimates:
    """Return what is expected of labels by whoever knows their structure and sees the mask.

    Args:
        table: The labels.
        means: DSC of each label's structure, shape (N,).
        edits: Chance of a change by DSC.
        minutes: By DSC.
    """
    nothing = np.full(len(table), np.nan)
    return Estimates(
        dsc=means,
        low=nothing,
        high=nothing,
        presence=(table["volume_ml"] > 0).astype(float),
        edit_chance=edits.predict(table, means),
        minutes=minutes.predict(table, means),
        opening_minutes=minutes.opening_minutes,
        basis="none",
        words="",
    )


def fit_triage(
    fitted: KnownLabels,
    calibration: KnownLabels,
    *,
    ceilings: Column,
    priors: TriagePriors,
    seed: int,
) -> FittedTriage:
    """Learn from labels as if readers had read them all.

    Times are not learned: the policy believes the priors, and the replayed reader differs. Where
    too little was read, predictions are a fallback without intervals, as they are in a workspace.

    Args:
        fitted: Labels of patients that everything but the intervals is fitted on.
        calibration: Of other patients, as an audit draws them.
        ceilings: By structure.
        priors: Of times and edits.
        seed: Of folds and of the reader whose edits are learned.
    """
    predictor = fit_dsc(fitted.table, fitted.dsc, seed=seed)
    believed = predictor.predict(fitted.table)
    nothing = np.full(len(fitted.table), np.nan)
    minutes = fit_minutes(
        fitted.table,
        believed,
        nothing,
        opens=np.zeros(len(nothing), np.bool_),
        prior=priors.minutes,
    )
    readings = _read(fitted, minutes, ceilings, np.random.default_rng(seed), LEARNED_FROM)
    return FittedTriage(
        predictor=predictor,
        intervals=_intervals(predictor, calibration),
        presence=fit_presence(fitted.table, fitted.present.astype(float)),
        edits=fit_edit_chance(
            fitted.table, believed, (readings.gain > 0).astype(float), prior=priors.edit
        ),
        minutes=minutes,
        means=structure_means(fitted.table, fitted.dsc),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DscErrors:
    """Mean absolute error of predicted DSC, of structures that are there.

    Attributes:
        predicted, structure_mean: Of the prediction, and of each structure's mean.
        bad_predicted, bad_structure_mean: The same of labels whose DSC is below 0.8.
        n, bad: Labels.
    """

    predicted: float
    structure_mean: float
    bad_predicted: float
    bad_structure_mean: float
    n: int
    bad: int


def dsc_errors(labels: KnownLabels, beliefs: Beliefs) -> DscErrors:
    """Compare predicted DSC with the truth, beside the means of structures.

    Labels that nothing is predicted of are left out of both.
    """
    expected = beliefs.estimates.dsc
    known = labels.present & np.isfinite(expected)
    dsc = labels.dsc[known]
    errors = (
        np.abs(expected[known] - dsc),
        np.abs(beliefs.baseline.dsc[known] - dsc),
    )
    bad = dsc < BAD_DSC
    return DscErrors(
        predicted=_mean(errors[0]),
        structure_mean=_mean(errors[1]),
        bad_predicted=_mean(errors[0][bad]),
        bad_structure_mean=_mean(errors[1][bad]),
        n=len(dsc),
        bad=int(bad.sum()),
    )


def coverage(labels: KnownLabels, beliefs: Beliefs) -> IntervalQuality:
    """Return how the intervals do on labels of structures that are there."""
    estimates = beliefs.estimates
    return interval_quality(
        low=estimates.low, high=estimates.high, dsc=labels.dsc, patient=labels.table.patient
    )


def drawn_coverage(labels: KnownLabels, beliefs: Beliefs) -> IntervalQuality:
    """Return how the intervals do on all drawn masks; one of nothing has a DSC of 0."""
    where = labels.table["volume_ml"] > 0
    drawn = labels.rows(where)
    return coverage(replace(drawn, dsc=drawn.quality), beliefs.rows(where))


def split_coverage(
    pool: KnownLabels, predictor: DscPredictor, *, splits: int, calibrate: int, seed: int
) -> list[IntervalQuality]:
    """Return how intervals do on patients of a pool, calibrated on others of it, drawn anew.

    Args:
        pool: Labels of patients whom the predictor was not fitted on.
        predictor: Fitted.
        splits: How many.
        calibrate: Patients that calibrate; the others are tested.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    patients = np.unique(pool.table.patient)
    found = []
    for _ in range(splits):
        chosen = np.isin(pool.table.patient, generator.permutation(patients)[:calibrate])
        own, rest = pool.rows(chosen), pool.rows(~chosen)
        intervals = _intervals(predictor, own)
        low, high = intervals.of(rest.table, predictor.predict(rest.table))
        found.append(interval_quality(low=low, high=high, dsc=rest.dsc, patient=rest.table.patient))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderQuality:
    """How well one score orders labels that are there.

    Attributes:
        within: Within structures, macro-averaged.
        within_good: The same of labels whose true DSC is above 0.8.
        found_5, found_10: Share of what is bad in the queue (a DSC below 0.8, a mask of nothing) in
            its first 5 and 10 %.
    """

    name: str
    within: RankingSummary
    within_good: RankingSummary
    found_5: float | None
    found_10: float | None


def order_qualities(
    labels: KnownLabels, beliefs: Beliefs, ranking: Ranking, *, queued: Flags
) -> list[OrderQuality]:
    """Compare predicted DSC, every policy, the structures' means and the truth itself.

    ``round_robin`` orders as ``disagreement`` does within structures, and is left out.

    Args:
        labels: With their truth.
        beliefs: Of the same labels.
        ranking: Weights and ceilings.
        queued: Labels that triage would queue, shape (N,).
    """
    estimates, table = beliefs.estimates, labels.table
    risks = {PREDICTED: 1 - estimates.dsc, STRUCTURE_MEAN: 1 - beliefs.baseline.dsc}
    for policy in POLICIES:
        chosen = replace(ranking, policy=policy)
        if policy == "expected_gain":
            risks[policy] = ranked(table, estimates, chosen).gain
        elif policy != "round_robin":
            risks[policy] = priority(table, chosen)
    share = table["attention_mm3"] / (1000 * np.maximum(table["volume_ml"], 1e-3))
    risks[CORRECTED_ATTENTION] = share
    risks[ORACLE] = 1 - labels.quality
    return [_order_quality(name, _known(risk), labels, queued) for name, risk in risks.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayQuality:
    """What an order brings per minute, over seeds.

    Attributes:
        name: Policy; with "per minute" where it is divided by predicted minutes.
        area: Mean share of the gain over the minutes.
        gap: Share of the way from random to the oracle.
        gap_low, gap_high: 5th and 95th percentile over seeds.
        minutes_95: Minutes to 95 % of the gain of reading everything, over those of all.
        against_attention: Those minutes over the attention policy's.

    Seeds in which reading brings nothing count nowhere; figures without a seed are NaN.
    """

    name: str
    area: float
    gap: float
    gap_low: float
    gap_high: float
    minutes_95: float
    against_attention: float


def replay_qualities(
    labels: KnownLabels,
    beliefs: Beliefs,
    ranking: Ranking,
    *,
    queued: Flags,
    reader: ReaderModel,
    seeds: Sequence[int],
) -> list[ReplayQuality]:
    """Replay every policy with readers and samples of patients that are drawn for each seed.

    Args:
        labels: Of the patients that are read.
        beliefs: What the policies know of them.
        ranking: Weights and ceilings.
        queued: Labels that triage would queue, shape (N,); the others are nobody's.
        reader: Draws what corrections bring and how long they take.
        seeds: At least five for a range that says something.

    Returns:
        One for each order, most of the gap closed first; nothing where no label is queued.
    """
    curves: dict[str, list[Curve]] = {}
    base, believed = labels.rows(queued), beliefs.rows(queued)
    if not len(base.table):
        return []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        sample, places = resampled(base, generator)
        known = believed.rows(places)
        readings = _read(sample, known.pace, ranking.ceilings, generator, reader)
        orders = _orders(sample.table, known, replace(ranking, seed=seed))
        orders[ORACLE] = oracle_order(readings, sample.table.case)
        for name, order in orders.items():
            curves.setdefault(name, []).append(replay(order, readings, sample.table.case))
    return _replay_rows(curves)


def resampled(labels: KnownLabels, generator: np.random.Generator) -> tuple[KnownLabels, Places]:
    """Draw as many patients as there are, with replacement; one drawn twice counts as two.

    Returns:
        The labels of the patients drawn, and where each of them stood.
    """
    by_patient = [
        np.flatnonzero(labels.table.patient == one) for one in np.unique(labels.table.patient)
    ]
    drawn = generator.integers(0, len(by_patient), len(by_patient))
    places = np.concatenate([by_patient[one] for one in drawn])
    copies = np.repeat(np.arange(len(drawn)), [len(by_patient[one]) for one in drawn])
    sample = labels.rows(places)
    pairs = np.stack([copies, sample.table.case], axis=1)
    _, case = np.unique(pairs, axis=0, return_inverse=True)
    table = replace(
        sample.table,
        case_ids=tuple(str(n) for n in range(int(case.max(initial=-1)) + 1)),
        case=case.astype(np.int32).reshape(-1),
        patient=copies.astype(np.int32),
    )
    return replace(sample, table=table), places


def _intervals(predictor: DscPredictor, calibration: KnownLabels) -> Intervals:
    table = calibration.table
    if predictor.model is None:
        return no_intervals(table)
    return fit_intervals(table, predictor.predict(table), calibration.dsc)


def _orders(table: ScoreTable, beliefs: Beliefs, ranking: Ranking) -> dict[str, Places]:
    estimates = beliefs.estimates
    orders: dict[str, Places] = {}
    for policy in POLICIES:
        chosen = replace(ranking, policy=policy)
        orders[policy] = ranked(table, estimates, chosen).order
        if policy not in ("expected_gain", "round_robin"):
            per_minute = replace(chosen, per_minute=True)
            orders[f"{policy} per minute"] = ranked(table, estimates, per_minute).order
    chosen = replace(ranking, policy="expected_gain")
    orders[STRUCTURE_MEAN] = ranked(table, beliefs.baseline, chosen).order
    return orders


def _replay_rows(curves: Mapping[str, Sequence[Curve]]) -> list[ReplayQuality]:
    areas = {name: np.array([one.area() for one in own]) for name, own in curves.items()}
    reached = {
        name: np.array([one.minutes_to(WHOLE_GAIN) / one.minutes[-1] for one in own])
        for name, own in curves.items()
    }
    random, oracle = areas["random_foreground"], areas[ORACLE]
    brings = np.array([one.gain[-1] > 0 for one in curves[ORACLE]])
    rows = []
    for name, area in areas.items():
        gap = ((area - random) / np.where(oracle > random, oracle - random, np.nan))[brings]
        gap = gap[np.isfinite(gap)]
        low, high = np.percentile(gap, [5, 95]) if len(gap) else (np.nan, np.nan)
        rows.append(
            ReplayQuality(
                name=name,
                area=_mean(area[brings]),
                gap=_mean(gap),
                gap_low=float(low),
                gap_high=float(high),
                minutes_95=_mean(reached[name][brings]),
                against_attention=_mean((reached[name] / reached["attention"])[brings]),
            )
        )
    return sorted(rows, key=lambda row: -np.nan_to_num(row.gap, nan=-np.inf))


def _read(
    labels: KnownLabels,
    minutes: MinutesModel,
    ceilings: Column,
    generator: np.random.Generator,
    reader: ReaderModel,
) -> Readings:
    """Draw a reader's work. Its minutes follow what there really is to change, in the mean."""
    table = labels.table
    moved = np.clip(
        ceilings + reader.ceiling_error * generator.standard_normal(len(ceilings)), 0, 1
    )
    really = np.where(labels.present, labels.dsc, 0.0)
    return read(
        TrueLabels(labels.quality, labels.present, moved[table.structure]),
        Expected(
            minutes.predict(table, np.where(labels.quality >= 1, 1.0, really)),
            minutes.opening_minutes,
            table.structure,
            table.case,
        ),
        reader=reader,
        generator=generator,
    )


def _known(risk: Column) -> Column:
    """Return a risk where labels without a number come last."""
    lowest = np.nanmin(risk) if np.isfinite(risk).any() else 0.0
    return np.nan_to_num(risk, nan=lowest - 1)


def _order_quality(name: str, risk: Column, labels: KnownLabels, queued: Flags) -> OrderQuality:
    there, table = labels.present, labels.table
    outcomes = [
        Outcome(structure=table.structures[code], risk=float(value), dsc=float(true))
        for code, value, true in zip(
            table.structure[there], risk[there], labels.dsc[there], strict=True
        )
    ]
    risk, quality = risk[queued], labels.quality[queued]
    return OrderQuality(
        name=name,
        within=ranking_summary(outcomes, bad_below=BAD_DSC),
        within_good=ranking_summary(outcomes, bad_below=BAD_DSC, only_above=BAD_DSC),
        found_5=share_found(risk, quality, looked_at=0.05, bad_below=BAD_DSC),
        found_10=share_found(risk, quality, looked_at=0.10, bad_below=BAD_DSC),
    )


def _mean(values: Column) -> float:
    return float(values.mean()) if len(values) else float("nan")
