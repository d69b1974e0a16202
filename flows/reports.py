"""How each verb's result looks on a terminal."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UsageError
from flows.progress import duration
from flows.tables import print_line, print_table, warn
from storage.cases import Registration

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary
    from flows.intake import IntakeSummary
    from flows.queue import Budget, ShownQueue
    from flows.retrain import RetrainSummary
    from flows.status import Status
    from storage.queue import QueueEntry
    from storage.verify import Verification

_LISTED = 20


def print_intake(summary: IntakeSummary) -> None:
    """Print what came in, what was refused and why."""
    counts = ", ".join(f"{summary.count(kind)} {kind}" for kind in Registration)
    print_line(f"{counts}, {len(summary.refused)} quarantined, {len(summary.skipped)} skipped")
    made = summary.blocks
    if made.cts or made.left:
        each = f", {made.seconds / made.cts:.1f} s a CT" if made.cts else ""
        print_line(
            f"laid in blocks for the editor: {made.cts} CTs, {made.total_bytes / 1e6:.0f} MB{each}"
            + (f"; {made.left} found no room (review.region_cache_gb)" if made.left else "")
        )
    duplicates = [f for f in summary.taken if f.registration is Registration.DUPLICATE]
    if duplicates:
        rows = [(str(file.path), file.case_id) for file in duplicates[:_LISTED]]
        print_table("Duplicates: the same scan in another file", ["file", "case"], rows)
    if summary.twins:
        rows = [(twin.first, twin.second, twin.similarity) for twin in summary.twins[:_LISTED]]
        print_table("Possible twins, kept in one split", ["case", "case", "similarity"], rows)
    if summary.refused:
        rows = [(str(file.path), str(file.reason), file.message) for file in summary.refused]
        print_table("Quarantined", ["path", "reason", "what to do"], rows[:_LISTED])
    for skipped in summary.skipped[:_LISTED]:
        print_line(f"skipped {skipped.path}: {skipped.why}")
    for text in summary.warnings:
        warn(text)


def print_annotation(summary: AnnotateSummary) -> None:
    """Print how many cases were closed, how fast, and which ones failed."""
    count = len(summary.closed)
    rate = f", {summary.seconds / count:.1f} s a case" if count else ""
    print_line(f"{count} cases closed by {summary.committee_id}{rate}")
    if summary.closed_elsewhere:
        print_line(f"{len(summary.closed_elsewhere)} were closed by another process meanwhile")
    if summary.held_elsewhere:
        print_line(f"{len(summary.held_elsewhere)} were left to a run that computes them now")
    if summary.failed:
        rows = [(case.case_id, str(case.reason), case.message) for case in summary.failed]
        print_table("Failed", ["case", "reason", "message"], rows)


def print_retraining(summary: RetrainSummary) -> None:
    """Print the gate's table and what came of it."""
    decision = summary.decision
    rows = [
        (
            row.structure,
            row.criterion,
            row.patients,
            row.champion,
            row.challenger,
            f"{row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
            row.finding,
        )
        for row in decision.rows
    ]
    columns = ["structure", "criterion", "n", "champion", "challenger", "gain [95 %]", "finding"]
    print_table(f"Gate: {summary.gate_patients} frozen patients", columns, rows)
    print_line(
        f"{', '.join(summary.members)} retrained on {summary.labels} labels; "
        f"{decision.outcome}: {decision.reason}"
    )
    if decision.outcome == "promoted":
        print_line("the challengers are the champions now; annotate new cases with them")


def print_queue(shown: ShownQueue) -> None:
    """Print the head of both queues."""
    ranked = "gain" if shown.policy == "expected_gain" else "score"
    columns = ["#", "case", "structure", ranked, "DSC", "min", "why"]
    for kind, title, entries in (
        ("present", "To look at", shown.present),
        ("possibly_missed", "Possibly missed", shown.possibly_missed),
    ):
        total = shown.sizes.get(kind, 0)
        heading = f"{title}: first {len(entries)} of {total}"
        print_table(heading, columns, [_queue_row(queued.entry) for queued in entries])


