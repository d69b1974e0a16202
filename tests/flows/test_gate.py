from __future__ import annotations

from pathlib import Path

from configs.taxonomy import load_taxonomy
from flows.annotate import annotate
from flows.gate import Contender, case_outcomes, running
from flows.intake import intake
from flows.member_networks import load_members
from storage.cases import all_cases
from storage.labels import LabelMask
from storage.model_registry import configured_committee
from storage.predictions import CONSENSUS, closed_predictions, masks_of_case
from storage.store import Store


def test_stored_masks_are_judged_as_if_the_networks_ran_again(
    store: Store, write_ct, tmp_path: Path
) -> None:
    write_ct(tmp_path / "cts" / "one.nii.gz", seed=4)
    intake(store, [tmp_path / "cts"])
    annotate(store)
    committee = configured_committee(store)
    how = running(store)
    members = load_members(committee, store.settings.annotate, how[0])
    with store.read() as connection:
        (case,) = all_cases(connection)
        closed = closed_predictions(connection, committee.committee_id)
        masks = masks_of_case(connection, closed[case.case_id])
    # A member's mask as the reference gives overlaps that are neither 0 nor 1.
    references = {
        structure: LabelMask(found[-1].object, found[-1].box, found[-1].voxels)
        for structure, found in masks.items()
        if found[-1].member != CONSENSUS
    }
    contenders = (Contender(members, closed), Contender(members))

    entries = list(case_outcomes(store, case, references, contenders, running=how))

    assert [entry.structure for entry in entries] == list(load_taxonomy().select(tuple(references)))
    assert all(entry.committees[0] == entry.committees[1] for entry in entries)
    assert any(0 < (entry.committees[0].dsc or 0) < 1 for entry in entries)
