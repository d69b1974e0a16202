"""Label sources by name: whose labels of which cases there are, and how each of them was made."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import duckdb

from configs.errors import UsageError
from storage.approvals import outcomes
from storage.labels import LabelMask, LabelVersion, label_mask, source_labels
from storage.predictions import CONSENSUS
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

Origin = Literal["ai", "edit", "independent", "dataset"]
SourceKind = Literal["committee", "member", "reader", "dataset"]
Key = tuple[str, str]
"""Case id and structure."""

_INDEPENDENT = re.compile(r"(?P<name>[^/]+)/independent(?::(?P<reading>[1-9][0-9]{0,3}))?")
_FORMS = (
    "committee, committee:ID, member:NAME, reader:NAME, reader:NAME/independent, "
    "reader:NAME/independent:2 or dataset:NAME"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSource:
    """Whose labels are meant.

    Attributes:
        kind: What it is.
        name: Of the member, reader or dataset; the committee's id; empty for the newest prediction
            of each case, whichever committee made it.
        reading: Number of the reader's independent reading, from 1; 0 for the reader's reviews.
    """

    kind: SourceKind
    name: str = ""
    reading: int = 0

    def __str__(self) -> str:
        if not self.name:
            return self.kind
        number = f":{self.reading}" if self.reading > 1 else ""
        return f"{self.kind}:{self.name}{'/independent' if self.reading else ''}{number}"

    @property
    def is_model(self) -> bool:
        """Whether a model made the labels."""
        return self.kind in ("committee", "member")


class LeftOut(StrEnum):
    """Why what a reader did gives no label to compare."""

    REJECTED = "rejected: counts as bad, but there is no mask to compare"
    DEFERRED = "deferred: the reader was not sure"
    RETURNED = "returned by a second reader: not the reader's last word"
    LINKED = "changed only along with a neighbour's correction, not judged as a whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLabel:
    """One label of a source.

    Attributes:
        mask: What it says; ``ABSENT`` where the source looked and saw nothing.
        origin: ``edit`` is everything made after seeing the AI's mask, a reading that was assigned
            as independent included.
        label_id: The version, or the prediction where a model made it.
        base: For an edit of a review, the prediction at the root of the versions it came from.
        maker: The committee's id, or the source itself.
        saw_ai: An independent reading whose reader had reviewed the AI's mask before.
    """

    mask: LabelMask
    origin: Origin
    label_id: str
    base: str | None = None
    maker: str = ""
    saw_ai: bool = False


@dataclass(frozen=True, slots=True)
class SourceLabels:
    """All labels of a source, and what was left out and why; both by case and structure."""

    source: LabelSource
    labels: Mapping[Key, SourceLabel]
    left_out: Mapping[Key, LeftOut]


@dataclass(frozen=True, slots=True)
class SourceCount:
    """How much a source holds."""

    source: LabelSource
    cases: int
    structures: int
    labels: int


@dataclass(frozen=True, slots=True)
class _Given:
    verdict_id: str
    verdict: str


def parse_source(text: str) -> LabelSource:
    """Return the source that a name stands for; whether it holds anything is not looked at.

    Raises:
        UsageError: The text is none of the forms.
    """
    kind, colon, name = text.partition(":")
    if kind == "committee" and (name or not colon):
        return LabelSource(kind="committee", name=name)
    if kind == "member" and name:
        return LabelSource(kind="member", name=name)
    if kind == "dataset" and name:
        return LabelSource(kind="dataset", name=name)
    if kind == "reader" and name:
        found = _INDEPENDENT.fullmatch(name)
        if found is not None:
            return LabelSource(
                kind="reader", name=found["name"], reading=int(found["reading"] or 1)
            )
        if "/" not in name:
            return LabelSource(kind="reader", name=name)
    raise UsageError(f"a label source is {_FORMS}; got {text!r}")


def list_sources(connection: Connection) -> list[SourceCount]:
    """Return every source that holds a label: models first, then readers and datasets."""
    rows = connection.execute(_COUNTS).fetchall()
    return [
        SourceCount(LabelSource(kind=kind, name=name, reading=reading), cases, structures, labels)
        for kind, name, reading, cases, structures, labels in rows
    ]


def known_sources(store: Store) -> list[SourceCount]:
    """Return every source that holds a label in a workspace."""
    with store.read() as connection:
        return list_sources(connection)


def labels_of(connection: Connection, source: LabelSource) -> SourceLabels:
    """Return the labels of a source.

    A model covers a structure as absent where it has a score of it but no mask.

    Raises:
        UsageError: The source holds nothing; the message lists those that do.
    """
    if source.is_model:
        found = SourceLabels(source, _model_labels(connection, source), {})
    elif source.kind == "dataset":
        found = SourceLabels(source, _dataset_labels(connection, source), {})
    elif source.reading:
        found = _independent_labels(connection, source)
    else:
        found = _review_labels(connection, source)
    if not found.labels and not found.left_out:
        known = ", ".join(str(count.source) for count in list_sources(connection)) or "none"
        raise UsageError(f"{source} holds no label; sources that do are: {known}")
    return found


def _model_labels(connection: Connection, source: LabelSource) -> dict[Key, SourceLabel]:
    """Return what one voter says in the newest prediction, of each case, that it took part in."""
    rows = connection.execute(
        """SELECT p.case_id, s.structure, p.prediction_id, p.committee_id, m.object, m.box,
                  coalesce(m.voxels, 0)
           FROM predictions p
           JOIN scores s ON s.prediction_id = p.prediction_id AND s.member = $voter
           LEFT JOIN masks m ON m.prediction_id = p.prediction_id AND m.member = $voter
                            AND m.structure = s.structure
           WHERE $committee IS NULL OR p.committee_id = $committee
           QUALIFY rank() OVER (PARTITION BY p.case_id ORDER BY p.seq DESC) = 1
           ORDER BY p.seq, s.structure""",
        {
            "voter": source.name if source.kind == "member" else CONSENSUS,
            "committee": (source.name or None) if source.kind == "committee" else None,
        },
    ).fetchall()
    return {
        (case_id, structure): SourceLabel(
            mask=label_mask(digest, box, voxels),
            origin="ai",
            label_id=prediction_id,
            maker=committee_id,
        )
        for case_id, structure, prediction_id, committee_id, digest, box, voxels in rows
    }


def _dataset_labels(connection: Connection, source: LabelSource) -> dict[Key, SourceLabel]:
    return {
        (version.case_id, version.structure): SourceLabel(
            mask=version.mask,
            origin="dataset",
            label_id=version.version_id,
            maker=str(source),
        )
        for version in source_labels(connection, str(source))
    }


def _review_labels(connection: Connection, source: LabelSource) -> SourceLabels:
    """Return the newest version of each structure that the reader judged as a whole."""
    versions = {
        (version.case_id, version.structure): version
        for version in _versions(connection, source.name, reading="review")
    }
    last = _last_verdicts(connection, source.name, reading="review")
    returned = {verdict for verdict, said in outcomes(connection).items() if said == "returned"}
    parents = _parents(connection)
    labels: dict[Key, SourceLabel] = {}
    left_out: dict[Key, LeftOut] = {}
    for key in sorted(versions.keys() | last.keys()):
        version, given = versions.get(key), last.get(key)
        why = _why_left_out(version, given, returned)
        if version is None or why is not None:
            left_out[key] = why or LeftOut.LINKED
            continue
        labels[key] = SourceLabel(
            mask=version.mask,
            origin="edit",
            label_id=version.version_id,
            base=_root(version, parents),
            maker=str(source),
        )
    return SourceLabels(source, labels, left_out)


def _why_left_out(
    version: LabelVersion | None, given: _Given | None, returned: Collection[str]
) -> LeftOut | None:
    """Return why a review's newest version is not compared; a return covers what it changed along.

    Args:
        version: The reader's newest of the structure.
        given: The reader's last verdict on it.
        returned: Verdicts that a second reader returned.
    """
    made_by = {given and given.verdict_id, version and version.verdict_id}
    if made_by & set(returned):
        return LeftOut.RETURNED
    if given is None:
        return LeftOut.LINKED
    return {"reject": LeftOut.REJECTED, "defer": LeftOut.DEFERRED}.get(given.verdict)


def _independent_labels(connection: Connection, source: LabelSource) -> SourceLabels:
    """Return the reader's n-th independent version of each structure."""
    readings: dict[Key, list[LabelVersion]] = {}
    for version in _versions(connection, source.name, reading="independent"):
        readings.setdefault((version.case_id, version.structure), []).append(version)
    seen = seen_with_ai(connection, source.name)
    labels: dict[Key, SourceLabel] = {}
    for key, versions in readings.items():
        if len(versions) >= source.reading:
            version = versions[source.reading - 1]
            saw_ai = key in seen and seen[key] < version.seq
            labels[key] = SourceLabel(
                mask=version.mask,
                origin="edit" if saw_ai else "independent",
                label_id=version.version_id,
                maker=str(source),
                saw_ai=saw_ai,
            )
    left_out = {
        key: LeftOut.DEFERRED
        for key, given in _last_verdicts(connection, source.name, reading="independent").items()
        if given.verdict == "defer" and len(readings.get(key, [])) == source.reading - 1
    }
    return SourceLabels(source, labels, left_out)


