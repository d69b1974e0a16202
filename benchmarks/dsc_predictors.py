"""Which regressor of the DSC to take: each on patients that neither it nor its penalty has seen.

Run: python -m benchmarks.dsc_predictors [--out FILE]

Scores are drawn from a law of ours, in which members disagree about as much as they err, structures
differ, and a part of the gross errors is shared by all members and cannot be seen. The figures say
which regressor suits such scores, and nothing of real readers. The outer split is by patient and
repeated; penalties are chosen by folds of patients inside of what is fitted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.isotonic import IsotonicRegression

from model.triage import predicted_dsc
from model.triage.predicted_dsc import fallback_dsc, fit_dsc, risks, structure_means
from model.triage.score_table import Column, ScoreTable, score_table

FITTED = (12, 20, 40, 200, 800)
REPEATS = 3
NEW_PATIENTS = 600
LABELS_EACH = 4
MEAN_ERROR = np.array([0.03, 0.035, 0.04, 0.15, 0.1, 0.18, 0.07, 0.2, 0.12, 0.22])
GROSS, SHARED = 0.06, 0.3
"""Share of gross errors, and of those the share that no score shows."""
BAD_DSC = 0.8

Predict = Callable[[ScoreTable, Column, ScoreTable], Column]


def main() -> None:
    """Measure, print the table, and write it where ``--out`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = report()
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Labels with their DSC."""

    table: ScoreTable
    dsc: Column

    def of(self, patients: slice) -> Drawn:
        """Return the labels of some patients."""
        chosen = np.arange(int(self.table.patient.max()) + 1)[patients]
        rows = np.isin(self.table.patient, chosen)
        return Drawn(self.table.rows(rows), self.dsc[rows])


def report() -> str:
    """Return the comparison as Markdown."""
    # Below its limit the product gives the fallback; here it is to be seen what that spares.
    predicted_dsc.LEAST_PATIENTS = predicted_dsc.LEAST_LABELS = 2
    lines = [
        "# Regressors of the DSC on drawn scores",
        "",
        f"{LABELS_EACH} labels a patient; {NEW_PATIENTS} new patients, means of {REPEATS} draws. "
        "Spearman: within structures, their mean. Bad found: share of the labels with a DSC below "
        f"{BAD_DSC} in the worst tenth.",
        "",
        "| patients fitted on | regressor | mean error | root mean square | Spearman | bad found |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for count in FITTED:
        for name, predict in REGRESSORS.items():
            found = np.mean([_figures(predict, count, seed) for seed in range(REPEATS)], axis=0)
            cells = " | ".join("-" if np.isnan(value) else f"{value:.3f}" for value in found)
            lines.append(f"| {count} | {name} | {cells} |")
    return "\n".join(lines) + "\n"


def draw(patients: int, seed: int) -> Drawn:
    """Draw labels of patients whose scans differ in difficulty."""
    rng = np.random.default_rng(seed)
    rows = patients * LABELS_EACH
    structure = np.concatenate(
        [rng.choice(len(MEAN_ERROR), LABELS_EACH, replace=False) for _ in range(patients)]
    )
    mean = MEAN_ERROR[structure]
    hard = np.repeat(rng.normal(0, 0.4, patients), LABELS_EACH)
    error = mean * np.exp(hard + rng.normal(0, 0.35, rows))
    gross = rng.random(rows) < GROSS
    error = np.clip(np.where(gross, np.maximum(error, rng.uniform(0.1, 0.9, rows)), error), 0, 1)
    hidden = gross & (rng.random(rows) < SHARED)
    seen = np.where(hidden, mean * np.exp(rng.normal(0, 0.3, rows)), error)
    patient = np.repeat(np.arange(patients), LABELS_EACH)
    table = score_table(
        case_ids=[str(number) for number in range(patients)],
        structures=[str(number) for number in range(len(MEAN_ERROR))],
        case=patient.astype(np.int32),
        patient=patient.astype(np.int32),
        structure=structure.astype(np.int32),
        scores=_scores(seen, mean, rng.uniform(0.8, 1.5, len(MEAN_ERROR))[structure], rng),
    )
    # Readers accept what is about as good as they can tell.
    return Drawn(table, np.where(error < 0.6 * mean, 1.0, 1 - error))


def _scores(
    seen: Column, mean: Column, scale: Column, rng: np.random.Generator
) -> dict[str, Column]:
    def noise(spread: float) -> Column:
        return rng.lognormal(0, spread, len(seen))

    return {
        "volume_ml": noise(1.0) * 50,
        "pairwise_dice": np.clip(1 - 1.1 * scale * seen * noise(0.35), 0, 1),
        "pairwise_dice_least": np.clip(1 - 1.5 * scale * seen * noise(0.4), 0, 1),
        "volume_spread": 0.5 * seen * noise(0.8),
        "self_consistency": np.clip(1 - 0.3 * np.sqrt(mean) * noise(0.3) - 0.2 * seen, 0, 1),
        "entropy_mean": 0.5 * np.sqrt(mean) * noise(0.3) + 0.3 * seen,
        "entropy_border": 0.6 * noise(0.15),
        "entropy_worst": 0.7 * noise(0.25) + 0.3 * seen,
        "inconsistency": 0.1 * noise(0.4) + 0.1 * seen,
        "overlap_exclusive": 0.02 * noise(1.0),
        "max_probability": np.clip(0.99 - 0.2 * seen * noise(0.5), 0, 1),
        "covering_members": np.full(len(seen), 3.0),
        "seeing_members": np.where(rng.random(len(seen)) < 0.5 * seen, 2.0, 3.0),
    }


def _figures(predict: Predict, count: int, seed: int) -> tuple[float, float, float, float]:
    drawn = draw(count + NEW_PATIENTS, seed)
    read, new = drawn.of(slice(None, count)), drawn.of(slice(count, None))
    predicted = predict(read.table, read.dsc, new.table)
    error, bad = predicted - new.dsc, new.dsc < BAD_DSC
    worst = np.argsort(predicted, kind="stable")[: len(bad) // 10]
    return (
        float(np.abs(error).mean()),
        float(np.sqrt(np.square(error).mean())),
        _within(predicted, new.dsc, new.table),
        float(bad[worst].sum() / bad.sum()),
    )


def _within(predicted: Column, truth: Column, table: ScoreTable) -> float:
    found = []
    for code in np.unique(table.structure):
        own = table.structure == code
        if own.sum() > 5 and np.ptp(predicted[own]) > 0 and np.ptp(truth[own]) > 0:
            found.append(stats.spearmanr(predicted[own], truth[own]).statistic)
    return float(np.mean(found)) if found else float("nan")


def _means(read: ScoreTable, dsc: Column, new: ScoreTable) -> Column:
    return structure_means(read, dsc)[new.structure]


def _agreement(read: ScoreTable, dsc: Column, new: ScoreTable) -> Column:
    return fallback_dsc(new)


def _isotonic(read: ScoreTable, dsc: Column, new: ScoreTable) -> Column:
    model = IsotonicRegression(out_of_bounds="clip")
    model.fit(np.nan_to_num(fallback_dsc(read)), dsc)
    return model.predict(np.nan_to_num(fallback_dsc(new)))


def _ours(read: ScoreTable, dsc: Column, new: ScoreTable) -> Column:
    return fit_dsc(read, dsc, seed=0).predict(new)


def _boosted(read: ScoreTable, dsc: Column, new: ScoreTable) -> Column:
    """Monotone boosting on the same scores and the structure's mean error in other patients."""
    means = 1 - structure_means(read, dsc)
    own = np.empty(len(dsc))
    for patient in np.unique(read.patient):
        rows = read.patient == patient
        own[rows] = 1 - structure_means(read.rows(~rows), dsc[~rows])[read.structure[rows]]
    columns, others = np.c_[(*risks(read), own)], np.c_[(*risks(new), means[new.structure])]
    known = np.isfinite(columns).any(axis=0)
    model = HistGradientBoostingRegressor(
        monotonic_cst=[1] * int(known.sum()),
        max_iter=100,
        max_leaf_nodes=8,
        learning_rate=0.06,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    model.fit(columns[:, known], 1 - dsc)
    return 1 - model.predict(others[:, known])


REGRESSORS: dict[str, Predict] = {
    "structure's mean": _means,
    "members' agreement as it is": _agreement,
    "isotonic in that agreement": _isotonic,
    "rising steps, pooled offsets (ours)": _ours,
    "monotone boosting": _boosted,
}


if __name__ == "__main__":
    main()
