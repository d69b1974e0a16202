"""Releases: frozen, hashed sets of labels, of which every later export and figure can be a copy.

Which label of a structure goes in, in this order:

1. nothing, where the last verdict is ``reject``: the structure is listed as left out;
2. the newest version that review made, "absent" included;
3. the consensus of the case's newest prediction, marked as unreviewed; absent where it is empty;
4. nothing and no mention, where the newest committee does not know the structure.

A release that requires approval holds what somebody judged and a second reader approved: both the
structure's last verdict and the one that made the label. What was judged and not approved is listed
as left out; an older approved version does not stand in for it.

Readings made without the AI's mask and labels of datasets measure agreement and are not released.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import duckdb

from configs.errors import StorageError, UsageError
from configs.taxonomy import load_taxonomy
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.labels import LabelVersion, current_labels
from storage.predictions import CONSENSUS, row_box
from storage.readers import Actor
from storage.released_labels import (
    LeftOut,
    ReleasedCase,
    ReleasedLabel,
    ReleasedVerdict,
    Review,
    case_from_json,
    case_to_json,
)
from storage.roles import Action, check_allowed
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

_JUDGED = ("accept", "correct", "absent")
_Least = Literal["annotated", "judged", "approved"]
"""What a label must have come through to go in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A frozen set of labels.

    Attributes:
        release_id: ``r-`` and 12 hex digits of the hash of its content.
        head_hash: The journal's last line when it was frozen.
        cases: By case id.
    """

    release_id: str
    name: str
    head_hash: str
    cases: tuple[ReleasedCase, ...]

    def case(self, case_id: str) -> ReleasedCase:
        """Return one case; raises UsageError when the release lacks it."""
        for case in self.cases:
            if case.case_id == case_id:
                return case
        raise UsageError(f"release {self.name} holds no case {case_id!r}")


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release as the index lists it."""

    release_id: str
    name: str
    items: str
    head_hash: str
    frozen_at: datetime


def freeze_release(
    store: Store,
    name: str | None = None,
    *,
    reviewed_only: bool = False,
    require_approval: bool = False,
    by: Actor | None = None,
) -> Release:
    """Freeze the labels as they are now; equal content is one release, frozen once.

    Args:
        store: The workspace.
        name: What to call it; its id when left out.
        reviewed_only: Leave out what nobody judged as a whole.
        require_approval: Leave out what no second reader approved, too.
        by: Who freezes: an admin, once somebody is registered.

    Returns:
        The release, under the name that it was first frozen with.

    Raises:
        AccessError: Who freezes is no admin.
        UsageError: There is nothing to release, or the name stands for other content.
    """
    with store.transaction() as transaction:
        connection = transaction.connection
        check_allowed(connection, by and by.name, Action.RELEASE)
        least = "approved" if require_approval else "judged" if reviewed_only else "annotated"
        cases = _current_cases(store, connection, least=least)
        if not cases:
            raise UsageError(f"a release needs labels, but no case was {least} yet")
        content: JsonObject = {"schema": 1, "cases": [case_to_json(case) for case in cases]}
        release_id = "r-" + sha256_hex(to_bytes(content))[:12]
        name = name or release_id
        known = _known(connection, release_id, name)
        if known is not None:
            return _release(store, known)
        head_hash = _head_hash(connection)
        line = transaction.record_with_object(
            "release.frozen",
            {
                "release_id": release_id,
                "name": name,
                "head_hash": head_hash,
                "by": by and by.name,
            },
            key="items",
            content=content,
        )
        row = ReleaseRow(release_id, name, line.data["items"], head_hash, line.at)
    return _release(store, row)


def read_release(store: Store, name: str) -> Release:
    """Return a release by name or id.

    Raises:
        UsageError: No such release.
    """
    with store.read() as connection:
        rows = releases(connection)
    for row in rows:
        if name in (row.name, row.release_id):
            return _release(store, row)
    listed = ", ".join(row.name for row in rows) or "none"
    raise UsageError(f"no release is called {name!r}; known are: {listed}")


