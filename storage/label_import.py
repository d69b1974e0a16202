"""Committing the labels that a dataset brings for a case."""

from __future__ import annotations

import re
from collections.abc import Mapping

import duckdb
import numpy as np

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from storage.grid import Grid, affine_tuple
from storage.labels import LabelMask, source_labels, version_json
from storage.predictions import manifest_grid
from storage.store import Store, Transaction

Connection = duckdb.DuckDBPyConnection

_DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_dataset_name(name: str) -> None:
    """Refuse a name that would not read well in ``dataset:NAME``; raises UsageError."""
    if _DATASET_NAME.fullmatch(name) is None:
        raise UsageError(
            "a dataset's name has 1 to 64 letters, digits, '.', '_' and '-', the first a letter or "
            f"digit, got {name!r}"
        )


def case_grid(store: Store, connection: Connection, case_id: str) -> Grid | None:
    """Return the grid that new masks of a case are made on; None for an unknown case.

    It is the grid of the newest prediction, so that boxes of one case count alike; before the first
    prediction that of the file which made the case.
    """
    row = connection.execute(
        """SELECT c.shape, c.affine, p.prediction_id FROM cases c
           LEFT JOIN current_predictions p ON p.case_id = c.case_id WHERE c.case_id = ?""",
        [case_id],
    ).fetchone()
    if row is None:
        return None
    shape, affine, prediction_id = row
    if prediction_id is not None:
        return manifest_grid(store, prediction_id, connection)
    i, j, k = (int(length) for length in shape)
    return Grid(shape=(i, j, k), affine=affine_tuple(np.array(affine, np.float64).reshape(4, 4)))


def record_dataset_labels(
    store: Store, case_id: str, dataset: str, labels: Mapping[str, LabelMask]
) -> tuple[str, ...]:
    """Commit what a dataset says of a case in one journal line.

    Args:
        store: The workspace; the masks' objects are stored already.
        case_id: A known case.
        dataset: Name of the dataset.
        labels: Structure -> mask, ``ABSENT`` where the dataset looked and found nothing.

    Returns:
        The structures that are new or changed; without any, nothing is written.
    """
    with store.transaction() as transaction:
        return record_versions(transaction, case_id, dataset, labels)


def record_versions(
    transaction: Transaction,
    case_id: str,
    dataset: str,
    labels: Mapping[str, LabelMask],
    *,
    weak: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Commit a dataset's labels inside a transaction, as ``record_dataset_labels`` does.

    Args:
        transaction: Open on the workspace.
        case_id: A known case.
        dataset: Name of the dataset.
        labels: Structure -> mask.
        weak: Structures whose labels train and judge nothing.
    """
    check_dataset_name(dataset)
    versions = source_labels(transaction.connection, f"dataset:{dataset}", case_id=case_id)
    known = {version.structure: (version.mask, version.weak) for version in versions}
    changed = tuple(
        structure
        for structure in load_taxonomy().select(list(labels))
        if known.get(structure) != (labels[structure], structure in weak)
    )
    if changed:
        facts: dict[str, object] = {
            "case_id": case_id,
            "dataset": dataset,
            "versions": [version_json(name, labels[name], parent=None) for name in changed],
        }
        if weak & set(changed):
            facts["weak"] = sorted(weak & set(changed))
        transaction.record("labels.imported", facts)
    return changed
