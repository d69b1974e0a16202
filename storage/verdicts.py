"""Verdicts: what a reader says about one structure of one case, with the versions that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, get_args

import duckdb

from configs.errors import ConflictError, UsageError
from configs.taxonomy import load_taxonomy
from storage.blind_items import check_not_reserved, known_check, open_keys, reserved_items
from storage.canonical_json import JsonObject
from storage.claims import check_claim, drop_claim
from storage.label_projection import version_id
from storage.labels import ABSENT, LabelMask, base_of, version_json
from storage.predictions import CONSENSUS
from storage.protocols import keep_protocol
from storage.readers import check_reader
from storage.roles import Action, check_allowed
from storage.store import Store, Transaction

Connection = duckdb.DuckDBPyConnection

VerdictKind = Literal["accept", "correct", "absent", "reject", "defer"]
Reading = Literal["review", "independent", "check"]

TAGS = (
    "under",
    "over",
    "wrong_side",
    "missed",
    "leak",
    "protocol",
    "image_defect",
    "cut_by_field_of_view",
    "not_assessable",
)


@dataclass(frozen=True, slots=True)
class LinkedMask:
    """A neighbour's new mask that goes with a correction.

    Attributes:
        base_version: What it was made from.
    """

    mask: LabelMask
    base_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a reader says.

    Attributes:
        reader: Name of the reader, without a colon or slash.
        reading: ``review``, ``independent``, or ``check``: a review whose truth is known, which
            trains and counts nowhere else. A review of an item that was assigned so becomes one.
        base_version: Version or prediction that the reader saw; None for an independent reading,
            which sees none.
        request_id: Made by the page once a click; a repeated request is answered, not recorded
            again.
        verified: A login vouches for the reader's name.
        restores: The older version, or the prediction, whose label this verdict brings back.
        opened_at: When the reader opened the item, UTC without a zone.
        active_s: Seconds of work on it, idle time left out.
        mask: The corrected or independently drawn mask; its object is stored already.
        linked: Neighbours that the correction changes too, by structure.
        voxels_changed: Voxels of the structure that differ from the base.
        protocol: Version of the protocol that was shown, whose object is stored already; the one
            that holds now when left out.
    """

    case_id: str
    structure: str
    verdict: VerdictKind
    reader: str
    base_version: str | None
    request_id: str
    opened_at: datetime
    active_s: float
    reading: Reading = "review"
    tags: tuple[str, ...] = ()
    mask: LabelMask | None = None
    linked: Mapping[str, LinkedMask] = field(default_factory=dict)
    voxels_changed: int = 0
    verified: bool = False
    restores: str | None = None
    protocol: str | None = None

    def __post_init__(self) -> None:
        if self.verdict not in get_args(VerdictKind):
            raise UsageError(f"a verdict is one of {get_args(VerdictKind)}, got {self.verdict!r}")
        unknown = [tag for tag in self.tags if tag not in TAGS]
        if unknown:
            raise UsageError(f"tags are {TAGS}, got {unknown}")
        check_reader(self.reader)
        if (self.verdict == "correct") != (self.mask is not None):
            raise UsageError(f"`correct`, and only it, brings a mask; got {self.verdict}")
        if self.linked and self.verdict != "correct":
            raise UsageError(f"only `correct` changes neighbours, got {self.verdict}")
        if self.restores is not None and self.verdict not in ("correct", "absent"):
            raise UsageError(f"only `correct` or `absent` brings a label back, got {self.verdict}")
        if self.restores is not None and self.reading != "review":
            raise UsageError(f"only a review brings a label back, got {self.reading}")
        if not self.active_s >= 0 or self.voxels_changed < 0:
            raise UsageError(
                f"active_s and voxels_changed must not be negative, got {self.active_s} and "
                f"{self.voxels_changed}"
            )


@dataclass(frozen=True, slots=True)
class GivenVerdict:
    """A verdict that is committed.

    Attributes:
        versions: Structure -> id of the label version that it made.
        repeated: The request was committed before; nothing was written now.
    """

    verdict_id: str
    versions: Mapping[str, str]
    repeated: bool


