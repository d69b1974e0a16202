import pytest
from pydantic import ValidationError

from configs.connectors import (
    LICENSE_MEANING,
    Dataset,
    is_within,
    load_dataset,
    load_datasets,
    other_side,
    overlaps_of,
)
from configs.errors import UsageError
from configs.taxonomy import load_taxonomy

# Native value by value, the number of the structure in the taxonomy, as published for the universal
# model of 2023; (2, 3) is a pair that the body's midline parts, 0 is dropped.
PUBLISHED = {
    "btcv_multiorgan_ext": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    "word": [6, 1, 3, 2, 7, 4, 5, 11, 14, 18, 19, (12, 13), 20, 21, 23, 24],
    "abdomenct_1k": [6, (2, 3), 1, 11],
    "amos22_ct": [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 21, 22],
    "ct_org": [6, 21, (16, 17), (2, 3), 0, 0],
    "abdomenct_12organ": [6, (2, 3), 1, 11, 8, 9, 7, 4, 5, 12, 13, 25],
    "flare23": [6, 2, 1, 11, 8, 9, 12, 13, 4, 5, 7, 14, 3, 0],
    "msd_task06_lung": [30],
    "msd_task08_hepaticvessel": [15, 29],
    "msd_task09_spleen": [1],
    "msd_task10_colon": [31],
}
# The same with lesions, which lie in their organs: structure -> values.
UNIONS = {
    "lits": {6: {1, 2}, 27: {2}},
    "msd_task03_liver": {6: {1, 2}, 27: {2}},
    "msd_task07_pancreas": {11: {1, 2}, 28: {2}},
    "kits19": {2: {1, 2}, 3: {1, 2}, 26: {2}},
    "kits21": {2: {1, 2, 3}, 3: {1, 2, 3}, 26: {2}, 32: {3}},
    "kits23": {2: {1, 2, 3}, 3: {1, 2, 3}, 26: {2}, 32: {3}},
    "pancreas_ct_multiorgan": {n: {n} for n in (1, 3, 4, 5, 6, 7, 11, 14)},
}


def as_numbers(dataset):
    names = load_taxonomy().names
    return {names.index(name) + 1: set(source.values) for name, source in dataset.map.items()}


def test_all_29_datasets_are_there():
    assert len(load_datasets()) == 29
    assert {d.license.flag for d in load_datasets().values()} <= set(LICENSE_MEANING)


@pytest.mark.parametrize("name", PUBLISHED)
def test_values_mean_what_was_published(name):
    said = {}
    for value, numbers in enumerate(PUBLISHED[name], start=1):
        for number in numbers if isinstance(numbers, tuple) else (numbers,):
            said.setdefault(number, set()).add(value)
    said.pop(0, None)

    assert as_numbers(load_dataset(name)) == said
    pairs = {n for numbers in PUBLISHED[name] if isinstance(numbers, tuple) for n in numbers}
    names = load_taxonomy().names
    split = {names.index(x) + 1 for x, source in load_dataset(name).map.items() if source.split}
    assert split == pairs


@pytest.mark.parametrize("name", UNIONS)
def test_organs_hold_their_lesions(name):
    assert as_numbers(load_dataset(name)) == UNIONS[name]


def test_abdomenatlas_agrees_with_the_layout_that_is_exported():
    from configs.layouts import load_layouts

    values = load_layouts()["abdomenatlas"].values

    for name in ("abdomenatlas_1_0_mini", "abdomenatlas_1_1_mini"):
        for structure, source in load_dataset(name).map.items():
            assert source.values == (values.index(structure) + 1,)
            assert source.files == (load_layouts()["abdomenatlas"].written(structure),)


def facts(**changes):
    return {
        "id": "x",
        "title": "X",
        "needs": "nifti",
        "labeled": 1,
        "license": {"name": "none", "flag": "nc", "checked": "no"},
        "confidence": {"labels": "assumed", "layout": "assumed"},
        "layouts": [{"image": "{id}.nii.gz", "label": "l{id}.nii.gz"}],
        "labels": {"1": "kidney"},
        "map": {
            "kidney_left": {"values": [1], "split": True},
            "kidney_right": {"values": [1], "split": True},
        },
        **changes,
    }


def test_facts_are_checked():
    assert Dataset.model_validate(facts()).annotated == ("kidney_right", "kidney_left")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "Extra inputs"),
        ({"map": {"wing": {"values": [1]}}}, "unknown structures: wing"),
        ({"map": {"liver": {"values": [2]}}}, "undeclared values"),
        ({"map": {"liver": {}}}, "needs values or files"),
        ({"map": {"kidney_left": {"values": [1], "split": True}}}, "must be split from the same"),
        ({"map": {"liver": {"values": [1], "split": True}}}, "has no side"),
        ({"labels": {"0": "air", "1": "kidney"}}, "0 is background"),
        ({"overrides": [{"ids": [1, 2], "why": "", "weak": ["liver"]}]}, "an override names"),
        ({"overlaps": [{"dataset": "y", "relation": "", "ids": [1, 2]}]}, "together or not at"),
        (
            {"overlaps": [{"dataset": "y", "relation": "", "ids": [1, 2], "their_ids": [1, 3]}]},
            "one length",
        ),
    ],
)
def test_wrong_facts_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        Dataset.model_validate(facts(**changes))


def test_unknown_datasets_are_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="known are abdomenatlas_1_0_mini"):
        load_dataset("imagenet")


def test_overlaps_hold_both_ways():
    assert "lits" in overlaps_of(load_dataset("abdomenct_1k"))
    assert "abdomenct_1k" in overlaps_of(load_dataset("lits"))
    assert "abdomenatlas_1_1_mini" in overlaps_of(load_dataset("word"))


def test_ranges_and_sides():
    assert [is_within(number, (2, 4)) for number in (1, 2, 4, 5, None)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert other_side("femur_head_left") == "femur_head_right"
    with pytest.raises(UsageError, match="none of a pair"):
        other_side("liver")
