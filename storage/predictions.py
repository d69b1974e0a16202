"""Closing a case: one manifest object, one journal line, once per committee."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import duckdb

from configs.errors import Reason, StorageError
from storage.canonical_json import JsonObject, to_bytes
from storage.cases import is_closed
from storage.grid import Box, Grid
from storage.leases import drop_lease, run_of
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

CONSENSUS = "committee"
RAW = "off"
"""What a manifest says in place of rules where masks are as the networks draw them."""

# Enough to even out cases of different size, few enough to follow a machine that gets slower.
_RATE_CLOSINGS = 50

FlatBox = tuple[int, int, int, int, int, int]
"""Start and stop per axis of a crop on the file's grid: i0, i1, j0, j1, k0, k1."""


@dataclass(frozen=True, slots=True)
class StoredMask:
    """A mask of one structure by one member (or ``committee``), as an object.

    Attributes:
        box: Where the crop lies on the file's grid.
        voxels: Voxels inside the mask.
    """

    member: str
    structure: str
    object: str
    box: FlatBox
    voxels: int


@dataclass(frozen=True, slots=True)
class StoredMap:
    """A map for the reviewer (``uncertainty`` or ``disagreement``), cropped, 0 to 255."""

    kind: str
    structure: str
    object: str
    box: FlatBox


@dataclass(frozen=True, slots=True)
class StoredCandidate:
    """A place that may be a lesion, as the consensus sees it.

    Attributes:
        peak: Highest probability inside.
        centre: Voxel of the file's grid nearest to its centre of mass.
        host_share: Share of it inside the organs that it may lie in; None where these are not
            known.
        in_mask: Whether it is part of the stored mask. One that is not and has a peak above 0.5 was
            taken away by the rules of post-processing; the others are merely likely.
    """

    structure: str
    peak: float
    volume_ml: float
    centre: tuple[int, int, int]
    host_share: float | None
    in_mask: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that one committee says of one case.

    It holds no time and no run, so that an undisturbed run and one that was killed and restarted
    write the same object.

    Attributes:
        post_process: Object with the rules that the masks were made by; ``off`` for raw masks.
        candidates: Those of lesions.
        candidates_left_out: Structure -> how many more with lower peaks there were.
    """

    case_id: str
    committee_id: str
    members: tuple[JsonObject, ...]
    grid: Grid
    masks: tuple[StoredMask, ...]
    maps: tuple[StoredMap, ...]
    scores: tuple[JsonObject, ...]
    post_process: str = RAW
    candidates: tuple[StoredCandidate, ...] = ()
    candidates_left_out: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """Return the manifest as a JSON document."""
        return {
            "schema": 1,
            "case_id": self.case_id,
            "committee_id": self.committee_id,
            "members": list(self.members),
            "grid": self.grid.to_json(),
            "masks": [asdict(mask) for mask in self.masks],
            "maps": [asdict(stored) for stored in self.maps],
            "scores": list(self.scores),
            "post_process": self.post_process,
            "candidates": [asdict(one) for one in self.candidates],
            "candidates_left_out": dict(self.candidates_left_out),
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that a committee could not annotate."""

    case_id: str
    reason: str
    message: str


def close_case(
    store: Store,
    manifest: Manifest,
    *,
    run_id: str,
    seconds: float,
    facts: Mapping[str, object] | None = None,
) -> bool:
    """Commit a finished case; returns False when another process closed it first.

    Args:
        store: The workspace.
        manifest: What the committee says.
        run_id: The run, or one of its workers, that holds the lease.
        seconds: What the case took.
        facts: How it was computed, such as seconds by stage; for the journal's line alone.
    """
    digest = store.objects.put(to_bytes(manifest.to_json()))
    with store.transaction() as transaction:
        drop_lease(transaction.connection, manifest.case_id, manifest.committee_id, run_id)
        if is_closed(transaction.connection, manifest.case_id, manifest.committee_id):
            return False
        transaction.record(
            "case.annotated",
            {
                "case_id": manifest.case_id,
                "committee_id": manifest.committee_id,
                "run_id": run_of(run_id),
                "manifest": digest,
                "seconds": round(seconds, 3),
                **(facts or {}),
            },
        )
    return True


def record_failure(
    store: Store, case_id: str, committee_id: str, *, run_id: str, failure: tuple[Reason, str]
) -> None:
    """Commit that a case failed; the message may name a file, so it stays out of the journal."""
    reason, message = failure
    with store.transaction() as transaction:
        drop_lease(transaction.connection, case_id, committee_id, run_id)
        transaction.record_with_object(
            "case.failed",
            {
                "case_id": case_id,
                "committee_id": committee_id,
                "run_id": run_of(run_id),
                "reason": str(reason),
            },
            key="detail",
            content={"message": message},
        )


def run_outcomes(connection: Connection, run_id: str) -> tuple[list[str], list[Failure]]:
    """Return the cases that a run closed and those it failed on, in order."""
    closed = connection.execute(
        "SELECT case_id FROM closed_cases WHERE run_id = ? ORDER BY seq", [run_id]
    ).fetchall()
    failed = connection.execute(
        "SELECT case_id, reason, message FROM failures WHERE run_id = ? ORDER BY seq", [run_id]
    ).fetchall()
    return [row[0] for row in closed], [Failure(*row) for row in failed]


