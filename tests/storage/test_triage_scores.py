from dataclasses import asdict

import pytest

from model.scores import ScoreRow
from storage.rebuild import rebuild
from storage.verify import verify

NEW = (
    "pairwise_dice_least",
    "entropy_worst",
    "tta_dice",
    "attention_voxels",
    "attention_heat",
    "attention_mm3",
)


@pytest.fixture
def made(make_annotated):
    """Predictions as they were before there were these scores."""
    return make_annotated()


def new_scores(made):
    with made.store.read() as connection:
        return connection.execute(f"SELECT {', '.join(NEW)} FROM scores").fetchall()


def test_manifests_from_before_have_rows_without_the_new_scores(made):
    rows = new_scores(made)

    assert len(rows) == 9
    assert {value for row in rows for value in row} == {None}
    assert verify(made.store).findings == ()
    rebuild(made.store)
    assert new_scores(made) == rows


def test_every_field_of_a_row_has_its_column(made):
    with made.store.read() as connection:
        columns = connection.execute("DESCRIBE scores").fetchall()

    fields = asdict(ScoreRow(structure="liver", member="committee", volume_ml=1.0))
    assert {row[0] for row in columns} - {"prediction_id"} == set(fields)