def seen_with_ai(connection: Connection, reader: str) -> dict[Key, int]:
    """Return the journal line at which a reader first had judged each label with the AI's mask.

    A neighbour that a correction changed along was seen as well.
    """
    rows = connection.execute(
        """SELECT case_id, structure, min(seq) FROM (
               SELECT case_id, structure, seq FROM verdicts
               WHERE reader = $reader AND reading IN ('review', 'check')
               UNION ALL
               SELECT case_id, structure, seq FROM label_versions
               WHERE source = 'reader:' || $reader AND reading IN ('review', 'check')
           ) GROUP BY case_id, structure""",
        {"reader": reader},
    ).fetchall()
    return {(case_id, structure): seq for case_id, structure, seq in rows}


def _versions(connection: Connection, reader: str, *, reading: str) -> list[LabelVersion]:
    found = source_labels(connection, f"reader:{reader}")
    return [version for version in found if version.reading == reading]


def _last_verdicts(connection: Connection, reader: str, *, reading: str) -> dict[Key, _Given]:
    rows = connection.execute(
        """SELECT case_id, structure, verdict_id, verdict FROM verdicts
           WHERE reader = $reader AND reading = $reading
           QUALIFY row_number() OVER (PARTITION BY case_id, structure ORDER BY seq DESC) = 1""",
        {"reader": reader, "reading": reading},
    ).fetchall()
    return {(case_id, structure): _Given(*given) for case_id, structure, *given in rows}