def give_verdict(store: Store, verdict: Verdict, *, now: datetime) -> GivenVerdict:
    """Commit a verdict, its label versions and its neighbours' in one journal line.

    An accepted mask becomes a version that names the same object; `absent` one without an object;
    `reject` and `defer` make none.

    Args:
        store: The workspace.
        verdict: What is said.
        now: The time that the claim must outlast, UTC without a zone.

    Raises:
        AccessError: The reader's role does not allow it.
        ConflictError: The claim is missing, expired or another reader's; the item, or a
            neighbour that it changes, is kept for another reader who is to judge it blind; or a
            base version, the structure's or a neighbour's, is not the newest any more. Nothing is
            written.
        UsageError: Structure, case or assignment is unknown.
    """
    (given,) = give_verdicts(store, [verdict], now=now)
    return given


def give_verdicts(
    store: Store, verdicts: Sequence[Verdict], *, now: datetime
) -> list[GivenVerdict]:
    """Commit several verdicts in one opening of the database, each by a journal line of its own.

    Args:
        store: The workspace.
        verdicts: What is said, in order.
        now: As for ``give_verdict``.

    Raises:
        AccessError: As ``give_verdict``; nothing is written.
        ConflictError: As ``give_verdict``; what was said before the verdict that is refused stands.
        UsageError: As ``give_verdict``; an unknown structure is found before anything is written.
    """
    taxonomy = load_taxonomy()
    for verdict in verdicts:
        for structure in (verdict.structure, *verdict.linked):
            _ = taxonomy[structure]
    shown = [_with_protocol(store, verdict) for verdict in verdicts]
    with store.transaction() as transaction:
        for verdict in shown:
            action = Action.READ if verdict.reading == "independent" else Action.JUDGE
            check_allowed(transaction.connection, verdict.reader, action)
        return [_give(transaction, verdict, now) for verdict in shown]


def _with_protocol(store: Store, verdict: Verdict) -> Verdict:
    if verdict.protocol is not None:
        return verdict
    return replace(verdict, protocol=keep_protocol(store, verdict.structure))


def _give(transaction: Transaction, verdict: Verdict, now: datetime) -> GivenVerdict:
    connection = transaction.connection
    before = _given(connection, verdict)
    if before is not None:
        return before
    if verdict.reading == "review" and known_check(
        connection, verdict.case_id, verdict.structure, reader=verdict.reader
    ):
        verdict = replace(verdict, reading="check")
    versions = (
        _reviewed(connection, verdict, now)
        if verdict.reading != "independent"
        else _read_independently(connection, verdict)
    )
    line = transaction.record("verdict.given", _facts(verdict, versions))
    drop_claim(connection, verdict.case_id, verdict.structure)
    made = {
        version["structure"]: version_id(line.line_hash, version["structure"])
        for version in versions
    }
    return GivenVerdict(line.line_hash, made, repeated=False)


def _given(connection: Connection, verdict: Verdict) -> GivenVerdict | None:
    row = connection.execute(
        "SELECT verdict_id FROM verdicts WHERE request_id = ?", [verdict.request_id]
    ).fetchone()
    if row is None:
        return None
    rows = connection.execute(
        "SELECT structure, version_id FROM label_versions WHERE verdict_id = ?", [row[0]]
    ).fetchall()
    return GivenVerdict(row[0], dict(rows), repeated=True)


def _reviewed(connection: Connection, verdict: Verdict, now: datetime) -> list[JsonObject]:
    """Return the versions that a review makes, after checking claim and bases."""
    case_id, structure = verdict.case_id, verdict.structure
    check_not_reserved(connection, case_id, structure, reader=verdict.reader, now=now)
    check_claim(connection, case_id, structure, reader=verdict.reader, now=now)
    current = _checked_base(connection, case_id, structure, verdict.base_version)
    if verdict.linked:
        _check_neighbours_free(connection, verdict, now)
    for name, linked in verdict.linked.items():
        _checked_base(connection, case_id, name, linked.base_version)
    _check_restored(connection, verdict)
    if verdict.verdict in ("reject", "defer"):
        return []
    mask = verdict.mask or (ABSENT if verdict.verdict == "absent" else current)
    return [
        version_json(structure, mask, parent=verdict.base_version),
        *(
            version_json(name, linked.mask, parent=linked.base_version, linked=True)
            for name, linked in sorted(verdict.linked.items())
        ),
    ]


