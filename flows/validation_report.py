"""A validation on the terminal, as CSV and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from configs.metrics import load_metric_settings
from flows.agreement_csv import case_status, write_rows
from flows.agreement_tables import interval_words, print_overlap, share_words
from flows.output_file import replacing
from flows.tables import print_line, print_table, warn
from flows.validate import Validation
from model.agreement_report import Share
from model.cluster_bootstrap import DRAWS
from model.lesion_curve import INTERVALS, LesionCurve, OperatingPoint, Rate
from storage.csv_cells import Cell

SCHEMA = 1
_CASE_COLUMNS = (
    *("model", "data", "case_id", "patient_id", "role", "structure", "status"),
    *("tested_present", "reference_present", "dsc", "surface_dice", "tolerance_mm"),
    *("lesions", "lesions_found", "false_positives"),
)
_RATES = (
    *("lesions", "lesions_under_10_mm", "lesions_10_to_20_mm", "lesions_from_20_mm"),
    *("false_positives_per_ct", "patient_sensitivity", "patient_specificity"),
)
_CURVE_COLUMNS = (
    *("model", "data", "structure", "threshold", "harmonic"),
    *(f"{rate}_{part}" for rate in _RATES for part in ("hits", "of", "low", "high")),
)


def print_validation(validation: Validation) -> None:
    """Print what was found, then overlap, then calibration."""
    summary = validation.summary
    print_line(
        f"{validation.model} on {validation.data}: {summary.cases} CTs of {summary.patients} "
        f"patients. {validation.about}"
    )
    for curve in summary.lesions:
        _print_curve(curve)
    if summary.lesions:
        print_line(f"Intervals: {INTERVALS}.")
    print_overlap("Overlap (lesions: where there is one)", summary.structures, summary.macros)
    print_line(
        f"[ ]: 95 % interval of the mean by drawing patients ({DRAWS} draws), - under 4 patients "
        "or where all are alike. DSC and surface Dice on the native grid; absent in one only "
        "counts 0, absent in both is in no mean. * no published tolerance; ours."
    )
    _print_calibration(validation)
    _print_notes(validation)


def write_validation_json(path: Path, validation: Validation) -> None:
    """Write all figures, cases by id; the old file or the whole new one.

    Raises:
        UsageError: The file cannot be written.
    """
    facts = {"schema": SCHEMA, "intervals": INTERVALS, **asdict(validation)}
    text = json.dumps(facts, indent=2, sort_keys=True, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def lesions_path(path: Path) -> Path:
    """Return where the free-response points go: ``a.csv`` -> ``a.lesions.csv``."""
    return path.with_name(f"{path.stem}.lesions{path.suffix}")


def write_validation_csv(path: Path, validation: Validation) -> None:
    """Write a row a case and structure to ``path``, and a row a lesion and threshold beside it.

    Raises:
        UsageError: A file cannot be written.
    """
    write_rows(path, _CASE_COLUMNS, _case_rows(validation))
    write_rows(lesions_path(path), _CURVE_COLUMNS, _curve_rows(validation))


def _print_curve(curve: LesionCurve) -> None:
    auc = "-" if curve.auc is None else f"{curve.auc:.3f}"
    title = (
        f"{curve.structure}: {curve.lesions} lesions in {curve.cts} CTs; {curve.patients_with} "
        f"patients with, {curve.patients_free} free; patients' AUC {auc}"
    )
    columns = (
        *("peak above", "lesions found", "by diameter, mm", "false per CT"),
        *("sensitivity, patients", "specificity, patients", "harmonic"),
    )
    rows = [_point_row(point) for point in curve.points]
    # A row like the one before it says nothing new; the files hold them all.
    changed = [row for row, last in zip(rows, [(), *rows], strict=False) if row[1:] != last[1:]]
    print_table(title, columns, changed)


def _point_row(point: OperatingPoint) -> tuple[Cell, ...]:
    false = point.false_positives_per_ct
    per_ct = "-" if false.value is None else f"{false.value:.2f}{interval_words(false.interval)}"
    return (
        f"{point.threshold:g}",
        share_words(point.lesions),
        ", ".join(f"{name}: {share.hits}/{share.of}" for name, share in point.by_diameter),
        per_ct,
        share_words(point.sensitivity),
        share_words(point.specificity),
        point.harmonic,
    )


def _print_calibration(validation: Validation) -> None:
    rows = [
        (
            *(one.structure, one.temperature, one.source, f"{one.patients_with}/{one.patients}"),
            f"{one.error_before:.4f} -> {one.error_after:.4f}",
            f"{one.loss_before:.4f} -> {one.loss_after:.4f}",
        )
        for one in validation.summary.calibration
    ]
    columns = ("structure", "temperature", "fitted on", "patients", "error", "loss, nats")
    print_table("Calibration within 10 mm, on held-out patients", columns, rows)
    print_line(
        "fitted on own: this structure; group: all organs or all lesions, since under 4 patients "
        "or 500 voxels show it; unchanged: too few, or no temperature helps other patients."
    )


def _print_notes(validation: Validation) -> None:
    if validation.left_out:
        warn(f"{len(validation.left_out)} cases left out: their patients train in this workspace")
    for case in validation.failed:
        warn(f"{case.case_id} left out: {case.reason}")
    if validation.kept:
        print_line(f"kept in the card of {validation.model}: {', '.join(validation.kept)}")


def _case_rows(validation: Validation) -> Iterator[list[Cell]]:
    for row in validation.summary.rows:
        found = row.lesions
        yield [
            *(validation.model, validation.data, row.case_id, row.patient_id, row.role),
            *(row.structure, case_status(row), row.tested_present, row.reference_present),
            *(row.overlap.dsc, row.overlap.surface_dice),
            load_metric_settings()[row.structure].mm,
            *(
                ("", "", "")
                if found is None
                else (len(found.found), sum(found.found), found.false_positives)
            ),
        ]


def _curve_rows(validation: Validation) -> Iterator[list[Cell]]:
    for curve in validation.summary.lesions:
        for point in curve.points:
            rates: list[Share | Rate] = [
                point.lesions,
                *(share for _, share in point.by_diameter),
                point.false_positives_per_ct,
                point.sensitivity,
                point.specificity,
            ]
            head = [validation.model, validation.data, curve.structure, point.threshold]
            yield [*head, point.harmonic, *(cell for rate in rates for cell in _rate_cells(rate))]


def _rate_cells(rate: Share | Rate) -> list[Cell]:
    low, high = rate.interval or ("", "")
    return [rate.hits, rate.of, low, high]
