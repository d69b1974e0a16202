"""The side-car of an exported case: where each of its labels comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from configs.layouts import LayoutName
from flows.export_layouts import Document, release_facts
from storage.export_folder import ExportedFile
from storage.grid import Grid
from storage.released_labels import LeftOut, ReleasedCase, ReleasedLabel, ReleasedVerdict
from storage.releases import Release

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedLabel:
    """One structure of an exported case.

    Attributes:
        file: Its mask file; None where the combined map says it all.
        value: Its value in the combined map.
        visible: Voxels of the combined map that carry the value.
    """

    label: ReleasedLabel
    file: str | None
    value: int
    visible: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedCase:
    """One exported case.

    Attributes:
        ct: The CT's file; None when labels alone were asked for.
        labels: In the order in which they were painted.
        files: All files of the case but the side-car.
    """

    case: ReleasedCase
    grid: Grid
    ct: str | None
    labels: Sequence[ExportedLabel]
    left_out: Sequence[LeftOut]
    files: Sequence[ExportedFile]


def provenance(exported: ExportedCase, release: Release, layout: LayoutName) -> Document:
    """Return the side-car. It names cases, readers and models, never a path or a patient."""
    case, grid = exported.case, exported.grid
    return {
        "schema": SCHEMA,
        "case_id": case.case_id,
        "release": release_facts(release),
        "layout": layout,
        "ct": {"file": exported.ct, "content_sha256": case.content_id},
        "grid": {
            "shape": list(grid.shape),
            "affine": [list(row) for row in grid.affine],
            "spacing_mm": list(grid.spacing_mm),
            "orientation": grid.orientation,
        },
        "committee": {
            "committee_id": case.committee_id,
            "prediction_id": case.prediction_id,
            "members": list(case.members),
        },
        "structures": [_structure(label) for label in exported.labels],
        "left_out": [
            {"structure": left.structure, "why": _why(left), **_verdict(left.verdict)}
            for left in exported.left_out
        ],
        "files": [file.to_json() for file in exported.files],
    }


def listed_files(side_car: Mapping[str, object], release: Release) -> list[ExportedFile] | None:
    """Return the files that a side-car lists; None when it is another release's or no side-car."""
    try:
        files = [ExportedFile.from_json(entry) for entry in side_car["files"]]  # type: ignore[attr-defined]
        is_ours = side_car["release"] == release_facts(release)
    except (KeyError, TypeError, ValueError):
        return None
    return files if is_ours else None


def _why(left: LeftOut) -> str:
    return "rejected" if left.verdict.verdict == "reject" else "not approved"


def _structure(exported: ExportedLabel) -> Document:
    label = exported.label
    return {
        "structure": label.structure,
        "file": exported.file,
        "value": exported.value,
        "absent": label.object is None,
        "voxels": label.voxels,
        "voxels_in_combined_map": exported.visible,
        "version": label.label_id,
        "parent": label.parent,
        "source": label.source,
        "review": label.review,
        "approved_by": label.approved_by,
        "made_at": label.made_at,
        **_verdict(label.verdict),
    }


def _verdict(verdict: ReleasedVerdict | None) -> Document:
    if verdict is None:
        return {"verdict": None}
    return {"verdict": {**asdict(verdict), "tags": list(verdict.tags)}}