def closing_rate(connection: Connection, run_ids: Collection[str]) -> float | None:
    """Return how many cases a second some runs close, from the last closings; None before two."""
    row = connection.execute(
        """SELECT count(*), epoch(max(recorded_at)) - epoch(min(recorded_at)) FROM (
               SELECT recorded_at FROM predictions WHERE list_contains(?, run_id)
               ORDER BY recorded_at DESC LIMIT ?)""",
        [list(run_ids), _RATE_CLOSINGS],
    ).fetchone()
    count, seconds = row or (0, None)
    return (count - 1) / seconds if count > 1 and seconds else None


def open_failures(connection: Connection, committee_id: str) -> list[Failure]:
    """Return the cases that failed last time and were not closed since."""
    rows = connection.execute(
        "SELECT case_id, reason, message FROM open_failures WHERE committee_id = ? ORDER BY seq",
        [committee_id],
    ).fetchall()
    return [Failure(*row) for row in rows]


def masks_of(connection: Connection, prediction_id: str, structure: str) -> list[StoredMask]:
    """Return the masks of one structure in one prediction, the consensus first."""
    rows = connection.execute(
        """SELECT member, structure, object, box, voxels FROM masks
           WHERE prediction_id = ? AND structure = ? ORDER BY member <> ?, member""",
        [prediction_id, structure, CONSENSUS],
    ).fetchall()
    return [StoredMask(m, s, o, row_box(box), voxels) for m, s, o, box, voxels in rows]


def maps_of(connection: Connection, prediction_id: str, structure: str) -> list[StoredMap]:
    """Return the maps of one structure in one prediction."""
    rows = connection.execute(
        "SELECT kind, structure, object, box FROM maps WHERE prediction_id = ? AND structure = ?",
        [prediction_id, structure],
    ).fetchall()
    return [StoredMap(k, s, o, row_box(box)) for k, s, o, box in rows]


def masks_of_case(connection: Connection, prediction_id: str) -> dict[str, list[StoredMask]]:
    """Return structure -> its masks in one prediction, the consensus first."""
    rows = connection.execute(
        """SELECT member, structure, object, box, voxels FROM masks
           WHERE prediction_id = ? ORDER BY structure, member <> ?, member""",
        [prediction_id, CONSENSUS],
    ).fetchall()
    found: dict[str, list[StoredMask]] = {}
    for member, structure, digest, box, voxels in rows:
        mask = StoredMask(member, structure, digest, row_box(box), voxels)
        found.setdefault(structure, []).append(mask)
    return found


def maps_of_case(connection: Connection, prediction_id: str) -> dict[str, list[StoredMap]]:
    """Return structure -> its maps in one prediction."""
    rows = connection.execute(
        """SELECT kind, structure, object, box FROM maps
           WHERE prediction_id = ? ORDER BY structure, kind""",
        [prediction_id],
    ).fetchall()
    found: dict[str, list[StoredMap]] = {}
    for kind, structure, digest, box in rows:
        found.setdefault(structure, []).append(StoredMap(kind, structure, digest, row_box(box)))
    return found


def closed_predictions(connection: Connection, committee_id: str) -> dict[str, str]:
    """Return case id -> prediction id of every case that a committee closed."""
    return dict(
        connection.execute(
            "SELECT case_id, prediction_id FROM closed_cases WHERE committee_id = ? ORDER BY seq",
            [committee_id],
        ).fetchall()
    )


def current_prediction(connection: Connection, case_id: str) -> str:
    """Return the id of a case's newest prediction.

    Raises:
        StorageError: The case has none.
    """
    row = connection.execute(
        "SELECT prediction_id FROM current_predictions WHERE case_id = ?", [case_id]
    ).fetchone()
    if row is None:
        raise StorageError(f"no committee has annotated {case_id} yet")
    return row[0]


def flat_box(box: Box) -> FlatBox:
    """Return a box as the six numbers that a row holds."""
    (i0, i1), (j0, j1), (k0, k1) = box
    return (i0, i1, j0, j1, k0, k1)


def nested_box(box: FlatBox) -> Box:
    """Return a row's six numbers as a box."""
    i0, i1, j0, j1, k0, k1 = box
    return ((i0, i1), (j0, j1), (k0, k1))


def manifest_grid(store: Store, prediction_id: str, connection: Connection) -> Grid:
    """Return the grid that a prediction's boxes refer to.

    Raises:
        StorageError: No such prediction.
    """
    row = connection.execute(
        "SELECT manifest FROM predictions WHERE prediction_id = ?", [prediction_id]
    ).fetchone()
    if row is None:
        raise StorageError(f"no prediction {prediction_id} is known")
    return Grid.from_json(json.loads(store.objects.read(row[0]))["grid"])


def row_box(values: Sequence[int]) -> FlatBox:
    """Return the six numbers of a row or a JSON list as a box."""
    i0, i1, j0, j1, k0, k1 = values
    return (i0, i1, j0, j1, k0, k1)