def releases(connection: Connection) -> list[ReleaseRow]:
    """Return all releases, oldest first."""
    rows = connection.execute(
        "SELECT release_id, name, items, head_hash, recorded_at FROM releases ORDER BY seq"
    ).fetchall()
    return [ReleaseRow(*row) for row in rows]


def _known(connection: Connection, release_id: str, name: str) -> ReleaseRow | None:
    for row in releases(connection):
        if row.release_id == release_id:
            return row
        if name in (row.name, row.release_id):
            raise UsageError(
                f"a name stands for one release for good, but {name!r} is {row.release_id} and the "
                f"labels are now {release_id}; choose another name"
            )
    return None


def _head_hash(connection: Connection) -> str:
    row = connection.execute("SELECT line_hash FROM journal_position").fetchone()
    if row is None:
        raise StorageError("the database lost its place in the journal; run `atlasloop rebuild`")
    return row[0]


def _current_cases(store: Store, connection: Connection, *, least: _Least) -> list[ReleasedCase]:
    versions = _by_case(current_labels(connection))
    verdicts = _current_verdicts(connection)
    decisions = _current_decisions(connection)
    consensus = _consensus_labels(connection)
    members: dict[str, tuple[JsonObject, ...]] = {}
    rows = connection.execute(
        """SELECT c.case_id, c.content_id, p.prediction_id, p.manifest, p.committee_id
           FROM cases c JOIN current_predictions p ON p.case_id = c.case_id ORDER BY c.case_id"""
    ).fetchall()
    cases = []
    for case_id, content_id, prediction_id, manifest, committee_id in rows:
        given = verdicts.get(case_id, {})
        made = versions.get(case_id, {})
        chosen = [
            _decided(label, made.get(label.structure), decisions)
            for label in _chosen(consensus.get(case_id, {}), made, given)
        ]
        labels = tuple(label for label in chosen if _is_wanted(label, least))
        if not labels:
            continue
        if committee_id not in members:
            members[committee_id] = tuple(json.loads(store.objects.read(manifest))["members"])
        cases.append(
            ReleasedCase(
                case_id=case_id,
                content_id=content_id,
                prediction_id=prediction_id,
                manifest=manifest,
                committee_id=committee_id,
                members=members[committee_id],
                labels=labels,
                left_out=_left_out(given, labels if least == "approved" else None),
            )
        )
    return cases


def _is_wanted(label: ReleasedLabel, least: _Least) -> bool:
    if least == "annotated":
        return True
    is_approved = label.approved_by is not None
    return label.review == "reviewed" and (is_approved or least == "judged")


def _by_case(
    labels: Mapping[tuple[str, str], LabelVersion],
) -> dict[str, dict[str, LabelVersion]]:
    grouped: dict[str, dict[str, LabelVersion]] = {}
    for (case_id, structure), label in labels.items():
        grouped.setdefault(case_id, {})[structure] = label
    return grouped


def _current_verdicts(connection: Connection) -> dict[str, dict[str, ReleasedVerdict]]:
    rows = connection.execute(
        """SELECT case_id, structure, verdict_id, verdict, reader, tags, recorded_at
           FROM current_verdicts"""
    ).fetchall()
    grouped: dict[str, dict[str, ReleasedVerdict]] = {}
    for case_id, structure, verdict_id, verdict, reader, tags, at in rows:
        grouped.setdefault(case_id, {})[structure] = ReleasedVerdict(
            verdict_id=verdict_id,
            verdict=verdict,
            reader=reader,
            tags=tuple(tags),
            at=at.isoformat(),
        )
    return grouped


def _current_decisions(connection: Connection) -> dict[str, tuple[str, str]]:
    """Return verdict -> outcome and reviewer."""
    rows = connection.execute(
        "SELECT verdict_id, outcome, reviewer FROM current_decisions"
    ).fetchall()
    return {verdict_id: (outcome, reviewer) for verdict_id, outcome, reviewer in rows}


