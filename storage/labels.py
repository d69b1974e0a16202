"""Label versions: immutable masks, or "absent", of one structure of one case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from storage.approvals import outcomes
from storage.predictions import CONSENSUS, FlatBox, row_box

Connection = duckdb.DuckDBPyConnection


_COLUMNS = """v.version_id, v.verdict_id, v.case_id, v.structure, v.source, v.reading, v.linked,
    v.object, v.box, v.voxels, v.parent, v.seq, v.recorded_at,
    v.version_id IN (SELECT version_id FROM weak_labels)"""


@dataclass(frozen=True, slots=True)
class LabelMask:
    """What a label says about one structure.

    Attributes:
        object: The mask object; None where the structure is absent.
        box: Where the object lies on the file's grid; None where it is absent.
        voxels: Voxels inside.
    """

    object: str | None
    box: FlatBox | None
    voxels: int


ABSENT = LabelMask(None, None, 0)


@dataclass(frozen=True, slots=True)
class LabelVersion:
    """One version.

    Attributes:
        verdict_id: The verdict that made it; None for a dataset's label.
        source: ``reader:NAME`` or ``dataset:NAME``.
        reading: ``review`` (made from the AI's mask), ``independent`` (made without seeing it) or
            ``dataset``.
        linked: Changed only because a neighbour's correction took voxels from it or gave it some;
            nobody has judged it as a whole.
        parent: The version or prediction that it was made from.
        weak: A dataset's label that is kept for comparison; it trains and judges nothing.
    """

    version_id: str
    verdict_id: str | None
    case_id: str
    structure: str
    source: str
    reading: str
    linked: bool
    mask: LabelMask
    parent: str | None
    seq: int
    recorded_at: datetime
    weak: bool = False


def current_labels(
    connection: Connection, *, case_id: str | None = None
) -> dict[tuple[str, str], LabelVersion]:
    """Return (case, structure) -> the newest version that review made and did not reject."""
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM current_labels v
           WHERE $case IS NULL OR case_id = $case ORDER BY v.seq, v.structure""",  # noqa: S608 the columns are our literal
        {"case": case_id},
    ).fetchall()
    return {(row[2], row[3]): _version(row) for row in rows}


def training_labels(
    connection: Connection, *, approved_only: bool = False
) -> dict[tuple[str, str], LabelVersion]:
    """Return the labels that a human looked at as a whole: accepted, corrected or absent.

    A version that is only linked to a neighbour's correction counts when its structure was judged
    itself, before or after. A deferred, rejected or returned structure trains nothing.

    Args:
        connection: An open index.
        approved_only: A second reader approved both the structure's last verdict and the one that
            made the label, which is a neighbour's where it changed along. An older approved version
            does not stand in for a newer one that waits.
    """
    decided = outcomes(connection)
    wanted = {"approved"} if approved_only else {"approved", None}
    judged = {
        (case_id, structure)
        for case_id, structure, verdict_id in connection.execute(
            """SELECT case_id, structure, verdict_id FROM current_verdicts
               WHERE verdict IN ('accept', 'correct', 'absent')"""
        ).fetchall()
        if decided.get(verdict_id) in wanted
    }
    return {
        key: label
        for key, label in current_labels(connection).items()
        if key in judged and decided.get(str(label.verdict_id)) in wanted
    }


def reference_labels(
    connection: Connection, *, role: str, approved_only: bool = False
) -> dict[tuple[str, str], LabelVersion]:
    """Return the label that judges a model on each structure of the patients with a role.

    A reading made without the AI's mask comes first, since a review leans toward the champion; a
    dataset's label next; then a review, an approved one where ``approved_only``. The newest of a
    kind counts.
    """
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM label_versions v
           JOIN current_patients p ON p.case_id = v.case_id
           JOIN current_splits s ON s.patient_id = p.patient_id
           WHERE s.role = ? AND v.reading IN ('independent', 'dataset')
           ORDER BY v.reading <> 'dataset', v.seq""",  # noqa: S608 the columns are our literal
        [role],
    ).fetchall()
    judged = {
        row[0]
        for row in connection.execute(
            """SELECT p.case_id FROM current_patients p
               JOIN current_splits s ON s.patient_id = p.patient_id WHERE s.role = ?""",
            [role],
        ).fetchall()
    }
    reviews = training_labels(connection, approved_only=approved_only)
    labels = {key: label for key, label in reviews.items() if key[0] in judged}
    labels.update(_strong(map(_version, rows)))
    return labels


def dataset_labels(connection: Connection) -> dict[tuple[str, str], LabelVersion]:
    """Return the newest imported label of each structure of each case; weak ones do not count."""
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM label_versions v WHERE v.reading = 'dataset'
           ORDER BY v.seq"""  # noqa: S608 the columns are our literal
    ).fetchall()
    return _strong(map(_version, rows))


