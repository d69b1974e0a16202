from datetime import UTC, datetime

import numpy as np
import pytest

from storage.desk_figures import desk_figures
from storage.shared_readings import shared_readings


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def figures(made):
    with made.store.read() as connection:
        return desk_figures(connection, now=datetime.now(UTC).replace(tzinfo=None))


def shared(made, limit=9):
    with made.store.read() as connection:
        return shared_readings(connection, limit=limit)


def test_nothing_judged_is_no_time_and_no_reader(made):
    found = figures(made)

    assert {(one.name, one.queued, one.judged) for one in found.structures} == {
        ("liver", 2, 0),
        ("stomach", 2, 0),
        ("spleen", 2, 0),
    }
    assert found.times == found.readers == found.days == ()


def test_verdicts_count_once_as_judged_and_deferred_ones_do_not(made, readings):
    first, second = made.case_ids
    readings.review(first, "liver", "accept")
    readings.review(first, "liver", "absent")
    readings.review(first, "stomach", "reject")
    readings.review(second, "stomach", "defer")
    readings.read(second, "spleen", "absent")

    found = figures(made)

    assert {one.name: one.judged for one in found.structures} == {
        "liver": 1,
        "stomach": 1,
        "spleen": 0,
    }
    assert [(one.reader, one.verdicts, one.active_s) for one in found.readers] == [
        ("anna", 3, 15.0)
    ]
    assert sum(one.verdicts for one in found.days) == 3


def test_quartiles_are_those_of_an_independent_computation(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    seconds = [3.0, 8.0, 20.0, 21.0, 90.0]
    with made.store.transaction() as transaction:
        connection = transaction.connection
        for number, active_s in enumerate(seconds):
            connection.execute(
                """INSERT INTO verdicts BY NAME
                   SELECT * REPLACE (? AS active_s, ? AS request_id, 'colon' AS structure)
                   FROM verdicts WHERE structure = 'liver'""",
                [active_s, f"r{number}"],
            )

    times = {one.name: one for one in figures(made).times}

    q1, median, q3 = np.quantile(seconds, [0.25, 0.5, 0.75])
    assert (times["colon"].q1_s, times["colon"].median_s, times["colon"].q3_s) == (q1, median, q3)
    assert times[""].n == 6


def test_a_ct_counts_in_each_of_its_datasets(made, readings):
    with made.store.transaction() as transaction:
        for dataset in ("flare", "kits"):
            transaction.connection.execute(
                """INSERT INTO dataset_cases
                   VALUES (?, ?, 'n', 'nc', [], [], 1, TIMESTAMP '2026-01-01')""",
                [made.case_ids[0], dataset],
            )
    readings.review(made.case_ids[0], "liver", "accept")

    found = figures(made).datasets

    assert [(one.name, one.queued, one.judged) for one in found] == [
        ("", 3, 0),
        ("flare", 3, 1),
        ("kits", 3, 1),
    ]


def test_shared_readings_are_independent_ones_of_two_readers(made, readings):
    first, second = made.case_ids
    for reader, case_ids in (("anna", (first, second)), ("bert", (first, second)), ("cleo", ())):
        for case_id in case_ids:
            readings.read(case_id, "liver", "absent", reader=reader)
        readings.read(first, "stomach" if reader == "cleo" else "spleen", "absent", reader=reader)
    readings.review(first, "liver", "accept")

    found = [(one.first, one.second, one.case_id, one.structure) for one in shared(made)]

    assert found == [
        ("anna", "bert", case_id, structure)
        for case_id, structure in sorted([(first, "liver"), (second, "liver"), (first, "spleen")])
    ]
    assert len(shared(made, limit=1)) == 1


def test_who_had_seen_the_ai_s_mask_shares_no_reading(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    for reader in ("anna", "bert"):
        readings.read(made.case_ids[0], "liver", "absent", reader=reader)

    assert shared(made) == []
