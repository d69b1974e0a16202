from datetime import datetime, timedelta

import numpy as np
import pytest

from configs.errors import UsageError
from storage.claims import claim_items
from storage.labels import base_of
from storage.predictions import manifest_grid
from storage.rebuild import rebuild
from storage.releases import freeze_release, read_release, releases
from storage.verdicts import LinkedMask, Verdict, give_verdict
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


def judge(made, kind, structure, *, case=0, **changes):
    case_id = made.case_ids[case]
    structures = [structure, *changes.get("linked", {})]
    claim_items(
        made.store, case_id, structures, reader="anna", now=NOW, lease=timedelta(minutes=10)
    )
    verdict = Verdict(
        case_id=case_id,
        structure=structure,
        verdict=kind,
        reader="anna",
        base_version=base(made, structure, case)[0],
        request_id=f"{kind}-{structure}-{case}",
        opened_at=NOW,
        active_s=1.0,
        **changes,
    )
    return give_verdict(made.store, verdict, now=NOW)


def base(made, structure, case=0):
    with made.store.read() as connection:
        found = base_of(connection, made.case_ids[case], structure)
    assert found is not None
    return found


def new_mask(made, start):
    prediction_id = made.prediction_id(made.case_ids[0])
    with made.store.read() as connection:
        grid = manifest_grid(made.store, prediction_id, connection)
    mask = np.zeros(grid.ras_shape, bool)
    mask[start : start + 3, 4:8, 4:8] = True
    return made.put_mask(mask, grid)


def label(release, made, structure, case=0):
    labels = release.case(made.case_ids[case]).labels
    return next((label for label in labels if label.structure == structure), None)


def test_consensus_goes_in_as_unreviewed_and_an_empty_one_as_absent(made):
    release = freeze_release(made.store, "first")

    liver, spleen = label(release, made, "liver"), label(release, made, "spleen")
    assert (liver.review, liver.source) == ("unreviewed", f"committee:{made.committee_id}")
    assert liver.label_id == made.prediction_id(made.case_ids[0])
    assert (spleen.object, spleen.voxels) == (None, 0)
    assert label(release, made, "aorta") is None


def test_a_reviewed_label_comes_before_the_consensus(made):
    mask = new_mask(made, 5)
    given = judge(made, "correct", "liver", mask=mask, tags=("leak",))

    found = label(freeze_release(made.store), made, "liver")

    assert found.mask == mask
    assert (found.label_id, found.source) == (given.versions["liver"], "reader:anna")
    assert (found.review, found.verdict.tags) == ("reviewed", ("leak",))
    assert found.parent == made.prediction_id(made.case_ids[0])


def test_rejected_is_left_out_and_listed_also_when_a_neighbour_changed_it_later(made):
    judge(made, "reject", "stomach")
    linked = {"stomach": LinkedMask(new_mask(made, 9), base(made, "stomach")[0])}
    judge(made, "correct", "liver", mask=new_mask(made, 5), linked=linked)

    release = freeze_release(made.store)

    assert label(release, made, "stomach") is None
    assert [left.structure for left in release.case(made.case_ids[0]).left_out] == ["stomach"]


def test_linked_and_deferred_are_not_called_reviewed(made):
    linked = {"stomach": LinkedMask(new_mask(made, 9), base(made, "stomach")[0])}
    judge(made, "correct", "liver", mask=new_mask(made, 5), linked=linked)
    judge(made, "defer", "liver", case=1)

    release = freeze_release(made.store)

    assert label(release, made, "stomach").review == "linked"
    assert label(release, made, "liver", case=1).review == "deferred"


def test_reviewed_only_keeps_what_was_judged_as_a_whole(made):
    linked = {"stomach": LinkedMask(new_mask(made, 9), base(made, "stomach")[0])}
    judge(made, "correct", "liver", mask=new_mask(made, 5), linked=linked)
    judge(made, "absent", "spleen")

    release = freeze_release(made.store, reviewed_only=True)

    (case,) = release.cases
    assert [found.structure for found in case.labels] == ["spleen", "liver"]
    assert case.labels[0].object is None


def test_equal_content_is_frozen_once(made):
    first = freeze_release(made.store, "first")
    before = len(list(made.store.journal.lines()))

    again = freeze_release(made.store, "second")

    assert again == first
    assert len(list(made.store.journal.lines())) == before


def test_head_hash_is_the_line_before(made):
    head = list(made.store.journal.lines())[-1].line_hash

    assert freeze_release(made.store).head_hash == head


def test_a_name_stands_for_one_release(made):
    freeze_release(made.store, "first")
    judge(made, "accept", "liver")

    with pytest.raises(UsageError, match="for good"):
        freeze_release(made.store, "first")

    assert freeze_release(made.store, "second").name == "second"


def test_a_release_is_found_by_name_and_id_and_survives_rebuild(made):
    frozen = freeze_release(made.store, "first")
    judge(made, "accept", "liver")

    rebuild(made.store)

    assert read_release(made.store, "first") == frozen
    assert read_release(made.store, frozen.release_id) == frozen
    verify(made.store).raise_for_findings()
    with made.store.read() as connection:
        assert [row.name for row in releases(connection)] == ["first"]


def test_unknown_names_and_empty_workspaces_are_refused(made):
    with pytest.raises(UsageError, match="no release is called"):
        read_release(made.store, "none")
    with pytest.raises(UsageError, match="no case was judged"):
        freeze_release(made.store, reviewed_only=True)
