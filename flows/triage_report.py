"""An evaluation of triage in words, as Markdown."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from importlib import metadata

from flows.triage_evaluate import Evaluation, EvaluationPlan
from flows.triage_truth import TruthEvaluation, TruthPlan
from model.triage.conformal import LEVEL
from model.triage.evaluation import BAD_DSC
from model.triage.group_evaluation import GroupEvaluation
from model.triage.replay import ReaderModel


def evaluation_markdown(evaluation: Evaluation, plan: EvaluationPlan) -> str:
    """Return the report, with how it was made at its head."""
    groups = [line for group in evaluation.groups for line in _group(group)]
    return "\n".join([*_opening(evaluation, plan), *groups]).rstrip("\n") + "\n"


def truth_markdown(evaluation: TruthEvaluation, plan: TruthPlan) -> str:
    """Return the report on a committee's own labels, with how it was made at its head."""
    lines = [*_truth_opening(evaluation, plan), *_group(evaluation.group)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _truth_opening(evaluation: TruthEvaluation, plan: TruthPlan) -> Iterator[str]:
    fits = plan.fit_share is not None
    share = f" --fit-share {plan.fit_share:g} --split-seed {plan.split_seed}" if fits else ""
    trained = " --trained-too" if plan.trained_too else ""
    committee = f" --committee {plan.committee_id}" if plan.committee_id else ""
    yield f"# Triage of committee {evaluation.committee_id}, evaluated on {plan.source}"
    yield ""
    yield (
        f"`atlasloop triage evaluate --truth {plan.source} --seeds {plan.seeds}{committee}"
        f"{share}{trained}`; "
        f"{_versions()}."
    )
    yield ""
    yield (
        f"{evaluation.patients} patients have a truth. Left out: {evaluation.trained} cases that a "
        f"member may have been trained on, {evaluation.taught} patients whose reviews triage "
        f"learned from, {evaluation.saw_ai} labels whose reader had seen the AI's mask."
    )
    yield ""
    if fits:
        yield (
            f"What triage could do after reviews: fitted on the truth of {evaluation.fitted} "
            f"patients, calibrated on {evaluation.calibrating} others, tested on the rest "
            f"({evaluation.words})."
        )
    else:
        yield (
            f"What triage expects in this workspace now: {evaluation.words}. Structure means are "
            "those of the tested labels themselves, the best that nothing but the structure tells."
        )
    yield ""
    yield f"The policies do not know the readers: {_reader(plan.reader, plan.seeds)}"
    yield ""


def _versions() -> str:
    return (
        f"Python {platform.python_version()}, numpy {metadata.version('numpy')}, scipy "
        f"{metadata.version('scipy')}"
    )


def _opening(evaluation: Evaluation, plan: EvaluationPlan) -> Iterator[str]:
    kind = "final: nothing was tuned on these patients" if plan.final else "development patients"
    yield "# Triage, evaluated on simulated committees"
    yield ""
    final = " --final" if plan.final else ""
    final += " --label-map FILE" if plan.label_map is not None else ""
    yield (
        f"`atlasloop triage evaluate --fit {plan.fit} --calibrate {plan.calibrate} --test "
        f"{plan.test} --first {plan.first} --seeds {plan.seeds}{final}` ({kind}); {_versions()}."
    )
    yield ""
    yield (
        f"Fitted on {plan.fit} patients ({evaluation.words}), calibrated on {plan.calibrate} "
        f"others. The truth is known, so DSC here is with the truth. Times: the policies believe "
        "the priors for the change that they expect; edits were learned from another reader; "
        f"{_reader(plan.reader, plan.seeds)}"
    )
    yield ""
    yield _splits(evaluation)
    yield ""


def _reader(reader: ReaderModel, seeds: int) -> str:
    return (
        "readers take the time of what there really is to change, log-normal (sigma "
        f"{reader.minutes_sigma:g}), each structure off by up to {reader.misspecified:.0%}, "
        f"overlook {reader.overlooked:.0%} of wrong labels and draw with a DSC that varies by "
        f"{reader.dsc_sd:g} round a ceiling that is off by {reader.ceiling_error:g}; {seeds} "
        "seeds, each with a sample of patients drawn anew."
    )


def _splits(evaluation: Evaluation) -> str:
    covered = [one.coverage for one in evaluation.splits if not math.isnan(one.coverage)]
    if not covered:
        return "No intervals: the predicted DSC is not fitted."
    return (
        f"Intervals at {LEVEL:.0%}, if the structure is there, "
        f"{evaluation.split_patients} calibration patients, "
        f"{len(covered)} splits: coverage {_mean(covered)} (from {min(covered):.3f} "
        f"to {max(covered):.3f}), median width "
        f"{_mean([one.median_width for one in evaluation.splits])}, interval score "
        f"{_mean([one.score for one in evaluation.splits])}, coverage among truly bad labels "
        f"{_mean([one.bad_coverage for one in evaluation.splits])}."
    )


def _group(group: GroupEvaluation) -> Iterator[str]:
    yield f"## {group.group}: {group.patients} patients, {group.labels} labels"
    yield ""
    errors, covered = group.errors, group.coverage
    faults = ", ".join(f"{kind} {count}" for kind, count in group.faults.items())
    yield (
        f"{group.bad} labels that are there have a DSC below {BAD_DSC:g}. "
        + (f"Gross faults: {faults}. " if faults else "")
        + f"{group.out_of_reach:.1%} of what all labels lack is in no queue. Predicted DSC of "
        f"{errors.n} labels: mean error {_cell(errors.predicted)} (structure means "
        f"{_cell(errors.structure_mean)}), of {errors.bad} bad ones "
        f"{_cell(errors.bad_predicted)} ({_cell(errors.bad_structure_mean)}). "
        + (
            f"Intervals: coverage {_cell(covered.coverage)}, median width "
            f"{_cell(covered.median_width)}, among bad labels {_cell(covered.bad_coverage)}; of "
            "all drawn masks, those of nothing counted as DSC 0, "
            f"{_cell(group.drawn_coverage.coverage)}."
            if covered.patients
            else "No intervals."
        )
    )
    yield ""
    yield from _orders(group)
    yield ""
    yield from _replays(group)
    yield ""
    if group.shared:
        yield _shared(group)
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
    if not group.replays:
        yield "No label is queued, so there is nothing to read."
        return
    yield (
        "| policy | area | gap closed | 5 to 95 % of seeds | minutes to 95 % of the gain | against "
        "attention |"
    )
    yield "|---|---|---|---|---|---|"
    for one in group.replays:
        yield (
            f"| {one.name} | {_cell(one.area)} | {_cell(one.gap, 2)} | {_cell(one.gap_low, 2)} to "
            f"{_cell(one.gap_high, 2)} | {_percent(one.minutes_95)} | "
            f"{_cell(one.against_attention, 2)} |"
        )


def _shared(group: GroupEvaluation) -> str:
    parts = [
        f"{one.sharing}: {one.labels} labels, {one.bad} of them bad"
        + ("" if one.found is None else f", {one.found:.0%} of these found")
        for one in group.shared
    ]
    return f"Gross faults in the first 10 % of the queue, by who shares them. {'; '.join(parts)}."


def _cell(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _mean(values: list[float]) -> str:
    """Return the mean of those that are defined."""
    known = [value for value in values if not math.isnan(value)]
    return _cell(sum(known) / len(known) if known else None)