def _decided(
    label: ReleasedLabel, version: LabelVersion | None, decisions: Mapping[str, tuple[str, str]]
) -> ReleasedLabel:
    """Return a label with what a second reader said of its verdict and of its version's."""
    if label.verdict is None or version is None:
        return label
    ids = (label.verdict.verdict_id, str(version.verdict_id))
    said = [decisions.get(one, ("submitted", "")) for one in ids]
    outcomes = {outcome for outcome, _ in said}
    if "returned" in outcomes and label.review == "reviewed":
        return replace(label, review="returned")
    return replace(label, approved_by=said[0][1] if outcomes == {"approved"} else None)


def _consensus_labels(connection: Connection) -> dict[str, dict[str, ReleasedLabel]]:
    """Return case -> structure -> consensus of the newest prediction, absent ones too."""
    rows = connection.execute(
        """SELECT p.case_id, p.prediction_id, p.committee_id, p.recorded_at, s.structure, m.object,
                  m.box, coalesce(m.voxels, 0)
           FROM current_predictions p
           JOIN scores s ON s.prediction_id = p.prediction_id AND s.member = $consensus
           LEFT JOIN masks m ON m.prediction_id = p.prediction_id AND m.member = $consensus
                            AND m.structure = s.structure""",
        {"consensus": CONSENSUS},
    ).fetchall()
    grouped: dict[str, dict[str, ReleasedLabel]] = {}
    for case_id, prediction_id, committee_id, at, structure, digest, box, voxels in rows:
        grouped.setdefault(case_id, {})[structure] = ReleasedLabel(
            structure=structure,
            label_id=prediction_id,
            object=digest,
            box=None if box is None else row_box(box),
            voxels=voxels,
            source=f"committee:{committee_id}",
            review="unreviewed",
            verdict=None,
            parent=None,
            made_at=at.isoformat(),
        )
    return grouped


def _chosen(
    consensus: Mapping[str, ReleasedLabel],
    versions: Mapping[str, LabelVersion],
    verdicts: Mapping[str, ReleasedVerdict],
) -> list[ReleasedLabel]:
    """Return the labels of a case that go in, in the taxonomy's order."""
    labels = []
    for structure in load_taxonomy().names:
        verdict = verdicts.get(structure)
        if verdict is not None and verdict.verdict == "reject":
            continue
        if structure in versions:
            labels.append(_reviewed_label(versions[structure], verdict))
        elif structure in consensus:
            label = consensus[structure]
            labels.append(label if verdict is None else _deferred(label, verdict))
    return labels


def _reviewed_label(version: LabelVersion, verdict: ReleasedVerdict | None) -> ReleasedLabel:
    return ReleasedLabel(
        structure=version.structure,
        label_id=version.version_id,
        object=version.mask.object,
        box=version.mask.box,
        voxels=version.mask.voxels,
        source=version.source,
        review=_review_of(verdict),
        verdict=verdict,
        parent=version.parent,
        made_at=version.recorded_at.isoformat(),
    )


def _review_of(verdict: ReleasedVerdict | None) -> Review:
    if verdict is None:
        return "linked"
    return "reviewed" if verdict.verdict in _JUDGED else "deferred"


def _deferred(label: ReleasedLabel, verdict: ReleasedVerdict) -> ReleasedLabel:
    return replace(label, review="deferred", verdict=verdict)


def _left_out(
    verdicts: Mapping[str, ReleasedVerdict], approved: Sequence[ReleasedLabel] | None
) -> tuple[LeftOut, ...]:
    """Return what was rejected and, where labels are to be approved, what else was judged."""
    kept = {label.structure for label in approved or ()}
    missing = ("reject",) if approved is None else ("reject", *_JUDGED)
    return tuple(
        LeftOut(structure=name, verdict=verdicts[name])
        for name in load_taxonomy().names
        if name in verdicts and verdicts[name].verdict in missing and name not in kept
    )


def _release(store: Store, row: ReleaseRow) -> Release:
    content = json.loads(store.objects.read(row.items))
    if content.get("schema") != 1:
        raise StorageError(
            f"release {row.release_id} has schema {content.get('schema')}, this AtlasLoop reads 1; "
            "use the newer AtlasLoop that froze it"
        )
    return Release(
        release_id=row.release_id,
        name=row.name,
        head_hash=row.head_hash,
        cases=tuple(case_from_json(entry) for entry in content["cases"]),
    )
