"""An evaluation of triage in words, as Markdown."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from importlib import metadata

from flows.triage_evaluate import Evaluation, EvaluationPlan, GroupEvaluation


def evaluation_markdown(evaluation: Evaluation, plan: EvaluationPlan) -> str:
    """Return the report, with how it was made at its head."""
    return "\n".join([*_opening(evaluation, plan), *_groups(evaluation)]) + "\n"


def _opening(evaluation: Evaluation, plan: EvaluationPlan) -> Iterator[str]:
    covered = [one.coverage for one in evaluation.splits]
    widths = [one.median_width for one in evaluation.splits]
    bad = [one.bad_coverage for one in evaluation.splits if not math.isnan(one.bad_coverage)]
    scores = [one.score for one in evaluation.splits]
    kind = "final: nothing was tuned on these patients" if plan.final else "development patients"
    yield "# Triage, evaluated on simulated committees"
    yield ""
    final = " --final" if plan.final else ""
    yield (
        f"`atlasloop triage evaluate --fit {plan.fit} --calibrate {plan.calibrate} --test "
        f"{plan.test} --first {plan.first} --seeds {plan.seeds}{final}` ({kind}); Python "
        f"{platform.python_version()}, numpy {metadata.version('numpy')}, scipy "
        f"{metadata.version('scipy')}."
    )
    yield ""
    yield (
        f"Fitted on {plan.fit} patients ({evaluation.words}), calibrated on {plan.calibrate} "
        f"others. The truth is known, so DSC here is with the truth. Times: the policies believe "
        "the priors for the change that they expect; readers take the time of what there really is "
        f"to change, log-normal (sigma {plan.reader.minutes_sigma:g}), each "
        f"structure off by up to {plan.reader.misspecified:.0%}, overlook "
        f"{plan.reader.overlooked:.0%} of wrong labels and draw with a DSC that varies by "
        f"{plan.reader.dsc_sd:g} round a ceiling that is off by {plan.reader.ceiling_error:g}; "
        f"edits were learned from another reader. {plan.seeds} seeds, each with a sample of "
        "patients drawn anew."
    )
    yield ""
    yield (
        f"Intervals at 90 %, if the structure is there, {evaluation.split_patients} calibration "
        "patients, "
        f"{len(evaluation.splits)} splits: coverage {_mean(covered):.3f} (from {min(covered):.3f} "
        f"to {max(covered):.3f}), median width {_mean(widths):.3f}, interval score "
        f"{_mean(scores):.3f}, coverage among truly bad labels {_mean(bad):.3f}."
    )
    yield ""


def _groups(evaluation: Evaluation) -> Iterator[str]:
    for group in evaluation.groups:
        yield f"## {group.group}: {group.patients} patients, {group.labels} labels"
        yield ""
        faults = ", ".join(f"{kind} {count}" for kind, count in group.faults.items()) or "none"
        yield (
            f"{group.bad} labels that are there have a DSC below 0.8. Gross faults: {faults}. "
            f"{group.out_of_reach:.1%} of what all labels lack is in no queue. Predicted DSC: mean "
            f"error {group.errors.predicted:.3f} (structure means "
            f"{group.errors.structure_mean:.3f}), of bad labels {group.errors.bad_predicted:.3f} "
            f"({group.errors.bad_structure_mean:.3f}). Intervals: coverage "
            f"{group.coverage.coverage:.3f}, median width {group.coverage.median_width:.3f}, "
            f"among bad labels {group.coverage.bad_coverage:.3f}; of all drawn masks, those of "
            f"nothing counted as DSC 0, {group.drawn_coverage.coverage:.3f}."
        )
        yield ""
        yield from _orders(group)
        yield ""
        yield from _replays(group)
        yield ""
        yield from _shared(group)
        yield ""


def _orders(group: GroupEvaluation) -> Iterator[str]:
    yield (
        "| order by | Spearman within | excess AURC | Spearman, DSC > 0.8 | excess AURC, DSC > 0.8 "
        "| bad in first 5 % | 10 % |"
    )
    yield "|---|---|---|---|---|---|---|"
    for one in group.orders:
        cells = (
            one.within.spearman,
            one.within.excess_aurc,
            one.within_good.spearman,
            one.within_good.excess_aurc,
            one.found_5,
            one.found_10,
        )
        yield f"| {one.name} | {' | '.join(_cell(value) for value in cells)} |"


def _replays(group: GroupEvaluation) -> Iterator[str]:
    yield (
        "| policy | area | gap closed | 5 to 95 % of seeds | minutes to 95 % of the gain | against "
        "attention |"
    )
    yield "|---|---|---|---|---|---|"
    for one in group.replays:
        yield (
            f"| {one.name} | {one.area:.3f} | {one.gap:.2f} | {one.gap_low:.2f} to "
            f"{one.gap_high:.2f} | {one.minutes_95:.0%} | {one.against_attention:.2f} |"
        )


def _shared(group: GroupEvaluation) -> Iterator[str]:
    parts = [
        f"{one.sharing}: {one.labels} labels, {one.bad} of them bad"
        + ("" if one.found is None else f", {one.found:.0%} of these found")
        for one in group.shared
    ]
    yield f"Gross faults in the first 10 % of the queue, by who shares them. {'; '.join(parts)}."


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