def _check_neighbours_free(connection: Connection, verdict: Verdict, now: datetime) -> None:
    """Raise ConflictError if a neighbour waits for a blind look, another reader's or one's own.

    What the committee drew is to be judged; a correction in between would be judged instead.
    """
    kept = reserved_items(connection, verdict.case_id, reader=verdict.reader, now=now)
    own = open_keys(connection, verdict.reader)
    for name in sorted(verdict.linked):
        if (verdict.case_id, name) in own:
            raise ConflictError(
                f"{name} of {verdict.case_id} waits for your own blind look; judge it first, or "
                "save again without taking voxels from it"
            )
        if name in kept:
            raise ConflictError(
                f"{name} of {verdict.case_id} is kept for another reader until "
                f"{kept[name].until:%Y-%m-%d %H:%M} UTC, who judges it as it is; save again "
                "without taking voxels from it"
            )


def _read_independently(connection: Connection, verdict: Verdict) -> list[JsonObject]:
    """Return the version that a reading without the AI's mask makes; it needs an assignment."""
    if verdict.verdict in ("accept", "reject"):
        raise UsageError(
            f"an independent reading has no mask to {verdict.verdict}; give `correct` with the "
            "mask, `absent` or `defer`"
        )
    if verdict.base_version is not None or verdict.linked:
        raise UsageError("an independent reading starts from nothing and changes no neighbour")
    row = connection.execute(
        """SELECT (SELECT count(*) FROM assignments a WHERE a.case_id = $case
                   AND a.structure = $structure AND a.reader = $reader)
                - (SELECT count(*) FROM verdicts v WHERE v.case_id = $case
                   AND v.structure = $structure AND v.reader = $reader
                   AND v.reading = 'independent' AND v.verdict <> 'defer')""",
        {"case": verdict.case_id, "structure": verdict.structure, "reader": verdict.reader},
    ).fetchone()
    if row is None or row[0] <= 0:
        raise ConflictError(
            f"{verdict.reader} has no open reading of {verdict.structure} of {verdict.case_id}; "
            "assign one first"
        )
    if verdict.verdict == "defer":
        return []
    return [version_json(verdict.structure, verdict.mask or ABSENT, parent=None)]


def _checked_base(
    connection: Connection, case_id: str, structure: str, base_version: str | None
) -> LabelMask:
    base = base_of(connection, case_id, structure)
    if base is None:
        raise UsageError(f"{case_id} has no label to judge; annotate it first")
    newest, mask = base
    if newest != base_version:
        raise ConflictError(
            f"{structure} of {case_id} was changed meanwhile: this verdict is about version "
            f"{base_version}, the newest is {newest}; open the case again"
        )
    return mask


def _check_restored(connection: Connection, verdict: Verdict) -> None:
    """Raise UsageError unless the verdict's label is the one that it says it brings back."""
    if verdict.restores is None:
        return
    row = connection.execute(
        """SELECT object FROM label_versions
           WHERE version_id = $id AND case_id = $case AND structure = $structure
             AND reading = 'review'
           UNION ALL
           SELECT m.object FROM predictions p
           LEFT JOIN masks m ON m.prediction_id = p.prediction_id AND m.structure = $structure
                            AND m.member = $voter
           WHERE p.prediction_id = $id AND p.case_id = $case""",
        {
            "id": verdict.restores,
            "case": verdict.case_id,
            "structure": verdict.structure,
            "voter": CONSENSUS,
        },
    ).fetchone()
    given = None if verdict.mask is None else verdict.mask.object
    if row is None or row[0] != given:
        raise UsageError(
            f"{verdict.restores} is no label of {verdict.structure} of {verdict.case_id} with this "
            "mask; open the case again"
        )


def _facts(verdict: Verdict, versions: list[JsonObject]) -> JsonObject:
    return {
        "case_id": verdict.case_id,
        "structure": verdict.structure,
        "reading": verdict.reading,
        "verdict": verdict.verdict,
        "reader": verdict.reader,
        "tags": sorted(set(verdict.tags)),
        "base_version": verdict.base_version,
        "request_id": verdict.request_id,
        "opened_at": verdict.opened_at.isoformat(),
        "active_s": round(verdict.active_s, 1),
        "voxels_changed": verdict.voxels_changed,
        "verified": verdict.verified,
        "restores": verdict.restores,
        "protocol": verdict.protocol,
        "versions": versions,
    }
