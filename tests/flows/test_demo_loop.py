from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from configs.taxonomy import load_taxonomy
from flows import demo_loop
from flows.annotate import annotate
from flows.intake import intake
from flows.phantom import make_cohort
from flows.triage import triage
from storage.cases import all_cases
from storage.model_registry import configured_committee
from storage.splits import patient_roles
from storage.verify import verify

SHAPE = (24, 22, 20)


def truth_of(number):
    masks = {name: np.zeros(SHAPE, bool) for name in load_taxonomy().names}
    masks["liver"][4 + number : 14, 6:16, 5:15] = True
    masks["spleen"][15:20, 6:16, 5:15] = True
    return masks


@pytest.mark.slow
def test_the_loop_goes_round_with_equal_training_in_three_arms(
    store, write_ct, tmp_path, monkeypatch
):
    sites = ["aspen", "birch", "cedar", "dogwood"]
    make_cohort(tmp_path / "sites", cases=4, seed=3, sites=sites, workers=1)
    for seed in range(4):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    intake(store, [tmp_path / "cts"])
    annotate(store)
    triage(store)
    with store.read() as connection:
        cases = all_cases(connection)
    truths = {case.case_id: partial(truth_of, number) for number, case in enumerate(cases)}
    monkeypatch.setattr(demo_loop, "STEPS", 1)
    monkeypatch.setattr(demo_loop, "CORRECTIONS", 2)

    result = demo_loop.close_loop(store, tmp_path / "sites", truths, seed=0)

    counts = {arm.name: arm.labels for arm in result.arms}
    assert counts["no corrections"] == 0
    assert counts["random corrections"] == counts["queue corrections"] == 2
    assert all(arm.dsc is not None for arm in result.arms)
    assert result.verdicts.total() == 2
    with store.read() as connection:
        assert sorted(patient_roles(connection).values()) == ["gate", "report", "train", "train"]
    promoted = result.retrained.decision.outcome == "promoted"
    assert len(result.annotated.closed) == (4 if promoted else 0)
    committee = configured_committee(store)
    assert result.annotated.committee_id == committee.committee_id
    verify(store).raise_for_findings()
