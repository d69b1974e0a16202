from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from configs.errors import ConflictError, UsageError
from storage.claims import claim_items, release_claims
from storage.labels import base_of, current_labels, label_history, training_labels
from storage.predictions import manifest_grid
from storage.rebuild import rebuild
from storage.verdicts import LinkedMask, Verdict, give_verdict, give_verdicts
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)
LEASE = timedelta(minutes=10)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


@pytest.fixture
def case_id(made):
    return made.case_ids[0]


def grid_of(made, case_id):
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        return manifest_grid(made.store, prediction_id, connection)


def claim(made, reader="anna", structures=("liver", "stomach", "spleen"), now=NOW):
    return claim_items(
        made.store, made.case_ids[0], structures, reader=reader, now=now, lease=LEASE
    )


def base(made, structure):
    with made.store.read() as connection:
        found = base_of(connection, made.case_ids[0], structure)
    assert found is not None
    return found


def verdict(made, kind="accept", structure="liver", **changes):
    values = {
        "case_id": made.case_ids[0],
        "structure": structure,
        "verdict": kind,
        "reader": "anna",
        "base_version": base(made, structure)[0],
        "request_id": f"{kind}-{structure}",
        "opened_at": NOW,
        "active_s": 12.0,
    }
    return Verdict(**{**values, **changes})


def labels(made):
    with made.store.read() as connection:
        return {key[1]: label for key, label in current_labels(connection).items()}


def trained(made):
    with made.store.read() as connection:
        return {key[1] for key in training_labels(connection)}


def new_mask(made, *, start):
    grid = grid_of(made, made.case_ids[0])
    mask = np.zeros(grid.ras_shape, bool)
    mask[start : start + 3, 4:8, 4:8] = True
    return made.put_mask(mask, grid)


def test_accepted_mask_becomes_a_version_of_the_same_object(made):
    claim(made)
    prediction_id, mask = base(made, "liver")

    give_verdict(made.store, verdict(made), now=NOW)

    label = labels(made)["liver"]
    assert (label.mask, label.parent, label.source) == (mask, prediction_id, "reader:anna")


def test_absent_is_a_version_without_an_object(made):
    claim(made)

    give_verdict(made.store, verdict(made, "absent"), now=NOW)

    assert labels(made)["liver"].mask.object is None
    assert trained(made) == {"liver"}


@pytest.mark.parametrize("kind", ["reject", "defer"])
def test_rejected_and_deferred_make_no_version(made, kind):
    claim(made)

    give_verdict(made.store, verdict(made, kind), now=NOW)

    assert labels(made) == {}


def test_reject_takes_an_accepted_label_out_of_training(made):
    claim(made)
    give_verdict(made.store, verdict(made), now=NOW)
    claim(made)

    give_verdict(made.store, verdict(made, "reject"), now=NOW)

    assert trained(made) == set()


def test_deferring_an_accepted_label_keeps_the_version_but_trains_nothing(made):
    claim(made)
    give_verdict(made.store, verdict(made), now=NOW)
    claim(made)

    give_verdict(made.store, verdict(made, "defer"), now=NOW)

    assert "liver" in labels(made)
    assert trained(made) == set()


def test_correction_and_its_neighbour_come_in_one_line(made):
    claim(made)
    before = len(list(made.store.journal.lines()))
    linked = {"stomach": LinkedMask(new_mask(made, start=9), base(made, "stomach")[0])}

    given = give_verdict(
        made.store,
        verdict(made, "correct", mask=new_mask(made, start=5), linked=linked),
        now=NOW,
    )

    found = labels(made)
    assert len(list(made.store.journal.lines())) == before + 1
    assert {name: label.version_id for name, label in found.items()} == dict(given.versions)
    assert found["stomach"].linked
    assert trained(made) == {"liver"}


def test_stale_base_is_a_conflict_and_nothing_is_written(made):
    claim(made)
    stale = verdict(made, "correct", mask=new_mask(made, start=5), request_id="late")
    give_verdict(made.store, verdict(made), now=NOW)
    claim(made)
    before = len(list(made.store.journal.lines()))

    with pytest.raises(ConflictError, match="changed meanwhile"):
        give_verdict(made.store, stale, now=NOW)

    assert len(list(made.store.journal.lines())) == before


def test_stale_base_of_a_neighbour_is_a_conflict(made):
    claim(made)
    linked = {"stomach": LinkedMask(new_mask(made, start=9), "v-0")}
    late = verdict(made, "correct", mask=new_mask(made, start=5), linked=linked)

    with pytest.raises(ConflictError, match="stomach"):
        give_verdict(made.store, late, now=NOW)

    assert labels(made) == {}


