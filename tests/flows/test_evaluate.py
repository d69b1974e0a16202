import numpy as np
import pytest

from flows.annotate import annotate
from flows.evaluate import consensus_masks, evaluate
from flows.intake import intake
from flows.triage import triage

STRUCTURES = ("spleen", "kidney_right", "liver", "liver_tumor")


@pytest.fixture
def annotated(store, write_ct, tmp_path):
    for seed in range(4):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    taken = intake(store, [tmp_path / "cts"])
    annotate(store)
    triage(store)
    return store, [file.case_id for file in taken.taken]


def entry_of(evaluation, structure):
    return next(entry for entry in evaluation.accuracy if entry.structure == structure)


def present_structure(store, case_ids):
    """A structure that the random committee sees in every case."""
    for structure in STRUCTURES:
        masks = [consensus_masks(store, case, [structure])[structure] for case in case_ids]
        if all(mask.any() for mask in masks):
            return structure, masks
    raise AssertionError("the random committee sees nothing")


def test_the_consensus_as_truth_scores_1(annotated):
    store, case_ids = annotated
    structure, masks = present_structure(store, case_ids)
    truths = {c: (lambda m=m: {structure: m}) for c, m in zip(case_ids, masks, strict=True)}

    entry = entry_of(evaluate(store, truths), structure)

    assert (entry.dsc, entry.cases, entry.false_positives, entry.agree_absent) == (1.0, 4, 0, 0)


def test_mask_where_the_truth_is_empty_counts_as_0(annotated):
    store, case_ids = annotated
    structure, masks = present_structure(store, case_ids)
    empty = np.zeros_like(masks[0])

    evaluation = evaluate(store, {case_ids[0]: lambda: {structure: empty}})

    entry = entry_of(evaluation, structure)
    assert (entry.dsc, entry.cases, entry.false_positives) == (0.0, 1, 1)
    assert evaluation.ranking.n == 0, "absent structures are not ranked by DSC"


def test_half_of_the_consensus_scores_two_thirds(annotated):
    store, case_ids = annotated
    structure, masks = present_structure(store, case_ids)
    half = masks[0].copy()
    voxels = np.flatnonzero(half)
    half.ravel()[voxels[len(voxels) // 2 :]] = False

    entry = entry_of(evaluate(store, {case_ids[0]: lambda: {structure: half}}), structure)

    assert entry.dsc == pytest.approx(2 / 3, abs=0.02)
