"""An index that SQL fills with synthetic cases, for what is asked of many."""

from __future__ import annotations

from collections.abc import Sequence

from storage.store import Store

# c: the cases, of which the i-th has a prediction's id ready; s: the structures, of number n.
CASES = """
CREATE TEMP TABLE c AS SELECT 'c-' || lpad(i::VARCHAR, 12, '0') AS case_id,
       'p' || lpad(i::VARCHAR, 63, '0') AS prediction_id, i FROM range({cases}) t(i);
CREATE TEMP TABLE s AS SELECT unnest({structures}) AS structure, unnest(range({count})) AS n;
INSERT INTO cases SELECT case_id, case_id, [512, 512, 300], [0.8, 0.8, 1.5], 'LPS',
       [1.0], [1.0], ''::BLOB, i, TIMESTAMP '2026-01-01' FROM c;
INSERT INTO case_files SELECT case_id, '/nowhere', 'x', 1, i, TIMESTAMP '2026-01-01' FROM c;
INSERT INTO patients SELECT case_id, case_id, 'none', i, TIMESTAMP '2026-01-01' FROM c;
INSERT INTO queue_snapshots VALUES ('q', 'k', 'disagreement', 1, TIMESTAMP '2026-01-01', NULL);
"""


def fill_index(store: Store, text: str, *, cases: int, structures: Sequence[str]) -> None:
    """Add cases with files and patients to an index, and what further SQL says.

    Args:
        store: A workspace without cases.
        text: Statements that follow, over the tables ``c`` (case_id, prediction_id, i) and ``s``
            (structure, n); the queue's snapshot is ``q``, of the committee ``k``.
        cases: How many.
        structures: Of each case.
    """
    filled = CASES.format(cases=cases, structures=list(structures), count=len(structures))
    with store.transaction() as transaction:
        transaction.connection.execute(filled + text)
