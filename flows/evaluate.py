"""Compare a committee's consensus with known truth: DSC per structure and ranking quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.taxonomy import load_taxonomy
from model.metrics import Agreement, dice
from model.ranking_quality import Outcome, RankingQuality, ranking_quality
from storage.masks import decode_mask
from storage.model_registry import configured_committee
from storage.predictions import (
    CONSENSUS,
    closed_predictions,
    manifest_grid,
    masks_of,
    nested_box,
)
from storage.queue import read_queue
from storage.store import Store

Mask = npt.NDArray[np.bool_]
Truth = Callable[[], Mapping[str, Mask]]
"""Reads a case's true masks by structure, each on the case's RAS grid; only known structures."""

_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class StructureAccuracy:
    """DSC of one structure over cases, by the metrics policy.

    Attributes:
        dsc: Mean over cases where the truth or the consensus has a mask; ``None`` without one.
        cases: How many cases that mean is over.
        false_positives: Of those, cases where only the consensus has a mask; each counts as 0.
        agree_absent: Cases where neither has one; reported apart, never as 1.
    """

    structure: str
    dsc: float | None
    cases: int
    false_positives: int
    agree_absent: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy and ranking on cases with known truth.

    Attributes:
        macro_dsc: Mean over structures of their mean DSC.
        ranking: Of present structures that are really there, by the queue's risk.
    """

    accuracy: tuple[StructureAccuracy, ...]
    macro_dsc: float | None
    ranking: RankingQuality


def evaluate(store: Store, truths: Mapping[str, Truth]) -> Evaluation:
    """Compare the configured committee with the truth of some cases.

    Args:
        store: The workspace; the queue must be ranked.
        truths: Case id -> reader of the truth.
    """
    outcomes: dict[str, dict[str, float | Agreement]] = {}
    absent_in_truth: set[tuple[str, str]] = set()
    for case_id, read_truth in truths.items():
        truth = read_truth()
        outcomes[case_id] = _case_dice(store, case_id, truth)
        absent_in_truth.update((case_id, name) for name, mask in truth.items() if not mask.any())
    accuracy = tuple(_accuracy(outcomes, absent_in_truth))
    means = [entry.dsc for entry in accuracy if entry.dsc is not None]
    macro = float(np.mean(means)) if means else None
    return Evaluation(accuracy, macro, _ranking(store, outcomes, absent_in_truth))


def consensus_masks(store: Store, case_id: str, structures: Sequence[str]) -> dict[str, Mask]:
    """Return the consensus of a closed case, RAS, full grid; empty masks where there is none."""
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        prediction_id = closed_predictions(connection, committee_id)[case_id]
        grid = manifest_grid(store, prediction_id, connection)
        rows = {name: masks_of(connection, prediction_id, name) for name in structures}
    masks = {}
    for name, stored in rows.items():
        consensus = next((mask for mask in stored if mask.member == CONSENSUS), None)
        if consensus is None:
            masks[name] = np.zeros(grid.ras_shape, np.bool_)
        else:
            data = store.objects.read(consensus.object)
            masks[name] = decode_mask(data, nested_box(consensus.box), grid)
    return masks


def _case_dice(
    store: Store, case_id: str, truth: Mapping[str, Mask]
) -> dict[str, float | Agreement]:
    masks = consensus_masks(store, case_id, list(truth))
    return {name: dice(masks[name], truth[name]) for name in truth}


def _accuracy(
    outcomes: Mapping[str, Mapping[str, float | Agreement]],
    absent_in_truth: set[tuple[str, str]],
) -> list[StructureAccuracy]:
    result = []
    for name in load_taxonomy().names:
        found = {case: values[name] for case, values in outcomes.items() if name in values}
        scored = {case: value for case, value in found.items() if isinstance(value, float)}
        if found:
            result.append(
                StructureAccuracy(
                    structure=name,
                    dsc=float(np.mean(list(scored.values()))) if scored else None,
                    cases=len(scored),
                    false_positives=sum((case, name) in absent_in_truth for case in scored),
                    agree_absent=len(found) - len(scored),
                )
            )
    return result


def _ranking(
    store: Store,
    outcomes: Mapping[str, Mapping[str, float | Agreement]],
    absent_in_truth: set[tuple[str, str]],
) -> RankingQuality:
    with store.read() as connection:
        queue = read_queue(connection, kind="present", limit=_ALL)
    ranked = []
    for entry in (queued.entry for queued in queue):
        value = outcomes.get(entry.case_id, {}).get(entry.structure)
        if isinstance(value, float) and (entry.case_id, entry.structure) not in absent_in_truth:
            ranked.append(Outcome(structure=entry.structure, risk=entry.risk, dsc=value))
    return ranking_quality(ranked)