@pytest.mark.parametrize(
    ("reader", "claimed_at", "match"),
    [
        (None, NOW, "needs a claim"),
        ("ben", NOW, "another reader"),
        ("anna", NOW - LEASE, "expired"),
    ],
)
def test_verdict_without_a_live_claim_is_refused(made, reader, claimed_at, match):
    if reader is not None:
        claim(made, reader, now=claimed_at)

    with pytest.raises(ConflictError, match=match):
        give_verdict(made.store, verdict(made), now=NOW)

    assert labels(made) == {}


def test_repeated_request_is_answered_once(made):
    claim(made)
    first = give_verdict(made.store, verdict(made), now=NOW)

    again = give_verdict(made.store, verdict(made, base_version="gone"), now=NOW)

    assert again == replace(first, repeated=True)
    assert len(history(made, "liver")) == 1


def test_batch_keeps_what_was_said_before_the_verdict_that_is_refused(made):
    claim(made, structures=("liver", "stomach"))
    said = [verdict(made), verdict(made, "absent", "spleen"), verdict(made, "accept", "stomach")]

    with pytest.raises(ConflictError, match="spleen"):
        give_verdicts(made.store, said, now=NOW)

    assert set(labels(made)) == {"liver"}
    verify(made.store).raise_for_findings()
    assert give_verdict(made.store, said[0], now=NOW).repeated


def history(made, structure):
    with made.store.read() as connection:
        return label_history(connection, made.case_ids[0], structure)


def test_second_reader_gets_only_what_nobody_holds(made):
    claim(made, "anna", ["liver"])

    held = claim(made, "ben")

    assert set(held) == {"stomach", "spleen"}


def test_expired_and_released_claims_are_free(made):
    claim(made, "anna", ["liver"], now=NOW - LEASE)
    claim(made, "anna", ["stomach"])
    release_claims(made.store, made.case_ids[0], reader="anna", structures=["stomach"])

    assert set(claim(made, "ben")) == {"liver", "stomach", "spleen"}


def test_verdict_gives_its_claim_back(made):
    claim(made)
    give_verdict(made.store, verdict(made), now=NOW)

    assert "liver" in claim(made, "ben")


def test_independent_reading_needs_an_open_assignment(made):
    reading = verdict(made, "absent", reading="independent", base_version=None, request_id="alone")

    with pytest.raises(ConflictError, match="no open reading"):
        give_verdict(made.store, reading, now=NOW)


def test_each_assignment_is_read_once_and_is_no_review(made):
    assign(made, "anna")
    reading = verdict(made, "absent", reading="independent", base_version=None, request_id="one")
    give_verdict(made.store, reading, now=NOW)

    with pytest.raises(ConflictError, match="no open reading"):
        give_verdict(made.store, replace(reading, request_id="two"), now=NOW)

    assert labels(made) == {}
    assert [version.reading for version in history(made, "liver")] == ["independent"]


def assign(made, reader):
    with made.store.transaction() as transaction:
        transaction.record(
            "reading.assigned",
            {"case_id": made.case_ids[0], "structures": ["liver"], "reader": reader},
        )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"verdict": "maybe"}, "a verdict is one of"),
        ({"tags": ("ugly",)}, "tags are"),
        ({"reader": "a:b"}, "no colon"),
        ({"verdict": "correct"}, "brings a mask"),
        ({"active_s": -1.0}, "not be negative"),
        ({"active_s": float("nan")}, "not be negative"),
    ],
)
def test_verdict_checks_itself(made, changes, match):
    with pytest.raises(UsageError, match=match):
        verdict(made, **{"kind": changes.pop("verdict", "accept"), **changes})


def test_rebuild_brings_verdicts_and_versions_back(made):
    claim(made)
    give_verdict(made.store, verdict(made, tags=("leak", "under")), now=NOW)
    before = labels(made)

    rebuild(made.store)

    assert labels(made) == before
    verify(made.store).raise_for_findings()


def test_verify_names_a_lost_mask_of_a_version(made):
    claim(made)
    mask = new_mask(made, start=5)
    give_verdict(made.store, verdict(made, "correct", mask=mask), now=NOW)
    made.store.objects.path(mask.object).unlink()

    found = verify(made.store).findings

    assert [finding.fault for finding in found] == ["missing or altered"]
