"""How releases, exports and imports of labels look on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flows.export import ExportSummary
from flows.import_labels import ImportSummary
from flows.tables import print_json, print_line, print_table, warn
from storage.canonical_json import JsonObject
from storage.releases import Release, ReleaseRow


def print_releases(rows: Sequence[ReleaseRow], bounds: Sequence[JsonObject] = ()) -> None:
    """Print all releases, oldest first, and what was said of what nobody looked at in them."""
    cells = [(row.name, row.release_id, row.frozen_at.isoformat(" ", "seconds")) for row in rows]
    print_table("Releases", ["name", "id", "frozen at (UTC)"], cells)
    for statement in bounds:
        for sentence in statement["words"][: len(statement["kinds"])]:
            print_line(sentence)


def print_frozen(release: Release, *, as_json: bool) -> None:
    """Print what a release holds, by how it was reviewed."""
    labels = [label for case in release.cases for label in case.labels]
    counts = Counter(label.review for label in labels)
    left_out = sum(len(case.left_out) for case in release.cases)
    if as_json:
        print_json(
            {
                "release_id": release.release_id,
                "name": release.name,
                "cases": len(release.cases),
                "labels": dict(counts),
                "left_out": left_out,
            }
        )
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print_line(f"release {release.name} ({release.release_id}): {len(release.cases)} cases")
    print_line(f"{len(labels)} labels ({kinds}), {left_out} rejected or unapproved left out")


def print_export(summary: ExportSummary, out: Path) -> None:
    """Print what was written, what is missing, and what a user of the folder must know."""
    print_line(
        f"release {summary.release} ({summary.release_id}) as {summary.layout}: "
        f"{len(summary.written)} cases written, {len(summary.kept)} kept from before: {out}"
    )
    if summary.unreviewed:
        warn(
            f"{summary.unreviewed} labels were made by a model and judged by nobody as a whole; "
            "the side-cars name them; --reviewed-only leaves them out"
        )
    if summary.left_out:
        warn(
            f"{summary.left_out} rejected or unapproved labels are left out; a combined map shows "
            "background there, though nobody says that it is"
        )
    if summary.failed:
        rows = [(case.case_id, str(case.reason), case.message) for case in summary.failed]
        print_table("Not exported", ["case", "reason", "message"], rows)


def print_label_import(summary: ImportSummary) -> None:
    """Print what was recorded, what was refused, and what a flat map could not give back."""
    changed = sum(len(case.changed) for case in summary.cases)
    absent = sum(len(case.absent) for case in summary.cases)
    print_line(
        f"{len(summary.cases)} cases read as {summary.layout}, {changed} labels new or changed, "
        f"{absent} absent: compare with `dataset:{summary.dataset}`"
    )
    if summary.unknown_names:
        warn(
            f"no structure is called {', '.join(summary.unknown_names)}; passed over, "
            "give --name NAME=STRUCTURE to take it"
        )
    inexact = [
        (case.case_id, structure, now, expected)
        for case in summary.cases
        for structure, (now, expected) in case.inexact.items()
    ]
    if inexact:
        columns = ["case", "structure", "voxels", "exported voxels"]
        print_table("Not given back exactly by a flat map: masks overlapped", columns, inexact)
    if summary.failed:
        rows = [(case.key, str(case.reason), case.message) for case in summary.failed]
        print_table("Refused", ["case", "reason", "message"], rows)
