import secrets
from datetime import datetime, timedelta

import numpy as np
import pytest

from configs.errors import ConflictError, UsageError
from storage.claims import claim_items
from storage.label_masks import read_label
from storage.labels import ABSENT, base_of, label_history
from storage.predictions import manifest_grid
from storage.rebuild import rebuild
from storage.restoration import restoration, store_neighbours
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


@pytest.fixture
def case_id(made):
    return made.case_ids[0]


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


@pytest.fixture
def grid(made, case_id):
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        return manifest_grid(made.store, prediction_id, connection)


def newest(made, structure="liver"):
    with made.store.read() as connection:
        return base_of(connection, made.case_ids[0], structure)


def history(made, structure="liver"):
    with made.store.read() as connection:
        return label_history(connection, made.case_ids[0], structure)


def bring_back(made, label_id, mask, **changes):
    case_id = made.case_ids[0]
    claim_items(made.store, case_id, ["liver"], reader="ben", now=NOW, lease=timedelta(minutes=5))
    values = {
        "case_id": case_id,
        "structure": "liver",
        "verdict": "absent" if mask == ABSENT else "correct",
        "reader": "ben",
        "base_version": newest(made)[0],
        "request_id": secrets.token_hex(8),
        "opened_at": NOW,
        "active_s": 1.0,
        "mask": None if mask == ABSENT else mask,
        "restores": label_id,
    }
    return give_verdict(made.store, Verdict(**{**values, **changes}), now=NOW)


@pytest.fixture
def corrected(made, case_id, readings):
    """The prediction, a wide liver that reaches into the stomach, a narrow one."""
    wide = readings.ball(case_id, centre=0.1, radius=0.6)
    narrow = readings.ball(case_id, centre=0.35, radius=0.2)
    for mask in (wide, narrow):
        readings.review(case_id, "liver", "correct", mask=mask)
    return wide, narrow


def test_older_version_becomes_the_newest_with_the_present_one_as_parent(made, corrected):
    first, second = history(made)

    bring_back(made, first.version_id, first.mask)

    last = history(made)[-1]
    assert (last.mask, last.parent, last.source) == (first.mask, second.version_id, "reader:ben")
    with made.store.read() as connection:
        rows = connection.execute("SELECT restores FROM verdicts ORDER BY seq").fetchall()
    assert rows == [(None,), (None,), (first.version_id,)]


def test_prediction_is_brought_back_too_and_survives_a_rebuild(made, case_id, readings):
    prediction_id, consensus = newest(made)
    drawn = readings.ball(case_id, centre=0.35, radius=0.2)
    readings.review(case_id, "liver", "correct", mask=drawn)

    bring_back(made, prediction_id, consensus)
    rebuild(made.store)

    assert newest(made)[1] == consensus
    verify(made.store).raise_for_findings()


def test_absent_is_brought_back_as_absent(made, case_id, readings):
    readings.review(case_id, "liver", "absent")
    readings.review(
        case_id, "liver", "correct", mask=readings.ball(case_id, centre=0.3, radius=0.2)
    )

    bring_back(made, history(made)[0].version_id, ABSENT)

    assert newest(made)[1] == ABSENT


@pytest.mark.parametrize("structure", ["stomach", "liver"])
def test_label_that_is_not_what_it_says_it_brings_back_is_refused(
    made, case_id, readings, corrected, structure
):
    """Another structure's version, and another mask than the version's."""
    readings.review(case_id, "stomach", "accept")
    named = history(made, structure)[0]
    mask = named.mask if structure == "stomach" else corrected[1]
    before = history(made)

    with pytest.raises(UsageError, match="no label of liver"):
        bring_back(made, named.version_id, mask)

    assert history(made) == before


def test_only_a_new_label_brings_one_back(made, corrected):
    with pytest.raises(UsageError, match="brings a label back"):
        bring_back(made, history(made)[0].version_id, None, verdict="reject")
    with pytest.raises(UsageError, match="only a review"):
        bring_back(made, history(made)[0].version_id, corrected[0], reading="independent")


def test_label_brought_back_after_another_change_is_a_conflict(made, corrected):
    first, _ = history(made)

    with pytest.raises(ConflictError, match="changed meanwhile"):
        bring_back(made, first.version_id, first.mask, base_version=first.version_id)


def test_neighbour_changes_only_where_the_reader_says_so(made, case_id, grid, corrected):
    wide, narrow = corrected
    objects, shape = made.store.objects, grid.ras_shape
    version, stomach = newest(made, "stomach")
    before, taken = (read_label(objects, mask, shape) for mask in (stomach, wide))

    found = restoration(
        objects, grid, wide, base=narrow, neighbours={"stomach": (version, stomach)}
    )

    (overlap,) = found.overlaps
    assert overlap.voxels == np.count_nonzero(before & taken) > 0
    changed = np.count_nonzero(taken != read_label(objects, narrow, shape))
    assert found.voxels_changed == changed
    assert store_neighbours(objects, found, []) == {}
    linked = store_neighbours(objects, found, ["stomach"])
    bring_back(made, history(made)[0].version_id, wide, linked=linked)
    rest = read_label(objects, newest(made, "stomach")[1], shape)
    np.testing.assert_array_equal(rest, before & ~taken)


def test_what_is_the_present_label_already_is_refused(made, grid, corrected):
    with pytest.raises(UsageError, match="equals the present one"):
        restoration(made.store.objects, grid, corrected[1], base=corrected[1], neighbours={})


def test_absence_takes_nothing_from_a_neighbour(made, grid, corrected):
    stomach = {"stomach": newest(made, "stomach")}

    found = restoration(made.store.objects, grid, ABSENT, base=corrected[1], neighbours=stomach)

    assert found is None
