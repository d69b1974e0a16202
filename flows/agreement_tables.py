"""How agreement looks on a terminal: what is found first, then overlap, then what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from configs.metrics import load_metric_settings
from flows.agreement import PairAgreement
from flows.tables import print_line, print_table, warn
from model.agreement import MEANING
from model.agreement_report import KindAgreement, Macro, Share, Spread, StructureAgreement
from model.cluster_bootstrap import DRAWS, Interval
from model.lesion_curve import Rate
from storage.assignments import Assignment
from storage.label_sources import SourceCount

_DETECTION_COLUMNS = (
    *("lesion", "sensitivity, patients", "specificity, patients", "sensitivity, lesions"),
    *("found by diameter, mm", "false per CT"),
)
_OVERLAP_COLUMNS = (
    *("structure", "n", "patients", "DSC, mean", "median (quartiles)", "surface Dice, mean"),
    *("tolerance", "one empty", "both absent"),
)
_NO_PUBLISHED_TOLERANCE = "*"


def print_agreement(pairs: Sequence[PairAgreement]) -> None:
    """Print every pair of sources, each kind of comparison in a block of its own."""
    for pair in pairs:
        for block in pair.blocks:
            _print_block(pair, block)
        if not pair.blocks:
            print_line(f"{pair.tested} against {pair.reference}: nothing that can be compared")
        _print_left_out(pair)
        for note in pair.notes:
            warn(note)
    print_line(
        f"[ ]: 95 % interval of the mean by drawing patients ({DRAWS} draws, seed {pairs[0].seed}),"
        " too narrow under some 20 patients, - under 4 or where all are alike. DSC and surface "
        "Dice on the native grid; "
        "absent in one source only counts 0, absent in both is in no mean. "
        f"{_NO_PUBLISHED_TOLERANCE} no published tolerance; ours."
    )


def print_macro_agreement(pairs: Sequence[PairAgreement]) -> None:
    """Print only the means over structures, a line each."""
    for pair in pairs:
        for block in pair.blocks:
            for macro in block.macros:
                heading = f"{block.kind}: {pair.tested} against {pair.reference}"
                print_line(f"{heading}: {_macro_words(macro)}")


def print_overlap(
    title: str, structures: Sequence[StructureAgreement], macros: Sequence[Macro]
) -> None:
    """Print DSC and surface Dice of every structure, then the means over structures."""
    print_table(title, _OVERLAP_COLUMNS, [_overlap_row(row) for row in structures])
    for macro in macros:
        print_line(_macro_words(macro))


def print_sources(sources: Sequence[SourceCount]) -> None:
    """Print what can be compared."""
    rows = [(str(one.source), one.cases, one.structures, one.labels) for one in sources]
    print_table("Label sources", ["source", "cases", "structures", "labels"], rows)


def print_assignments(title: str, assignments: Sequence[Assignment]) -> None:
    """Print who is to read what without the AI's mask."""
    rows = [
        (
            *(one.reader, one.case_id, one.structure, one.reading),
            "seen with the AI's mask: counts as edit" if one.saw_ai else "",
        )
        for one in assignments
    ]
    print_table(title, ["reader", "case", "structure", "reading", ""], rows)


def _print_block(pair: PairAgreement, block: KindAgreement) -> None:
    heading = f"{block.kind}: {pair.tested} against {pair.reference}"
    print_line(f"{heading}\n({MEANING[block.kind]})")
    lesions = [row for row in block.structures if row.detection is not None]
    if lesions:
        rows = [_detection_row(row) for row in lesions]
        print_table(f"Lesions of {pair.reference} found by {pair.tested}", _DETECTION_COLUMNS, rows)
    print_overlap("Overlap (lesions: where the second has one)", block.structures, block.macros)


def _detection_row(row: StructureAgreement) -> tuple[str, ...]:
    found = row.detection
    if found is None:
        return (row.structure,)
    false = found.false_positives_per_ct
    per_ct = "-" if false.value is None else f"{false.value:.2f}{interval_words(false.interval)}"
    return (
        row.structure,
        *(share_words(share) for share in (found.sensitivity, found.specificity, found.lesions)),
        ", ".join(f"{name}: {share.hits}/{share.of}" for name, share in found.by_diameter),
        f"{per_ct} ({false.of} CTs)",
    )


def _overlap_row(row: StructureAgreement) -> tuple[str | int | None, ...]:
    tolerance = load_metric_settings()[row.structure]
    mark = _NO_PUBLISHED_TOLERANCE if tolerance.source == "ours" else ""
    coarse = f", {row.no_surface_dice} too coarse" if row.no_surface_dice else ""
    return (
        row.structure,
        row.dsc.n if row.dsc else 0,
        row.dsc.patients if row.dsc else 0,
        _mean(row.dsc),
        f"{row.dsc.median:.3f} ({row.dsc.q1:.3f}, {row.dsc.q3:.3f})" if row.dsc else None,
        _mean(row.surface_dice),
        f"{tolerance.mm:g} mm{mark}{coarse}",
        row.one_empty,
        row.agree_absent,
    )


def _mean(spread: Spread | None) -> str | None:
    return None if spread is None else f"{spread.mean:.3f}{interval_words(spread.interval)}"


def share_words(share: Share | Rate) -> str:
    """Return "3/4 = 0.75" with its interval."""
    if share.value is None:
        return "- (none)"
    return f"{share.hits}/{share.of} = {share.value:.2f}{interval_words(share.interval)}"


def interval_words(interval: Interval | None) -> str:
    """Return an interval in brackets, with a dash where there is none."""
    return " [-]" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


def _macro_words(macro: Macro) -> str:
    name = {"dsc": "DSC", "surface_dice": "surface Dice"}[macro.metric]
    return (
        f"macro mean of {macro.group}: {name} {macro.mean:.3f}{interval_words(macro.interval)}, "
        f"n = {macro.structures} structures of {macro.patients} patients"
    )


def _print_left_out(pair: PairAgreement) -> None:
    """Print what is in no figure: exclusions with their reason, then what one side never saw."""
    excluded = Counter((one.structure, one.source, one.reason) for one in pair.excluded)
    if excluded:
        rows = [(*key, count) for key, count in sorted(excluded.items())]
        print_table("Excluded", ["structure", "source", "reason", "cases"], rows)
    compared = {row.structure for block in pair.blocks for row in block.structures}
    compared |= {one.structure for one in pair.excluded}
    missing = [one for one in pair.missing if one.structure in compared]
    if missing:
        columns = ["structure", f"only {pair.tested}", f"only {pair.reference}"]
        rows = [(one.structure, one.only_tested, one.only_reference) for one in missing]
        print_table("Cases that one of the two looked at", columns, rows)
    others = len(pair.missing) - len(missing)
    if others:
        print_line(f"{others} more structures were looked at by one of the two only")
