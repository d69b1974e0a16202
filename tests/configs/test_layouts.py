import pytest
from pydantic import ValidationError

from configs.layouts import Layouts, load_layouts
from configs.taxonomy import load_taxonomy


def test_every_lesion_lies_on_top_of_every_organ():
    taxonomy = load_taxonomy()
    is_lesion = [taxonomy[name].is_lesion for name in load_layouts().precedence]

    assert is_lesion == sorted(is_lesion)


def test_abdomenatlas_keeps_the_published_values():
    values = load_layouts()["abdomenatlas"].label_values(["spleen", "aorta", "rectum"])

    assert values == {"spleen": 8, "aorta": 1, "rectum": 25}


@pytest.mark.parametrize("layout", ["nnunet", "msd", "totalsegmentator"])
def test_other_layouts_count_from_one_in_the_taxonomys_order(layout):
    values = load_layouts()[layout].label_values(["rectum", "spleen", "aorta"])

    assert values == {"spleen": 1, "aorta": 2, "rectum": 3}


@pytest.mark.parametrize(
    ("written", "structure"),
    [
        ("liver", "liver"),
        ("femur_left", "femur_head_left"),
        ("inferior_vena_cava", "postcava"),
        ("celiac_truck", "celiac_trunk"),
        ("vertebrae_L1", None),
    ],
)
def test_spellings_of_the_layouts_are_understood(written, structure):
    assert load_layouts().structure_of(written) == structure


def test_every_name_that_a_layout_writes_is_read_back_as_the_same_structure():
    layouts = load_layouts()

    for layout in ("abdomenatlas", "totalsegmentator", "nnunet", "msd"):
        for name in load_taxonomy().names:
            assert layouts.structure_of(layouts[layout].written(name)) == name


def test_a_child_below_its_parent_is_refused():
    shipped = load_layouts().model_dump()
    order = list(shipped["precedence"])
    order.remove("liver")

    with pytest.raises(ValidationError, match="after its parents"):
        Layouts.model_validate({**shipped, "precedence": [*order, "liver"]})
