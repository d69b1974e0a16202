"""The scores that an index holds, as rows."""

from types import SimpleNamespace

from storage.predictions import CONSENSUS


def scores_of(connection, committee_id):
    """The scores of every case that a committee closed, its own row first per structure."""
    found = connection.execute(
        """SELECT c.case_id, s.* FROM closed_cases c JOIN scores s USING (prediction_id)
           WHERE c.committee_id = ? ORDER BY c.seq, s.structure, s.member <> ?, s.member""",
        [committee_id, CONSENSUS],
    )
    names = [column[0] for column in found.description]
    return [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in found.fetchall()]
