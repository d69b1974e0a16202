from collections import Counter

import numpy as np
import pytest

from flows.decoys import DecoyPool, Hiding
from storage.audit_draws import newest_predictions
from storage.decoys import decoy_cases, looks_of
from storage.queue import QueueEntry, write_queue


@pytest.fixture
def made(make_annotated):
    """Six cases whose livers and stomachs are drawn, whose spleens are not, three without a place.

    As in a real queue, one CT follows the other.
    """
    made = make_annotated(cases=6)
    keys = [
        (case_id, structure)
        for place, case_id in enumerate(made.case_ids)
        for structure in made.structures
        if structure != "spleen" or place < 3
    ]
    entries = [
        QueueEntry(
            position=position,
            kind="possibly_missed" if structure == "spleen" else "present",
            case_id=case_id,
            structure=structure,
            risk=0.5,
            reason="members disagree",
        )
        for position, (case_id, structure) in enumerate(keys, 1)
    ]
    write_queue(made.store, entries, committee_id=made.committee_id, policy="expected_gain")
    return made


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def take(made, drawn, *, seed=0, **changes):
    given = {"count": len(drawn), "blocked": set(drawn), "cases": (), **changes}
    with made.store.read() as connection:
        pool = DecoyPool(connection=connection, structures=(), hidden=(), most=9, seed=seed)
        return pool.take(Hiding(drawn=drawn, **given), np.random.default_rng(seed))


def looks(made, keys):
    with made.store.read() as connection:
        return looks_of(connection, keys)


def test_an_item_looks_as_its_mask_and_its_place_in_the_queue_have_it(made):
    first, *_, last = made.case_ids
    keys = [(first, "liver"), (first, "spleen"), (last, "spleen")]

    assert list(map(looks(made, keys).get, keys)) == ["present", "possibly_missed", "unqueued"]


@pytest.mark.parametrize("seed", range(4))
def test_decoys_look_as_what_was_drawn_and_stand_in_a_ct_each(made, seed):
    first, *_, last = made.case_ids
    drawn = [(first, "stomach"), (first, "spleen"), (last, "spleen")]

    decoys = take(made, drawn, seed=seed)

    found = looks(made, decoys)
    assert Counter(found.values()) == {"present": 1, "possibly_missed": 1, "unqueued": 1}
    assert len({case_id for case_id, _ in decoys}) == 3
    assert not set(decoys) & set(drawn)


def test_the_head_alone_does_not_fill_the_decoys(made):
    """The first four places of the queue are two CTs; which CTs are taken differs by chance."""
    drawn = [(made.case_ids[5], "liver")]

    chosen = {take(made, drawn, seed=seed)[0][0] for seed in range(30)}

    assert len(chosen) > 3


def test_no_second_decoy_comes_into_a_ct(made):
    drawn = [(made.case_ids[0], "liver")]

    decoys = take(made, drawn, count=20, cases=made.case_ids[:4])

    assert {case_id for case_id, _ in decoys} == set(made.case_ids[4:])
    assert len(decoys) == 2


def test_what_was_judged_is_no_decoy_and_what_was_deferred_is_as_it_may_be_drawn(made, readings):
    first, second, third, *_ = made.case_ids
    readings.review(first, "spleen", "accept")
    readings.review(second, "spleen", "defer")

    assert take(made, [(third, "spleen")], count=9) == [(second, "spleen")]


def test_a_batch_knows_its_decoys_cases(made):
    from flows.blind import BlindRequest, assign_blindly

    assign_blindly(made.store, BlindRequest(reader="anna", random=2, seed=1))

    with made.store.read() as connection:
        cases = decoy_cases(connection, "anna")
        assert cases <= newest_predictions(connection).keys()
    assert len(cases) == 2