def label_history(connection: Connection, case_id: str, structure: str) -> list[LabelVersion]:
    """Return every version of a structure of a case, oldest first."""
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM label_versions v
           WHERE case_id = ? AND structure = ? ORDER BY seq""",  # noqa: S608 the columns are our literal
        [case_id, structure],
    ).fetchall()
    return [_version(row) for row in rows]


def source_labels(
    connection: Connection, source: str, *, case_id: str | None = None
) -> list[LabelVersion]:
    """Return every version that a reader or dataset made, oldest first.

    Args:
        connection: An open index.
        source: ``reader:NAME`` or ``dataset:NAME``.
        case_id: Only those of this case.
    """
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM label_versions v
           WHERE source = $source AND ($case IS NULL OR case_id = $case)
           ORDER BY seq, structure""",  # noqa: S608 the columns are our literal
        {"source": source, "case": case_id},
    ).fetchall()
    return [_version(row) for row in rows]


def base_of(connection: Connection, case_id: str, structure: str) -> tuple[str, LabelMask] | None:
    """Return the id and mask that a correction made now would start from; see ``bases_of``.

    Returns:
        None when the case has neither version nor prediction.
    """
    return bases_of(connection, case_id, [structure]).get(structure)


def bases_of(
    connection: Connection, case_id: str, structures: Sequence[str]
) -> dict[str, tuple[str, LabelMask]]:
    """Return, by structure, the id and mask that a correction made now would start from.

    It is the newest version of the reviews, rejected or not, else the consensus of the newest
    prediction, whose id is the prediction's. A structure without either is left out.
    """
    wanted = {"case": case_id, "structures": list(structures)}
    rows = connection.execute(
        """SELECT version_id, structure, object, box, voxels FROM label_versions
           WHERE case_id = $case AND reading = 'review' AND list_contains($structures, structure)
           ORDER BY seq""",
        wanted,
    ).fetchall()
    versions = {structure: (base, label_mask(*mask)) for base, structure, *mask in rows}
    return {**_consensus_of(connection, case_id, structures), **versions}


def _consensus_of(
    connection: Connection, case_id: str, structures: Sequence[str]
) -> dict[str, tuple[str, LabelMask]]:
    row = connection.execute(
        "SELECT prediction_id FROM current_predictions WHERE case_id = ?", [case_id]
    ).fetchone()
    if row is None:
        return {}
    masks = connection.execute(
        "SELECT structure, object, box, voxels FROM masks WHERE prediction_id = ? AND member = ?",
        [row[0], CONSENSUS],
    ).fetchall()
    drawn = {structure: label_mask(*mask) for structure, *mask in masks}
    return {structure: (row[0], drawn.get(structure, ABSENT)) for structure in structures}


def versions_of_case(connection: Connection, case_id: str) -> list[LabelVersion]:
    """Return every version of the reviews of a case, oldest first."""
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM label_versions v
           WHERE case_id = ? AND reading = 'review' ORDER BY seq, structure""",  # noqa: S608 our literal
        [case_id],
    ).fetchall()
    return [_version(row) for row in rows]


def version_json(
    structure: str, mask: LabelMask, *, parent: str | None, linked: bool = False
) -> dict[str, Any]:
    """Return a version as it stands in a journal line."""
    return {
        "structure": structure,
        "object": mask.object,
        "box": None if mask.box is None else list(mask.box),
        "voxels": mask.voxels,
        "parent": parent,
        "linked": linked,
    }


def _strong(versions: Iterable[LabelVersion]) -> dict[tuple[str, str], LabelVersion]:
    """Return (case, structure) -> the last of some versions, after each source's newest word.

    A source's weak label withdraws the strong one that it gave before.
    """
    newest = {(v.case_id, v.structure, v.source): v for v in versions}
    kept = [version for version in newest.values() if not version.weak]
    return {(v.case_id, v.structure): v for v in sorted(kept, key=_authority)}


def _authority(version: LabelVersion) -> tuple[bool, int]:
    return (version.reading != "dataset", version.seq)


def _version(row: tuple[Any, ...]) -> LabelVersion:
    digest, box, voxels = row[7:10]
    return LabelVersion(
        version_id=row[0],
        verdict_id=row[1],
        case_id=row[2],
        structure=row[3],
        source=row[4],
        reading=row[5],
        linked=row[6],
        mask=label_mask(digest, box, voxels),
        parent=row[10],
        seq=row[11],
        recorded_at=row[12],
        weak=row[13],
    )


def label_mask(digest: str | None, box: Sequence[int] | None, voxels: int) -> LabelMask:
    """Return what a row says: a mask, or ``ABSENT`` where it names no object."""
    if digest is None or box is None:
        return ABSENT
    return LabelMask(digest, row_box(box), voxels)
