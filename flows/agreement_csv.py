"""Agreement as CSV: a row for each structure of each case, and a row for each structure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from configs.metrics import load_metric_settings
from flows.agreement import PairAgreement
from flows.output_file import replacing
from model.agreement import CaseAgreement
from model.agreement_report import KindAgreement, Share, Spread, StructureAgreement
from storage.csv_cells import Cell, inert

_CASE_COLUMNS = (
    *("tested", "reference", "kind", "structure", "case_id", "patient_id", "role"),
    *("status", "reason"),
    *("tested_present", "reference_present", "dsc", "surface_dice", "tolerance_mm"),
    *("lesions", "lesions_found", "false_positives", "other_base"),
)
_SPREAD_COLUMNS = ("n", "patients", "mean", "low", "high", "median", "q1", "q3")
_STRUCTURE_COLUMNS = (
    *("tested", "reference", "kind", "structure", "compared", "agree_absent", "one_empty"),
    *(f"dsc_{name}" for name in _SPREAD_COLUMNS),
    *(f"surface_dice_{name}" for name in _SPREAD_COLUMNS),
    *("tolerance_mm", "tolerance_source", "no_surface_dice"),
    *(
        f"{name}_{part}"
        for name in ("lesions_found", "false_positives", "patients_found", "patients_cleared")
        for part in ("hits", "of", "low", "high")
    ),
    *("only_tested", "only_reference", "excluded"),
)


def structures_path(path: Path) -> Path:
    """Return where the rows of whole structures go: ``a.csv`` -> ``a.structures.csv``."""
    return path.with_name(f"{path.stem}.structures{path.suffix}")


def write_agreement_csv(path: Path, pairs: Sequence[PairAgreement]) -> None:
    """Write one row for each case and structure to ``path``, and the figures beside it.

    Means over structures are in neither: they follow from the second file.

    Raises:
        UsageError: A file cannot be written.
    """
    write_rows(path, _CASE_COLUMNS, (row for pair in pairs for row in _case_rows(pair)))
    rows = (row for pair in pairs for row in _structure_rows(pair))
    write_rows(structures_path(path), _STRUCTURE_COLUMNS, rows)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a CSV file as a whole, with no cell that a spreadsheet would run.

    Raises:
        UsageError: The file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([inert(cell) for cell in row])


def _case_rows(pair: PairAgreement) -> Iterator[list[Cell]]:
    for case in pair.cases:
        yield [
            *(pair.tested, pair.reference, case.kind, case.structure),
            *(case.case_id, case.patient_id, case.role, case_status(case), ""),
            *(case.tested_present, case.reference_present),
            *(case.overlap.dsc, case.overlap.surface_dice),
            load_metric_settings()[case.structure].mm,
            *_lesion_cells(case),
            case.other_base,
        ]
    for one in pair.excluded:
        head = [pair.tested, pair.reference, "", one.structure, one.case_id, "", "", "excluded"]
        reason = f"{one.source} {one.reason}"
        yield [*head, reason, *[""] * (len(_CASE_COLUMNS) - len(head) - 1)]


def case_status(case: CaseAgreement) -> str:
    """Return whether a case is in the mean, and if not, why."""
    if case.agree_absent:
        return "agree absent"
    return "in the mean" if case.counts_in_dsc else "false positive"


def _lesion_cells(case: CaseAgreement) -> list[Cell]:
    if case.lesions is None:
        return ["", "", ""]
    match = case.lesions
    return [len(match.found), sum(match.found), match.false_positives]


def _structure_rows(pair: PairAgreement) -> Iterator[list[Cell]]:
    missing = {one.structure: one for one in pair.missing}
    for block in pair.blocks:
        for row in block.structures:
            lacks = missing.get(row.structure)
            yield [
                *_figures(pair, block, row),
                lacks.only_tested if lacks else 0,
                lacks.only_reference if lacks else 0,
                sum(one.structure == row.structure for one in pair.excluded),
            ]


def _figures(pair: PairAgreement, block: KindAgreement, row: StructureAgreement) -> list[Cell]:
    tolerance = load_metric_settings()[row.structure]
    return [
        *(pair.tested, pair.reference, block.kind, row.structure),
        *(row.compared, row.agree_absent, row.one_empty),
        *_spread_cells(row.dsc),
        *_spread_cells(row.surface_dice),
        *(tolerance.mm, tolerance.source, row.no_surface_dice),
        *_detection_cells(row),
    ]


def _spread_cells(spread: Spread | None) -> list[Cell]:
    if spread is None:
        return [0, 0, *[""] * (len(_SPREAD_COLUMNS) - 2)]
    low, high = spread.interval or ("", "")
    return [
        *(spread.n, spread.patients, spread.mean, low, high),
        *(spread.median, spread.q1, spread.q3),
    ]


def _detection_cells(row: StructureAgreement) -> list[Cell]:
    found = row.detection
    if found is None:
        return [""] * 16
    shares = (
        *(found.lesions, found.false_positives_per_ct),
        *(found.sensitivity, found.specificity),
    )
    return [cell for share in shares for cell in _share_cells(share)]


def _share_cells(share: Share) -> list[Cell]:
    low, high = share.interval or ("", "")
    return [share.hits, share.of, low, high]
