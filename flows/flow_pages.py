"""What Prefect's pages show of a run: counts and ids, never a file or a patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary
    from flows.watch import WatchSummary


def annotation_page(summary: AnnotateSummary) -> str:
    """Return the counts of an annotating run as Markdown."""
    rows = [
        ("closed", len(summary.closed)),
        ("closed by another run", len(summary.closed_elsewhere)),
        ("left to a run that computes them", len(summary.held_elsewhere)),
        ("failed", len(summary.failed)),
    ]
    lines = [f"Run {summary.run_id}, {summary.committee_id}", "", "| cases | n |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in rows]
    return "\n".join(lines)


def failure_rows(summary: AnnotateSummary) -> list[dict[str, str]]:
    """Return case id and reason of each failed case."""
    return [{"case": case.case_id, "reason": str(case.reason)} for case in summary.failed]


def quarantine_rows(summary: WatchSummary) -> list[dict[str, str]]:
    """Return file id and reason of each file that a look quarantined."""
    return [{"file": file_id, "reason": str(reason)} for file_id, reason in summary.refused]
