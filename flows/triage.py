"""Rank the structures of all closed cases and write the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from flows.plausibility import check_cases
from flows.runs import recorded_run
from model.acquisition import MemberScore, QueueItem, StructureScore, rank_queue
from storage.model_registry import configured_committee
from storage.predictions import CONSENSUS
from storage.queue import QueueEntry, ScoreRecord, scores_of, write_queue
from storage.store import Store

POLICY = "disagreement"


def triage(store: Store) -> dict[str, int]:
    """Rank what the configured committee closed and write the queue as one snapshot.

    Returns:
        Entries by kind.

    Raises:
        ConfigError: The committee is not complete.
        StorageError: The workspace cannot be written to.
    """
    committee_id = configured_committee(store).committee_id
    threshold = store.settings.annotate.possibly_missed_probability
    facts = {"policy": POLICY, "committee": committee_id, "missed_probability": threshold}
    # Cases that were closed under other rules, or whose check failed, are caught up first.
    check_cases(store)
    with recorded_run(store, "triage", facts):
        with store.read() as connection:
            records = scores_of(connection, committee_id)
        items = rank_queue(list(structure_scores(records)), missed_probability=threshold)
        entries = [_entry(item) for item in items]
        write_queue(store, entries, committee_id=committee_id, policy=POLICY)
    counts = {"present": 0, "possibly_missed": 0}
    for entry in entries:
        counts[entry.kind] += 1
    return counts


def structure_scores(records: Sequence[ScoreRecord]) -> Iterator[StructureScore]:
    """Gather stored rows, sorted by case and structure, into one score a case and structure."""
    for (case_id, _), rows in groupby(records, key=lambda row: (row.case_id, row.structure)):
        gathered = list(rows)
        consensus = next(row for row in gathered if row.member == CONSENSUS)
        yield StructureScore(
            case_id=case_id,
            structure=consensus.structure,
            volume_ml=consensus.volume_ml or 0.0,
            pairwise_dice=consensus.pairwise_dice,
            self_consistency=consensus.self_consistency,
            max_probability=consensus.max_probability,
            members=tuple(_member(row) for row in gathered if row.member != CONSENSUS),
        )


def _member(row: ScoreRecord) -> MemberScore:
    return MemberScore(
        name=row.member,
        volume_ml=row.volume_ml or 0.0,
        pairwise_dice=row.pairwise_dice,
        max_probability=row.max_probability,
    )


def _entry(item: QueueItem) -> QueueEntry:
    return QueueEntry(
        position=item.rank,
        kind=item.kind,
        case_id=item.case_id,
        structure=item.structure,
        risk=round(item.risk, 6),
        reason=item.reason,
    )
