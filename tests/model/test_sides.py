from __future__ import annotations

from configs.taxonomy import load_taxonomy
from model.sides import mirrored_structures


def test_mirroring_swaps_all_pairs_of_the_taxonomy_and_nothing_else() -> None:
    names = load_taxonomy().names

    mirrored = [names[number] for number in mirrored_structures(names).tolist()]

    swapped = {name: other for name, other in zip(names, mirrored, strict=True) if name != other}
    assert swapped == {
        "kidney_right": "kidney_left",
        "kidney_left": "kidney_right",
        "adrenal_gland_right": "adrenal_gland_left",
        "adrenal_gland_left": "adrenal_gland_right",
        "lung_right": "lung_left",
        "lung_left": "lung_right",
        "femur_head_right": "femur_head_left",
        "femur_head_left": "femur_head_right",
    }


def test_a_partner_that_is_not_learned_is_none() -> None:
    assert mirrored_structures(("liver", "kidney_left")).tolist() == [0, -1]


def test_a_structure_of_ones_own_has_no_side() -> None:
    assert mirrored_structures(("left_over", "spleen")).tolist() == [0, 1]