def print_budget(budget: Budget) -> None:
    """Print how far a time reaches into the queue."""
    gain = "" if budget.gain is None else f", for an expected gain of {budget.gain:.1f} DSC"
    print_line(
        f"{budget.minutes:g} predicted minutes suffice for the first {budget.labels} of "
        f"{budget.waiting} labels, in {budget.cases} CTs{gain}; all of them take about "
        f"{budget.whole_minutes / 60:.1f} h. Predictions are {budget.basis}; --json says why"
    )


def print_status(status: Status) -> None:
    """Print the state of the workspace."""
    reasons = Counter(file.reason for file in status.quarantined)
    rows: list[tuple[str, str]] = [
        ("cases", f"{status.cases} of {status.patients} patients"),
        ("quarantined files", _counts(reasons)),
        ("possible twins", str(len(status.twins))),
        ("models", ", ".join(status.models) or "none"),
        ("committee", status.committee_id or str(status.committee_fault)),
        ("annotated", f"{status.annotated}, unfinished {status.unfinished}"),
        ("running", _running(status)),
        ("failed", _counts(Counter(failure.reason for failure in status.failures))),
        ("queue", ", ".join(f"{n} {kind}" for kind, n in status.queue.items()) or "empty"),
        (
            "ranked at (UTC)",
            status.ranked_at.isoformat(" ", "seconds") if status.ranked_at else "-",
        ),
        ("verdicts", _verdicts(status)),
    ]
    print_table("Workspace", ["what", "state"], rows)
    if status.failures:
        failed = [(f.case_id, f.reason, f.message) for f in status.failures[:_LISTED]]
        print_table("Failed cases", ["case", "reason", "message"], failed)


def print_verification(verification: Verification) -> None:
    """Print what was checked and every fault."""
    print_line(
        f"{verification.lines} journal lines and {verification.objects} objects checked; "
        f"{verification.unnamed} objects are named by no line (left by killed runs)"
    )
    if verification.findings:
        rows = [(finding.place, finding.fault) for finding in verification.findings]
        print_table("Faults", ["place", "fault"], rows)
    else:
        print_line("all well")


def write_report(path: Path, summary: AnnotateSummary) -> None:
    """Write a run's summary as JSON; it names cases by id only.

    Raises:
        UsageError: The file cannot be written.
    """
    facts = asdict(summary)
    facts["failed"] = [
        {"case_id": case.case_id, "reason": str(case.reason)} for case in summary.failed
    ]
    try:
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the report {path} cannot be written: {error.strerror}") from error


def _queue_row(entry: QueueEntry) -> tuple[int, str, str, float, str, str, str]:
    dsc = "" if entry.predicted_dsc is None else f"{entry.predicted_dsc:.2f}"
    if entry.dsc_low is not None and entry.dsc_high is not None:
        dsc += f" ({entry.dsc_low:.2f} to {entry.dsc_high:.2f})"
    minutes = "" if entry.minutes is None else f"{entry.minutes:.1f}"
    return (
        entry.position,
        entry.case_id,
        entry.structure,
        entry.risk,
        dsc,
        minutes,
        entry.reason,
    )


def _verdicts(status: Status) -> str:
    """Return how many wait for a second reader, where one is asked for, or to be given again."""
    waiting = "no second reader" if status.to_approve is None else f"{status.to_approve} to approve"
    return f"{waiting}, {status.returned} returned"


def _running(status: Status) -> str:
    """Return what living runs are at, how fast, and when they will have done it."""
    if not status.running:
        return "nothing"
    text = f"{sum(map(len, status.running.values()))} cases in {len(status.running)} runs"
    if status.cases_per_hour is None or status.seconds_left is None:
        return text
    return f"{text}, {status.cases_per_hour:.3g} CT/h, {duration(status.seconds_left)} left"


def _counts(counter: Counter[str]) -> str:
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(counter.items()))
    return f"{counter.total()} ({listed})" if counter else "0"