def _parents(connection: Connection) -> dict[str, str | None]:
    return dict(
        connection.execute(
            "SELECT version_id, parent FROM label_versions WHERE reading = 'review'"
        ).fetchall()
    )


def _root(version: LabelVersion, parents: Mapping[str, str | None]) -> str | None:
    """Return what stands before the first version of a chain: a prediction."""
    base = version.parent
    while base is not None and base in parents:
        base = parents[base]
    return base


_COUNTS = f"""
WITH voted AS (
    SELECT p.case_id, p.committee_id, p.seq, s.member, s.structure
    FROM predictions p JOIN scores s ON s.prediction_id = p.prediction_id
), drawn AS (
    SELECT case_id, structure, split_part(source, ':', 1) AS kind,
           substr(source, strpos(source, ':') + 1) AS name,
           CASE WHEN reading = 'independent' THEN row_number()
                OVER (PARTITION BY source, reading, case_id, structure ORDER BY seq)
           ELSE 0 END AS reading
    FROM label_versions v
    ANTI JOIN (SELECT verdict_id FROM current_decisions WHERE outcome = 'returned') r
      ON r.verdict_id = v.verdict_id
    WHERE NOT linked AND reading <> 'check'
), found AS (
    SELECT 0 AS place, 'committee' AS kind, '' AS name, 0 AS reading, case_id, structure
    FROM voted WHERE member = '{CONSENSUS}'
    UNION ALL
    SELECT 1, 'committee', committee_id, 0, case_id, structure
    FROM voted WHERE member = '{CONSENSUS}'
    UNION ALL
    SELECT 2, 'member', member, 0, case_id, structure FROM voted WHERE member <> '{CONSENSUS}'
    UNION ALL
    SELECT CASE kind WHEN 'reader' THEN 3 ELSE 4 END, kind, name, reading, case_id, structure
    FROM drawn
)
SELECT kind, name, reading, count(DISTINCT case_id), count(DISTINCT structure),
       count(DISTINCT (case_id, structure))
FROM found GROUP BY place, kind, name, reading ORDER BY place, name, reading
"""  # noqa: S608 the only value put in is a literal of this package
