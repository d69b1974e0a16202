from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from configs.simulated_reader import load_reader_skill
from flows.simulated_reader import SimulatedReader
from model.metrics import dice
from storage.labels import current_labels, source_labels, training_labels
from storage.masks import decode_mask
from storage.predictions import manifest_grid, nested_box


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


def truth_of(shape):
    """A liver somewhere else than the committee's, no stomach."""
    masks = {name: np.zeros(shape, bool) for name in ("liver", "stomach", "spleen")}
    masks["liver"][4:20, 6:20, 5:15] = True
    return masks


def reader_of(made, seed=0):
    shape = grid_of(made).ras_shape
    truths = {made.case_ids[0]: partial(truth_of, shape)}
    return SimulatedReader(store=made.store, truths=truths, skill=load_reader_skill(), seed=seed)


def grid_of(made):
    prediction_id = made.prediction_id(made.case_ids[0])
    with made.store.read() as connection:
        return manifest_grid(made.store, prediction_id, connection)


def decoded(made, label):
    data = made.store.objects.read(label.mask.object)
    return decode_mask(data, nested_box(label.mask.box), grid_of(made))


def test_a_wrong_mask_is_corrected_and_a_phantom_organ_is_absent(made):
    (case_id,) = made.case_ids

    given = reader_of(made).review([(case_id, "liver"), (case_id, "stomach")])

    assert dict(given) == {"correct": 1, "absent": 1}
    with made.store.read() as connection:
        labels = training_labels(connection)
    truth = truth_of(grid_of(made).ras_shape)["liver"]
    assert 0.6 < dice(decoded(made, labels[case_id, "liver"]), truth) < 1.0
    assert labels[case_id, "stomach"].mask.object is None


def test_own_outline_is_accepted_when_it_comes_back(made):
    item = (made.case_ids[0], "liver")
    reader = reader_of(made)
    reader.review([item])

    assert dict(reader.review([item])) == {"accept": 1}


def test_an_independent_reading_changes_no_review(made):
    (case_id,) = made.case_ids
    with made.store.transaction() as transaction:
        transaction.record(
            "reading.assigned",
            {"case_id": case_id, "structures": ["liver", "spleen"], "reader": "simulated"},
        )

    count = reader_of(made).read_independently([(case_id, "liver"), (case_id, "spleen")])

    with made.store.read() as connection:
        read = source_labels(connection, "reader:simulated")
        assert current_labels(connection) == {}
    assert count == 2
    assert {label.structure: label.mask.object is None for label in read} == {
        "liver": False,
        "spleen": True,
    }


def test_what_is_not_recorded_leaves_no_trace_in_the_journal(made):
    before = list(made.store.journal.lines())

    (label,) = reader_of(made).labels([(made.case_ids[0], "liver")])

    assert label.mask.voxels > 0
    assert list(made.store.journal.lines()) == before


def test_equal_seeds_read_alike(made):
    item = (made.case_ids[0], "liver")

    one, same, other = (reader_of(made, seed=seed).labels([item])[0].mask for seed in (0, 0, 1))

    assert one == same
    assert one != other
