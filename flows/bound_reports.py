"""How audits and bounds look on a terminal; an audit is told by number, never by item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.audit import AuditRun
from flows.bound import SHARES
from flows.tables import print_line, print_table

_COLUMNS = (
    "structure",
    "unreviewed",
    "not covered",
    "frame",
    "read",
    "bad",
    "at most",
    "together",
    *(f"needed for {share:.0%}" for share in SHARES),
)


def print_audit(run: AuditRun) -> None:
    """Print what was given to whom, without naming an item: a reader may look on."""
    if run.readers:
        rows = [(one.reader, one.aided, one.decoys, one.unaided, one.open) for one in run.readers]
        columns = ["reader", "blind", "of the queue's head", "without the AI's mask", "open before"]
        print_table(f"Drawn from {run.frame}, a patient and structure each", columns, rows)
    if run.words:
        print_line(run.words)


def print_bound(statement: Mapping[str, Any], *, is_known: bool) -> None:
    """Print the sentences of a statement, then its figures."""
    for sentence in statement["words"]:
        print_line(sentence)
    if is_known:
        print_line("This was said before, from the same readings.")
    for kind in statement["kinds"]:
        rows = [_cells(row) for row in (*kind["structures"], kind["overall"])]
        print_table(f"By {kind['kind']}, patients", _COLUMNS, rows)


def _cells(row: Mapping[str, Any]) -> list[str | int | None]:
    together = row["share_together"]
    return [
        row["structure"],
        row["unreviewed"],
        row["uncovered"],
        row["frame"],
        row["read"],
        row["bad"],
        f"{row['share']:.1%}",
        None if together is None else f"{together:.1%}",
        *row["needed"],
    ]
