"""Rank the structures of all closed cases and write the queue."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.attention import shipped_attention
from configs.errors import ConfigError
from configs.setting_sections import TriageSettings
from configs.taxonomy import load_taxonomy
from configs.triage import load_triage_facts
from flows.audit import audit
from flows.estimates import estimate
from flows.plausibility import check_cases
from flows.runs import recorded_run
from model.triage.estimates import Estimates
from model.triage.policies import Policy, Ranked, Ranking, ranked
from model.triage.reasons import ReasonFacts, reason
from model.triage.score_table import SCORES, ScoreTable, score_table
from storage.model_registry import configured_committee
from storage.queue import write_snapshot
from storage.score_columns import WORDS, ScoreColumns, score_columns
from storage.store import Store

_LOG = logging.getLogger(__name__)

KINDS = ("present", "possibly_missed")
_DIGITS = 6


def triage(store: Store, *, policy: Policy | None = None) -> dict[str, int]:
    """Rank what the configured committee closed and write the queue as one snapshot.

    Then readers' coming work is topped up with what is drawn at random for the audit.

    Args:
        store: The workspace.
        policy: Another than the settings'.

    Returns:
        Entries by kind.

    Raises:
        ConfigError: The committee is not complete, or a weight names an unknown structure.
        StorageError: The workspace cannot be written to.
    """
    committee_id = configured_committee(store).committee_id
    settings = store.settings.triage
    if policy is not None:
        settings = settings.model_copy(update={"policy": policy})
    facts = {
        "policy": settings.policy,
        "objective": settings.objective,
        "committee": committee_id,
    }
    # Cases that were closed under other rules, or whose check failed, are caught up first.
    check_cases(store)
    with recorded_run(store, "triage", facts):
        counts = write_ranking(store, committee_id, settings)
        _LOG.info(audit(store, committee_id).words)
    return counts


def write_ranking(store: Store, committee_id: str, settings: TriageSettings) -> dict[str, int]:
    """Rank what a committee closed, and commit the snapshot; see ``triage``."""
    with store.read() as connection:
        columns = score_columns(connection, committee_id)
    table = table_of(columns)
    estimates = estimate(store, table, committee_id=committee_id)
    result = ranked(
        table,
        estimates,
        ranking_of(settings, table.structures),
        among=queued_labels(columns, store.settings.annotate.possibly_missed_probability),
    )
    rows = _rows(columns, estimates, result)
    facts = {
        "policy": settings.policy,
        "objective": settings.objective,
        "basis": estimates.basis,
        "words": estimates.words,
        "opening_minutes": round(estimates.opening_minutes, _DIGITS),
    }
    write_snapshot(store, rows, committee_id=committee_id, facts=facts)
    return {kind: int(np.count_nonzero(rows["kind"] == kind)) for kind in KINDS}


def table_of(columns: ScoreColumns) -> ScoreTable:
    """Return stored scores as a table of labels."""
    numbers = dict(columns.numbers)
    there = numbers["volume_ml"] + np.nan_to_num(numbers["removed_ml"])
    with np.errstate(divide="ignore", invalid="ignore"):
        numbers["removed_share"] = numbers["removed_ml"] / there
    return score_table(
        case_ids=columns.case_ids,
        structures=columns.structures,
        case=columns.case,
        patient=columns.patient,
        structure=columns.structure,
        scores={name: numbers[name] for name in SCORES if name in numbers},
    )


def ranking_of(settings: TriageSettings, structures: Sequence[str]) -> Ranking:
    """Return how the settings have labels ranked.

    Raises:
        ConfigError: A weight names a structure that the taxonomy does not know.
    """
    facts = load_triage_facts()
    unknown = sorted(set(settings.weights) - set(load_taxonomy().names))
    if unknown:
        raise ConfigError(f"triage.weights names structures of the taxonomy, got {unknown}")
    return Ranking(
        policy=settings.policy,
        objective=settings.objective,
        weights=np.array([settings.weights.get(name, 1.0) for name in structures]),
        ceilings=np.array([facts.ceiling_of(name)[0] for name in structures]),
        attention_structures=shipped_attention().faithful.targets,
        seed=settings.seed,
        turns=settings.turns,
    )


def queued_labels(columns: ScoreColumns, missed_probability: float) -> npt.NDArray[np.bool_]:
    """Return which labels wait for a look: masks, and what a member sees or nearly sees."""
    numbers = columns.numbers
    return (
        (numbers["volume_ml"] > 0)
        | (numbers["seeing_members"] > 0)
        | (numbers["highest_probability"] >= missed_probability)
    )


def _rows(columns: ScoreColumns, estimates: Estimates, result: Ranked) -> dict[str, Any]:
    """Return the snapshot's columns, in order."""
    order = result.order
    names = np.array(columns.case_ids, object), np.array(columns.structures, object)
    drawn = columns.numbers["volume_ml"] > 0
    numbers = {
        "risk": result.risk,
        # Of no mask there is no DSC to predict.
        "predicted_dsc": np.where(drawn, estimates.dsc, np.nan),
        "dsc_low": np.where(drawn, estimates.low, np.nan),
        "dsc_high": np.where(drawn, estimates.high, np.nan),
        "presence": estimates.presence,
        "minutes": estimates.minutes,
        "gain": result.gain,
    }
    return {
        "position": np.arange(1, len(order) + 1),
        "kind": np.where(drawn[order], *KINDS).astype(object),
        "case_id": names[0][columns.case[order]],
        "structure": names[1][columns.structure[order]],
        "reason": np.array(reasons(columns, order), object),
        **{name: np.round(values[order], _DIGITS) for name, values in numbers.items()},
    }


def reasons(columns: ScoreColumns, order: npt.NDArray[np.intp]) -> list[str]:
    """Return why each label is in the queue, in words."""
    numbers = (_plain(columns.numbers[name][order]) for name in _REASON_NUMBERS)
    words = (columns.words[name][order].tolist() for name in WORDS)
    return [reason(ReasonFacts(*values)) for values in zip(*numbers, *words, strict=True)]


def _plain(column: npt.NDArray[np.float64]) -> list[float | None]:
    """Return a column as Python's numbers, None where it is not defined."""
    values = column.astype(object)
    values[np.isnan(column)] = None
    return values.tolist()


_REASON_NUMBERS = (
    "volume_ml",
    "covering_members",
    "seeing_members",
    "pairwise_dice",
    "tta_dice",
    "self_consistency",
    "highest_probability",
    "low_ml",
    "high_ml",
    "findings",
    "candidates",
    "candidate_peak",
)
"""Columns in the order of the fields of ``ReasonFacts``; its words follow in that of ``WORDS``."""
