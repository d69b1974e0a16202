"""What triage expects of labels, learned anew at each triage from what people said so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from configs.triage_priors import TriagePriors, load_triage_priors
from flows.read_labels import ReadLabels, Target, read_labels
from model.triage import conformal, predicted_dsc
from model.triage.conformal import Flags, Intervals, fit_intervals, no_intervals
from model.triage.edit_chance import EditChance, fit_edit_chance
from model.triage.estimates import Basis, Estimates
from model.triage.minutes import MinutesModel, fit_minutes
from model.triage.predicted_dsc import DscPredictor, fit_dsc
from model.triage.presence import PresenceModel, fit_presence
from model.triage.score_table import Codes, Column, ScoreTable
from storage.review_outcomes import ReviewOutcome
from storage.store import Store

Places = npt.NDArray[np.intp]

_MEANING: dict[Target, str] = {
    "edit_dsc": "edit_dsc: the AI's mask against its own correction, which is no accuracy",
    "independent_dsc": "independent_dsc: the AI's mask against readings made without it",
}


def estimate(store: Store, table: ScoreTable, *, committee_id: str, seed: int = 0) -> Estimates:
    """Estimate every label of a table from the reviews of one committee version.

    Patients of whom the audit's labels were read calibrate the intervals, by these labels alone; at
    most half of all, so that the others are enough to fit the predictor. Where too little was read,
    each estimate is a fallback that its words name.

    Args:
        store: The workspace; not to be called while its index is open.
        table: Scores of the committee's labels, in any order.
        committee_id: The committee version.
        seed: Of folds of patients.

    Raises:
        StorageError: The index cannot be read or written.
    """
    settings = store.settings.triage
    known = read_labels(store, committee_id, settings.target)
    predictor, intervals = _predictor(table, known, level=settings.level, seed=seed)
    dsc = predictor.predict(table)
    exposed = np.isin(table.case, _codes_of(table, known.trained))
    low, high = (np.where(exposed, np.nan, end) for end in intervals.of(table, dsc))
    presence = _presence(table, known)
    edits, minutes = _readers(table, known, dsc, load_triage_priors())
    return Estimates(
        dsc=dsc,
        low=low,
        high=high,
        presence=presence.predict(table),
        edit_chance=edits.predict(table, dsc),
        minutes=minutes.predict(table, dsc),
        opening_minutes=minutes.opening_minutes,
        basis=_basis(dsc, low),
        words="; ".join(
            (
                _MEANING[settings.target],
                predictor.words,
                intervals.words + _exposed_words(exposed, low, table),
                presence.words,
                edits.words,
                minutes.words,
            )
        ),
    )


def _codes_of(table: ScoreTable, case_ids: Collection[str]) -> list[int]:
    return [code for code, case_id in enumerate(table.case_ids) if case_id in case_ids]


def _exposed_words(exposed: Flags, low: Column, table: ScoreTable) -> str:
    """Say what has no interval though others have one: scores of learned cases flatter."""
    if not exposed.any() or not np.isfinite(low).any():
        return ""
    cases = len(np.unique(table.case[exposed]))
    return f", none on {cases} CTs that a member may have been trained on"


def _predictor(
    table: ScoreTable, known: ReadLabels, *, level: float, seed: int
) -> tuple[DscPredictor, Intervals]:
    """Return the predictor, fitted on some patients, and intervals by the audit's labels of others.

    The DSC is that of structures that are there: those confirmed to be absent teach presence alone.
    A fallback gets no interval: a number that was not fitted is not to look as if it had been.
    """
    rows = _matched(table, known.told, known)
    there = rows.column(lambda one: one.is_there)
    dsc = np.where(there == 1, known.dsc[rows.places], np.nan)
    audited = rows.flags(lambda one: one.audit)
    calibrates = _calibrating(rows.table.patient, audited, seed=seed)
    predictor = fit_dsc(rows.table.rows(~calibrates), dsc[~calibrates], seed=seed)
    used = audited & calibrates
    if predictor.model is None:
        return predictor, no_intervals(table, level=level)
    audit = rows.table.rows(used)
    intervals = fit_intervals(
        audit,
        predictor.predict(audit),
        dsc[used],
        level=level,
        rejected=rows.flags(lambda one: one.read is None)[used],
    )
    return predictor, intervals


def _calibrating(patient: Codes, audited: Flags, *, seed: int) -> Flags:
    """Return the rows of the patients who calibrate, shape (M,).

    They are drawn from those of the audit regardless of what was read, so that they stay
    exchangeable with new patients. None are where too few would be left to fit, or to calibrate.
    """
    everybody, ours = np.unique(patient), np.unique(patient[audited])
    most = min(len(everybody) // 2, len(everybody) - predicted_dsc.LEAST_PATIENTS)
    most = 0 if most < conformal.LEAST_PATIENTS else most
    drawn = np.random.default_rng(seed).permutation(ours)[:most]
    return np.isin(patient, drawn)


def _presence(table: ScoreTable, known: ReadLabels) -> PresenceModel:
    """Fit presence to what readers saw; a reading without the AI's mask goes before a review."""
    both = {(one.case_id, one.structure): one for one in (*known.reviews, *known.readings)}
    rows = _matched(table, list(both.values()), known)
    return fit_presence(rows.table, rows.column(lambda one: one.is_there))


