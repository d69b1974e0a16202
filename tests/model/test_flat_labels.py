import numpy as np

from configs.taxonomy import load_taxonomy
from model.flat_labels import of_host, unstack

TAXONOMY = load_taxonomy()


def row(*values):
    """A label map of one line of voxels."""
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def masks(label_map, **values):
    found = unstack(label_map, {name: (value,) for name, value in values.items()}, TAXONOMY)
    return {name: "".join("x" if voxel else "." for voxel in mask[:, 0, 0]) for name, mask in found}


def test_an_organ_gets_back_what_lies_in_it():
    found = masks(row(0, 1, 2, 3, 1, 4), liver=1, liver_tumor=2, hepatic_vessel=3, stomach=4)

    assert found == {
        "liver": ".xxxx.",
        "liver_tumor": "..x...",
        "hepatic_vessel": "...x..",
        "stomach": ".....x",
    }


def test_a_lesion_alone_makes_no_organ():
    assert masks(row(0, 2, 2), liver_tumor=2) == {"liver_tumor": ".xx"}


def test_an_organ_that_its_lesion_fills_is_the_lesion():
    assert masks(row(0, 2, 2), pancreas=1, pancreas_tumor=2)["pancreas"] == ".xx"


def test_a_lesion_of_a_pair_goes_to_the_side_that_it_touches():
    found = masks(row(1, 3, 0, 0, 3, 2), kidney_right=1, kidney_left=2, kidney_tumor=3)

    assert (found["kidney_right"], found["kidney_left"]) == ("xx....", "....xx")


def test_a_cyst_behind_a_tumor_follows_it():
    found = masks(row(1, 3, 4, 0, 2), kidney_right=1, kidney_left=2, kidney_tumor=3, kidney_cyst=4)

    assert (found["kidney_right"], found["kidney_left"]) == ("xxx..", "....x")


def test_a_lesion_that_touches_no_side_belongs_to_none():
    found = masks(row(1, 0, 3, 0, 2), lung_right=1, lung_left=2, lung_tumor=3)

    assert (found["lung_right"], found["lung_left"]) == ("x....", "....x")


def test_more_contact_wins():
    lesion = np.zeros((3, 3, 1), bool)
    lesion[1, :, 0] = True
    right, left = np.zeros_like(lesion), np.zeros_like(lesion)
    right[0, :, 0] = True
    left[2, 0, 0] = True
    hosts = {"right": right, "left": left}

    assert of_host(lesion, hosts, "right").sum() == 3
    assert of_host(lesion, hosts, "left").sum() == 0


def test_several_values_can_mean_one_structure():
    found = dict(unstack(row(1, 2, 3), {"colon": (1, 3), "stomach": (2,)}, TAXONOMY))

    assert found["colon"][:, 0, 0].tolist() == [True, False, True]
