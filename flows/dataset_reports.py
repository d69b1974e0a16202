"""How datasets and their intake look on a terminal."""

from __future__ import annotations

from collections import Counter

from configs.connectors import LICENSE_MEANING, Dataset, StructureSource, load_datasets, overlaps_of
from flows.intake_dataset import DatasetIntakeSummary
from flows.reports import print_intake
from flows.tables import print_line, print_table, warn

_LISTED = 20


def print_dataset_intake(summary: DatasetIntakeSummary) -> None:
    """Print what the CTs and labels of a dataset became, what is odd and what was refused."""
    print_intake(summary.images)
    labeled = sum(case.has_labels for case in summary.cases)
    changed = sum(len(case.changed) for case in summary.cases)
    print_line(
        f"{summary.dataset} (licence: {summary.license}): {len(summary.cases)} cases, {labeled} "
        f"with labels, {changed} labels new or changed: compare with `dataset:{summary.dataset}`"
    )
    rows = [
        (count.structure, count.annotated, count.present, count.absent, count.weak)
        for count in summary.structures()
    ]
    if rows:
        columns = ["structure", "annotated", "present", "absent", "weak"]
        print_table("Labels by structure, in cases", columns, rows)
    _print_findings(summary)
    if summary.excluded:
        print_table("Passed over", ["case", "why"], summary.excluded[:_LISTED])
    if summary.refused:
        refused = [(case.name, str(case.reason), case.message) for case in summary.refused]
        print_table("Labels refused", ["case", "reason", "message"], refused)
    if summary.labels_without_ct:
        warn(f"the CTs of {summary.labels_without_ct} label files are not in the folder")
    if summary.overlapping:
        warn(
            f"{summary.dataset} shares scans with {', '.join(summary.overlapping)}; no number says "
            "which: equal CTs are one case, similar ones share a role; scans that were "
            "resampled or cropped far may meet in training and test"
        )


def print_datasets() -> None:
    """Print all datasets, a line each."""
    rows = [
        (
            dataset.id,
            f"{dataset.labeled} (+{dataset.unlabeled})",
            _reader(dataset),
            dataset.license.flag,
            len(dataset.annotated),
            ", ".join(dataset.annotated) or "none: CTs alone",
        )
        for dataset in load_datasets().values()
    ]
    columns = ["id", "labeled", "reader", "licence", "n", "structures"]
    print_table("Datasets", columns, rows)


def print_dataset(dataset: Dataset) -> None:
    """Print all that is known of a dataset."""
    print_line(f"{dataset.id}: {dataset.title}")
    cases = f"{dataset.labeled} labeled, {dataset.unlabeled} unlabeled CTs"
    print_line(f"cases: {cases}{f'; {dataset.ids}' if dataset.ids else ''}")
    flag = dataset.license.flag
    print_line(f"licence: {flag} ({LICENSE_MEANING[flag]}); {dataset.license.name}")
    print_line(f"licence checked: {dataset.license.checked}")
    print_line(f"reader: {_reader(dataset)}")
    print_line(f"values: {dataset.confidence.labels}; names on disk: {dataset.confidence.layout}")
    for layout in dataset.layouts:
        print_line(f"CTs: {layout.image}; labels: {layout.label}")
    _print_map(dataset)
    for override in dataset.overrides:
        said = f"cases {override.ids[0]} to {override.ids[1]}: {override.why}"
        kept = "" if override.annotated is None else f"; only {', '.join(override.annotated)}"
        weak = f"; weak: {', '.join(override.weak)}" if override.weak else ""
        print_line(f"{said}{kept}{weak}")
    for exclusion in dataset.exclusions:
        print_line(
            f"cases {exclusion.ids[0]} to {exclusion.ids[1]} are passed over: {exclusion.why}"
        )
    overlaps = list(overlaps_of(dataset).items())
    if overlaps:
        print_table("Shares scans with", ["dataset", "which"], overlaps)
    for note in dataset.notes:
        print_line(f"note: {note}")


def _print_findings(summary: DatasetIntakeSummary) -> None:
    found = [(case, finding) for case in summary.cases for finding in case.findings]
    if not found:
        return
    counts = Counter(str(finding.oddity) for _, finding in found)
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    rows = [
        (case.name, case.case_id, finding.structure, str(finding.oddity), finding.text)
        for case, finding in found[:_LISTED]
    ]
    title = f"Findings ({listed}), the first {len(rows)}"
    print_table(title, ["case", "id", "structure", "finding", "what"], rows)


def _print_map(dataset: Dataset) -> None:
    rows = [
        (name, _source(dataset, source), "weak" if source.weak else "", source.note)
        for name, source in ((name, dataset.map[name]) for name in dataset.annotated)
    ]
    if rows:
        print_table("Structures", ["structure", "is", "", "note"], rows)
    used = {value for source in dataset.map.values() for value in source.values}
    others = [f"{value} {name}" for value, name in dataset.labels.items() if value not in used]
    if others:
        print_line(f"values that stand for no structure of ours: {', '.join(others)}")


def _source(dataset: Dataset, source: StructureSource) -> str:
    values = " + ".join(f"{value} {dataset.labels[value]}" for value in source.values)
    files = " + ".join(source.files)
    text = " or files ".join(part for part in (values, files) if part)
    return f"{text}, its side by the body's midline" if source.split else text


def _reader(dataset: Dataset) -> str:
    if dataset.needs != "nifti":
        return f"{dataset.needs.replace('dicom', 'DICOM').replace('png', 'PNG')}: not there yet"
    kinds = {layout.has_structure_files for layout in dataset.layouts}
    names = {True: "a file a structure", False: "one label map"}
    return "NIfTI, " + " or ".join(names[kind] for kind in sorted(kinds, reverse=True))