def _readers(
    table: ScoreTable, known: ReadLabels, dsc: Column, priors: TriagePriors
) -> tuple[EditChance, MinutesModel]:
    """Fit what readers do, and how long they take, to reviews of the committee's own masks."""
    rows = _matched(table, [one for one in known.reviews if one.first_look], known)
    predicted = dsc[rows.rows]
    edits = fit_edit_chance(
        rows.table, predicted, rows.column(lambda one: one.is_changed), prior=priors.edit
    )
    minutes = fit_minutes(
        rows.table,
        predicted,
        rows.column(lambda one: one.active_s) / 60,
        opens=rows.flags(lambda one: one.opens),
        prior=priors.minutes,
    )
    return edits, minutes


def _basis(dsc: Column, low: Column) -> Basis:
    if np.isfinite(low).any():
        return "calibrated"
    return "uncalibrated" if np.isfinite(dsc).any() else "none"


@dataclass(frozen=True, slots=True, eq=False)
class _Matched:
    """Outcomes whose label stands in the table.

    Attributes:
        outcomes: M of them.
        places: Of each in the sequence that was given, shape (M,).
        rows: Of each in the table, shape (M,).
        table: These rows; patients are numbered as the index groups them.
    """

    outcomes: Sequence[ReviewOutcome]
    places: Places
    rows: Places
    table: ScoreTable

    def column(self, value: Callable[[ReviewOutcome], float | None]) -> Column:
        """Return a number of each outcome, shape (M,); NaN for None."""
        numbers = [value(one) for one in self.outcomes]
        return np.array([np.nan if one is None else one for one in numbers], np.float64)

    def flags(self, value: Callable[[ReviewOutcome], bool]) -> Flags:
        """Return whether something holds for each outcome, shape (M,)."""
        return np.array([value(one) for one in self.outcomes], np.bool_)


def _matched(table: ScoreTable, outcomes: Sequence[ReviewOutcome], known: ReadLabels) -> _Matched:
    cases = {name: place for place, name in enumerate(table.case_ids)}
    structures = {name: place for place, name in enumerate(table.structures)}
    keys = {
        cases[one.case_id] * len(structures) + structures[one.structure]: place
        for place, one in enumerate(outcomes)
        if one.case_id in cases and one.structure in structures
    }
    wanted = np.array(sorted(keys), np.int64)
    in_table = table.case.astype(np.int64) * len(structures) + table.structure
    rows = np.flatnonzero(np.isin(in_table, wanted))
    found, first = np.unique(in_table[rows], return_index=True)
    rows = rows[first]
    chosen = [outcomes[keys[int(key)]] for key in found]
    patients = np.array([known.patients[one.case_id] for one in chosen], np.int32)
    return _Matched(
        outcomes=chosen,
        places=np.array([keys[int(key)] for key in found], np.intp),
        rows=rows,
        table=replace(table.rows(rows), patient=patients),
    )
