"""Which case of which public dataset a CT is, and what is annotated there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import duckdb

from configs.connectors import Dataset, Overlap, is_within, load_datasets
from storage.label_import import record_versions
from storage.labels import LabelMask, source_labels
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

Pair = tuple[str, str]
"""Two case ids, the smaller one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetMembership:
    """What a dataset says of a case.

    Attributes:
        name: The case's name in the dataset, mostly a number.
        license: The dataset's licence flag.
        annotated: Structures that were looked for; every other one is unknown, not background.
        weak: Those of them that are kept for comparison only.
    """

    case_id: str
    dataset: str
    name: str
    license: str
    annotated: tuple[str, ...]
    weak: tuple[str, ...]

    @property
    def number(self) -> int | None:
        """The case's number in the dataset; None for another kind of name."""
        return int(self.name) if self.name.isdecimal() else None


def record_dataset_case(
    store: Store, membership: DatasetMembership, labels: Mapping[str, LabelMask]
) -> tuple[str, ...]:
    """Commit what a dataset says of a case: who it is there, what was looked for, and the labels.

    Args:
        store: The workspace; the masks' objects are stored already.
        membership: Its ``annotated`` are the keys of ``labels``.
        labels: Structure -> mask, ``ABSENT`` where the dataset looked and found nothing.

    Returns:
        The structures whose labels are new or changed. What is known already is not written again;
        what the dataset said before and no longer says, is weak from now on.
    """
    with store.transaction() as transaction:
        if membership not in dataset_cases(transaction.connection, case_id=membership.case_id):
            transaction.record_with_object(
                "dataset.case",
                {
                    "case_id": membership.case_id,
                    "dataset": membership.dataset,
                    "license": membership.license,
                    "annotated": list(membership.annotated),
                    "weak": list(membership.weak),
                },
                key="source",
                content={"name": membership.name},
            )
        source = f"dataset:{membership.dataset}"
        said = source_labels(transaction.connection, source, case_id=membership.case_id)
        withdrawn = {x.structure: x.mask for x in said if x.structure not in labels}
        return record_versions(
            transaction,
            membership.case_id,
            membership.dataset,
            {**withdrawn, **labels},
            weak=frozenset(membership.weak) | frozenset(withdrawn),
        )


def dataset_cases(
    connection: Connection, *, case_id: str | None = None
) -> tuple[DatasetMembership, ...]:
    """Return what datasets say of all cases, or of one."""
    rows = connection.execute(
        """SELECT case_id, dataset, name, license, annotated, weak FROM current_dataset_cases
           WHERE $case IS NULL OR case_id = $case ORDER BY seq""",
        {"case": case_id},
    ).fetchall()
    return tuple(
        DatasetMembership(
            case_id=case,
            dataset=dataset,
            name=name,
            license=flag,
            annotated=tuple(annotated),
            weak=tuple(weak),
        )
        for case, dataset, name, flag, annotated, weak in rows
    )


def license_flags(connection: Connection, case_ids: Collection[str]) -> dict[str, str]:
    """Return dataset -> licence flag of every dataset that some cases come from.

    A model that was trained on the cases inherits these flags.
    """
    wanted = set(case_ids)
    return {
        member.dataset: member.license
        for member in dataset_cases(connection)
        if member.case_id in wanted
    }


def overlapping_cases(members: Collection[DatasetMembership]) -> tuple[Pair, ...]:
    """Return the pairs of cases that are one scan as far as names in datasets tell.

    Two cases of one name in one dataset (an image that was processed anew); and cases of datasets
    that share scans by number. Where only a range is known to be shared, each of it pairs with each
    of the other's. Scans of equal content are one case already and pair with nothing.
    """
    by_dataset: dict[str, list[DatasetMembership]] = {}
    for member in members:
        by_dataset.setdefault(member.dataset, []).append(member)
    pairs: set[Pair] = set()
    for dataset, mine in by_dataset.items():
        pairs.update(_same_name(mine))
        connector = load_datasets().get(dataset)
        for overlap in connector.overlaps if connector is not None else ():
            pairs.update(_shared(mine, by_dataset.get(overlap.dataset, ()), overlap))
    return tuple(sorted(pairs))


def untold_overlaps(dataset: Dataset, present: Collection[str]) -> tuple[str, ...]:
    """Return the datasets of some that share scans with one, without numbers that would tell them.

    These are met by content and likeness alone.
    """
    told: dict[str, bool] = {}
    for first in load_datasets().values():
        for overlap in first.overlaps:
            if dataset.id in (first.id, overlap.dataset):
                other = overlap.dataset if first.id == dataset.id else first.id
                told[other] = told.get(other, False) or overlap.ids is not None
    return tuple(
        name for name in sorted(set(present)) if name != dataset.id and told.get(name) is False
    )


def _same_name(members: Collection[DatasetMembership]) -> set[Pair]:
    first: dict[str, str] = {}
    pairs: set[Pair] = set()
    for member in members:
        pairs.update(_pair(first.setdefault(member.name, member.case_id), member.case_id))
    return pairs


def _shared(
    mine: Collection[DatasetMembership], theirs: Collection[DatasetMembership], overlap: Overlap
) -> set[Pair]:
    if overlap.ids is None or overlap.their_ids is None:
        return set()
    offset = overlap.their_ids[0] - overlap.ids[0]
    inside = [member for member in theirs if is_within(member.number, overlap.their_ids)]
    by_number: dict[int | None, list[DatasetMembership]] = {}
    for member in inside:
        by_number.setdefault(member.number, []).append(member)
    pairs: set[Pair] = set()
    for member in mine:
        number = member.number
        if number is None or not is_within(number, overlap.ids):
            continue
        partners = by_number.get(number + offset, []) if overlap.same_order else inside
        for partner in partners:
            pairs.update(_pair(member.case_id, partner.case_id))
    return pairs


def _pair(first: str, second: str) -> set[Pair]:
    return set() if first == second else {(min(first, second), max(first, second))}
